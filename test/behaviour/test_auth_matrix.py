"""
Every way for a client to prove itself, with every kind of stored secret, in front of every way in
which PostgreSQL asks, over every transport. Each of them logs in, or fails with the right words.

The outcomes are PgBouncer's, but for one: a hash or a verifier is never sent to a server that asks
for the password in clear text. It would be refused there, and is worth as much as the password.
"""

import os
import subprocess

import psycopg
import pytest

from support import tls, wire
from support.fake_server import answer
from support.postgres import find_program
from support.process import unprivileged, wait_for

SECRETS = ("plain", "md5", "scram", "none")
SERVERS = ("trust", "password", "md5", "scram", "cert")
TRANSPORTS = ("tcp", "unix", "tls", "direct")
ROLES = ["%s_%s" % (secret, server) for secret in SECRETS for server in SERVERS]

# For auth_type = hba: a method by transport.
HBA_METHODS = {"tcp": "md5", "unix": "scram-sha-256", "tls": "cert", "direct": "cert"}
HBA = ("local all all scram-sha-256\nhostssl all all 127.0.0.1/32 cert\n"
       "hostnossl all all 127.0.0.1/32 md5\n")

PASSWORD_FAILED = "password authentication failed"
SASL_FAILED = "SASL authentication failed"
CERT_FAILED = "certificate authentication failed"
WRONG_TYPE = "server login failed: wrong password type"


def client_outcome(auth_type, secret, transport):
    """What becomes of the client before a server is asked: None, or the text of its failure."""
    if auth_type == "hba":
        auth_type = HBA_METHODS[transport]
    elif auth_type == "cert" and transport == "tcp":  # which needs verify-full
        return "SSL required"
    if auth_type in ("any", "trust"):
        return None
    if auth_type == "cert":
        return None if transport in ("tls", "direct") else CERT_FAILED
    if auth_type == "scram-sha-256":
        return None if secret in ("plain", "scram") else SASL_FAILED
    return None if secret != "none" else PASSWORD_FAILED


def server_outcome(auth_type, secret, server, transport):
    """... and what the server makes of the pooler, with the secret that the pooler has."""
    if auth_type == "hba":
        auth_type = HBA_METHODS[transport]
    if auth_type == "any":
        secret = "none"  # auth_file is not read
    keys_are_learned = secret == "scram" and auth_type in ("md5", "scram-sha-256")
    answers = {"trust": True, "cert": True, "password": secret == "plain",
               "md5": secret in ("plain", "md5"), "scram": secret == "plain" or keys_are_learned}
    return None if answers[server] else WRONG_TYPE


@pytest.fixture(scope="module")
def matrix_certificates(certificates):
    """`matrix` is a client's certificate for every role, and ours towards the server."""
    names = ",".join("DNS:" + role for role in ROLES)
    certificates.make("matrix", "matrix", "subjectAltName=" + names,
                      "extendedKeyUsage=clientAuth,serverAuth")
    certificates.copy("matrix", "matrix")
    return certificates


@pytest.fixture
def matrix(pg, tls_pg, matrix_certificates):
    """PostgreSQL with the roles, each asked in its own way. Returns the secrets of auth_file."""
    secrets = {}
    for role in ROLES:
        secret, server = role.split("_")
        if not pg.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)):
            # A verifier passes through only to a server that has the same one.
            pg.create_role(role, role + "-pw", "md5" if server == "md5" else "scram-sha-256")
        secrets[role] = {"plain": role + "-pw", "md5": wire.md5_secret(role, role + "-pw"),
                         "scram": wire.scram_secret(role + "-pw"), "none": ""}[secret]
        if secret == server == "scram":
            secrets[role] = pg.stored_secret(role)
    rules, old = "", {}
    methods = {"scram": "scram-sha-256", "cert": "cert map=matrix"}
    for server in SERVERS:
        roles = ",".join(role for role in ROLES if role.endswith("_" + server))
        rules += "%s all %s 127.0.0.1/32 %s\n" % (
            "hostssl" if server == "cert" else "host", roles, methods.get(server, server))
    maps = "".join("matrix matrix %s\n" % role for role in ROLES)
    for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", maps)):
        path = os.path.join(pg.data, name)
        with open(path) as file:
            old[path] = file.read()
        with open(path, "w") as file:
            file.write(text + old[path])
    pg.sql("SELECT pg_reload_conf()")
    wait_for(lambda: pg.value("SELECT count(*) FROM pg_hba_file_rules WHERE 'plain_cert' ="
                              " ANY (user_name)") == 1)
    wait_for(lambda: reloaded(pg), "PostgreSQL uses its new rules")
    yield secrets
    for path, text in old.items():
        with open(path, "w") as file:
            file.write(text)
    pg.sql("SELECT pg_reload_conf()")


def reloaded(pg):
    try:
        psycopg.connect(host="127.0.0.1", port=pg.port, dbname="p0", user="plain_password",
                        password="wrong", sslmode="disable").close()
    except psycopg.OperationalError as failure:
        return "password authentication failed" in str(failure)
    return False


@pytest.fixture
def matrix_pooler(start_tls_pooler, matrix, matrix_certificates):
    """An entry for each transport and role, so that each of them logs in to the server anew."""
    def start(auth_type, **settings):
        pooler = start_tls_pooler(
            auth_type=auth_type, userlist=matrix, default_pool_size="2", max_client_conn="1000",
            client_tls_sslmode="verify-full" if auth_type == "cert" else "prefer",
            server_tls_cert_file=matrix_certificates.file("matrix.crt"),
            server_tls_key_file=matrix_certificates.file("matrix.key"),
            databases={"%s_%s" % (transport, role): "dbname=p0" + (
                " user=" + role if auth_type == "any" else "")
                for transport in TRANSPORTS for role in ROLES}, **settings)
        return pooler
    return start


def outcome(pooler, transport, role, context, password):
    """None for a login that can ask something, or the error's text."""
    client = wire.Client(pooler.socket_dir if transport == "unix" else pooler.host, pooler.port)
    with client:
        if transport == "tls":
            tls.ask(client, context)
        elif transport == "direct":
            tls.begin(client, context)
        try:
            client.login(role, "%s_%s" % (transport, role), password)
            assert client.value("SELECT current_user") == role
            client.send_raw(wire.terminate())
        except wire.ServerError as failure:
            assert failure.severity == "FATAL"
            return failure.message
    return None


@pytest.mark.limit(180)
@pytest.mark.parametrize("auth_type", [
    "any", "trust", "plain", "md5", "scram-sha-256", "cert", "hba"])
def test_all_combinations(matrix_pooler, matrix_certificates, auth_type):
    settings = {}
    if auth_type == "hba":
        rules = matrix_certificates.write("matrix.hba", HBA)
        settings["auth_hba_file"] = rules
    pooler = matrix_pooler(auth_type, **settings)
    context = tls.client_context(matrix_certificates, "matrix")
    wrong, count = [], 0
    for transport in TRANSPORTS:
        for role in ROLES:
            secret, server = role.split("_")
            expected = (client_outcome(auth_type, secret, transport)
                        or server_outcome(auth_type, secret, server, transport))
            got = outcome(pooler, transport, role, context, role + "-pw")
            count += 1
            if got != expected:
                wrong.append((transport, secret, server, "expected", expected, "got", got))
    assert wrong == []
    assert count == len(TRANSPORTS) * len(SECRETS) * len(SERVERS)
    log = pooler.log()
    assert not any(role + "-pw" in log for role in ROLES)


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256", "cert", "hba"])
def test_wrong_passwords_and_names(matrix_pooler, matrix_certificates, auth_type):
    """... over the same transports, in front of servers that would trust."""
    settings = {}
    if auth_type == "hba":
        settings["auth_hba_file"] = matrix_certificates.write("matrix.hba", HBA)
    pooler = matrix_pooler(auth_type, **settings)
    context = tls.client_context(matrix_certificates, "bob")
    for transport in TRANSPORTS:
        method = HBA_METHODS[transport] if auth_type == "hba" else auth_type
        for secret in SECRETS:
            expected = PASSWORD_FAILED
            if method == "cert":
                expected = "SSL required" if transport == "tcp" else CERT_FAILED
            elif method == "scram-sha-256" or (method == "md5" and secret == "scram"):
                expected = SASL_FAILED
            got = outcome(pooler, transport, secret + "_trust", context, "wrong")
            assert got == expected, (transport, secret)


# What it costs

@pytest.mark.limit(120)
def test_2000_scram_logins_derive_keys_once_for_each_user_and_side(start_pooler, fake_server):
    """Counted by the log: 20 users who log in 100 times, with 4 logins to their servers each."""
    passwords = {"user%d" % number: "password of %d" % number for number in range(20)}
    verifiers = {name: wire.scram_secret(password) for name, password in passwords.items()}

    def script(side):
        assert side.ask_scram(verifiers[side.read_startup()["user"]])
        side.welcome()
        side.serve(lambda side, sql: answer(side.startup["user"]))
    server = fake_server(script)
    pooler = start_pooler(auth_type="scram-sha-256", userlist=passwords, verbose="1",
                          pool_mode="transaction", scram_iterations="64", log_disconnections="0",
                          databases={"p0": "host=127.0.0.1 port=%d" % server.port})
    for _ in range(4):
        for _ in range(25):
            for name, password in passwords.items():
                with wire.Client(pooler.host, pooler.port).login(name, "p0", password) as client:
                    client.send_raw(wire.terminate())
        pooler.admin("RECONNECT")
    assert pooler.stats("p0")["total_server_assignment_count"] == 0
    assert pooler.log().count("login attempt: db=p0") == 2000
    assert len(server.logged_in) == 4 * len(passwords)
    of_the_administrator = 1
    assert pooler.log().count("derived the keys of a password") == (
        2 * len(passwords) + of_the_administrator)


# Real clients

def environment(pooler, role, sslmode):
    return {"PATH": os.environ["PATH"], "PGHOST": pooler.host, "PGPORT": str(pooler.port),
            "PGUSER": role, "PGPASSWORD": role + "-pw", "PGSSLMODE": sslmode,
            "PGDATABASE": "tcp_" + role, "PGGSSENCMODE": "disable", "PGCONNECT_TIMEOUT": "20",
            "HOME": "/nonexistent"}


def run(arguments, env, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, env=env, timeout=50,
                          **{"cwd": "/", **unprivileged(), **options})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_psql_psycopg_and_pgbench(matrix_pooler, auth_type):
    """With TLS, libpq binds SCRAM to the channel by itself."""
    pooler = matrix_pooler(auth_type, pool_mode="session")
    # A verifier is of use towards the server with the keys that only SCRAM brings.
    roles = ["plain_scram", "plain_md5", "plain_password",
             "md5_trust" if auth_type == "plain" else "scram_scram"]
    for sslmode in ("disable", "require"):
        for role in roles:
            env = environment(pooler, role, sslmode)
            assert run(["psql", "-XAtc", "SELECT current_user"], env) == role + "\n"
            with psycopg.connect(host=env["PGHOST"], port=env["PGPORT"], user=role,
                                 dbname=env["PGDATABASE"], password=env["PGPASSWORD"],
                                 sslmode=sslmode, gssencmode="disable") as connection:
                assert connection.execute("SELECT current_user").fetchone() == (role,)
    script = os.path.join(pooler.folder, "script.sql")
    pooler.write_file(script, "SELECT 1;\n")
    out = run([find_program("pgbench"), "-n", "-C", "-f", script, "-c", "2", "-t", "10",
               "-M", "prepared"], environment(pooler, roles[-1], "require"))
    assert "number of transactions actually processed: 20/20" in out


NODE_SCRIPT = """
const { Client } = require('pg');
(async () => {
  for (const ssl of [false, { rejectUnauthorized: false }]) {
    for (const user of ['plain_scram', 'scram_scram', 'plain_md5']) {
      const client = new Client({ host: process.env.PGHOST, port: process.env.PGPORT, user,
        database: 'tcp_' + user, password: user + '-pw', ssl });
      await client.connect();
      const rows = (await client.query('SELECT current_user AS name, $1::int AS number', [7])).rows;
      console.log(rows[0].name, rows[0].number);
      const named = { name: 'a name', text: 'SELECT $1::text AS text', values: ['x'] };
      for (let i = 0; i < 2; i++) await client.query(named);
      await client.end();
    }
  }
  const client = new Client({ host: process.env.PGHOST, port: process.env.PGPORT,
    user: 'plain_scram', database: 'tcp_plain_scram', password: 'wrong' });
  await client.connect().catch(error => console.log(error.message));
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.limit(120)
def test_node_postgres(node_postgres, matrix_pooler):
    script = node_postgres / "script.js"
    script.write_text(NODE_SCRIPT)
    users = ["%s 7" % user for user in ("plain_scram", "scram_scram", "plain_md5")]
    for auth_type, failure in (("md5", PASSWORD_FAILED), ("scram-sha-256", SASL_FAILED)):
        pooler = matrix_pooler(auth_type, pool_mode="session")
        out = run(["node", str(script)], environment(pooler, "plain_scram", "disable"),
                  cwd=node_postgres, user=None, group=None, extra_groups=None)
        assert out.splitlines() == users * 2 + [failure]
