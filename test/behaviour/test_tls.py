"""TLS to clients and to servers: who may, who must, who is believed, and that no byte is lost."""

import contextlib
import os
import re
import select
import ssl
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from support import tls, wire
from support.fake_server import answer
from support.invariants import is_sanitized
from support.postgres import find_program
from support.process import resident_kib, unprivileged, wait_for

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
DESCRIPTION = re.compile(r"TLSv1\.3/TLS_AES_256_GCM_SHA384/ECDH=\w+$")
ANYBODY = {"tlsonly": "", "certuser": "", "bob": "bob-pw", "scramuser": "scram-pw"}


def secured(pooler, context=None, direct=False, database="p0", user="bob", **parameters):
    """A raw client over TLS, logged in."""
    client = pooler.wire()
    (tls.begin if direct else tls.ask)(client, context)
    return client.login(user, database, pooler.userlist.get(user, ""), **parameters)


def works(client, password="bob-pw"):
    return client.login("bob", "p0", password).value("SELECT 7") == "7"


def server_tls(pooler, database="p0"):
    (row,) = pooler.show("SERVERS", database=database)
    return row["tls"]


# Clients: every mode and what they do

@pytest.mark.parametrize("mode", MODES)
def test_client_sslmode(start_tls_pooler, certificates, mode):
    pooler = start_tls_pooler(client_tls_sslmode=mode)
    needs_tls = mode in ("require", "verify-ca", "verify-full")
    needs_certificate = mode.startswith("verify")

    plain = pooler.wire()
    if needs_tls:
        plain.startup("bob", "p0")
        plain.expect_error("SSL required")
    else:
        assert works(plain)

    contexts = {"none": tls.client_context(),
                "bob": tls.client_context(certificates, "bob"),
                "foreign": tls.client_context(certificates, "foreign")}
    for name, context in contexts.items():
        for direct in (False, True):
            client = pooler.wire()
            if mode == "disable" and direct:
                assert tls.refused(client, context, direct=True)
            elif mode == "disable":
                client.send_raw(tls.REQUEST)
                assert client.read_bytes(1) == b"N"
                assert works(client)
            elif name == "foreign" or (name == "none" and needs_certificate):
                error = tls.refused(client, context, direct)
                assert "alert" in str(error).lower() or isinstance(error, ConnectionError)
            else:
                (tls.begin if direct else tls.ask)(client, context)
                assert works(client)

    local = pooler.wire(pooler.socket_dir)
    local.send_raw(tls.REQUEST)
    assert local.read_bytes(1) == b"N"
    assert works(local)


def test_what_is_said_of_a_refused_certificate(start_tls_pooler, certificates):
    pooler = start_tls_pooler(client_tls_sslmode="verify-ca")
    for name, words in (("foreign", "unable to get local issuer certificate"),
                        ("outdated", "certificate has expired"),
                        ("selfsigned", "self-signed certificate"),
                        ("serveronly", "unsuitable certificate purpose")):
        tls.refused(pooler.wire(), tls.client_context(certificates, name))
        pooler.wait_log("TLS handshake error: certificate verify failed: " + words)
    tls.refused(pooler.wire())
    pooler.wait_log("TLS handshake error: peer did not return a certificate")


def test_log_and_show(start_tls_pooler, tls_pg):
    pooler = start_tls_pooler()
    client = secured(pooler, application_name="over tls")
    assert client.value("SELECT 1") == "1"
    (row,) = pooler.show("CLIENTS", application_name="over tls")
    assert DESCRIPTION.match(row["tls"])
    assert DESCRIPTION.match(server_tls(pooler))
    log = pooler.log()
    assert re.search(r"C-0x\w+: \(nodb\)/\(nouser\)@127.0.0.1:\d+ SSL established: TLSv1.3/", log)
    assert re.search(r"S-0x\w+: p0/bob@127.0.0.1:\d+ SSL established: TLSv1.3/", log)
    assert re.search(r"login attempt: db=p0 user=bob tls=TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=\w+"
                     r" replication=no", log)
    (row,) = [row for row in pooler.show("CLIENTS", database="pgbouncer")]
    assert row["tls"] == ""


def test_describes_tls_1_2(start_tls_pooler):
    pooler = start_tls_pooler()
    client = secured(pooler, tls.client_context(version=ssl.TLSVersion.TLSv1_2))
    assert client.value("SELECT 1") == "1"
    (row,) = pooler.show("CLIENTS", database="p0")
    assert re.match(r"TLSv1\.2/ECDHE-ECDSA-AES256-GCM-SHA384/ECDH=\w+$", row["tls"])


def test_the_console_over_tls(start_tls_pooler):
    pooler = start_tls_pooler(client_tls_sslmode="require", auth_type="scram-sha-256")
    client = tls.ask(pooler.wire()).login("admin", "pgbouncer", "admin-pw")
    assert len(client.query("SHOW CONFIG").rows) > 80


def test_plain_text_where_a_handshake_should_be(start_tls_pooler):
    pooler = start_tls_pooler()
    client = pooler.wire()
    client.send_raw(tls.REQUEST)
    assert client.read_bytes(1) == b"S"
    client.send_raw(wire.startup_packet({"user": "bob", "database": "p0"}))
    data = b""
    try:
        while part := client.sock.recv(4096):
            data += part
    except ConnectionError:
        pass
    assert data[:1] in (b"", b"\x15"), "not an alert: %r" % data
    pooler.wait_log("TLS handshake error: ")
    assert "login attempt" not in pooler.log()


def test_a_client_that_leaves_in_the_handshake_is_no_news(start_tls_pooler):
    pooler = start_tls_pooler()
    for leave in ("close", "reset"):
        client = pooler.wire()
        client.send_raw(tls.REQUEST)
        assert client.read_bytes(1) == b"S"
        getattr(client, leave)()
    wait_for(lambda: pooler.list_items()["login_clients"] == 0)
    assert "handshake" not in pooler.log()


# Direct TLS

def test_direct_tls(start_tls_pooler):
    pooler = start_tls_pooler(client_tls_sslmode="require")
    client = secured(pooler, direct=True)
    assert client.value("SELECT 1") == "1"
    assert client.sock.selected_alpn_protocol() == "postgresql"


@pytest.mark.parametrize("alpn", [("http/1.1",), ("h2", "http/1.1"), ()])
def test_direct_tls_needs_the_protocol(start_tls_pooler, alpn):
    """Without it, a web browser could be made to send queries."""
    pooler = start_tls_pooler()
    error = tls.refused(pooler.wire(), tls.client_context(alpn=alpn), direct=True)
    if alpn:
        assert "alert" in str(error)
    pooler.wait_log("TLS handshake error: ")
    assert works(tls.begin(pooler.wire(), tls.client_context(alpn=(*alpn, "postgresql"))))


def test_protocol_behind_a_request(start_tls_pooler):
    """There it need not be named, but must fit if it is."""
    pooler = start_tls_pooler()
    assert works(tls.ask(pooler.wire(), tls.client_context(alpn=())))
    assert "alert" in str(tls.refused(pooler.wire(), tls.client_context(alpn=("http/1.1",))))


def test_direct_tls_in_small_pieces(start_tls_pooler):
    """The first bytes come as they like."""
    pooler = start_tls_pooler()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = tls.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    client = pooler.wire()
    while True:
        try:
            hello.do_handshake()
            break
        except ssl.SSLWantReadError:
            data = outgoing.read()
            for place in range(len(data)):
                client.send_raw(data[place:place + 1])
                if place % 100 == 0:
                    time.sleep(0.01)
            incoming.write(client.sock.recv(65536))
    hello.write(wire.startup_packet({"user": "bob", "database": "p0"}))
    client.send_raw(outgoing.read())
    assert client.sock.recv(1)


@pytest.mark.parametrize("where", ["off", "unix"])
def test_direct_tls_where_there_is_none(start_tls_pooler, where):
    pooler = start_tls_pooler(client_tls_sslmode="disable" if where == "off" else "require")
    client = pooler.wire(pooler.socket_dir if where == "unix" else None)
    assert tls.refused(client, direct=True)


# Servers: every mode

@pytest.mark.parametrize("has_tls", [False, True])
def test_server_sslmode(start_pooler, pg, certificates, has_tls):
    """Each by the setting and by the key of an entry; a new setting makes new connections."""
    if has_tls:
        pg.use_tls(certificates)
    try:
        entry = "host=localhost port=%d server_tls_sslmode=%%s" % pg.port
        pooler = start_pooler(
            databases={"p0": "host=localhost port=%d" % pg.port,
                       "p1": entry % "disable", "p2": entry % "require", "p3": entry % "prefer"},
            pool_mode="transaction", server_tls_ca_file=certificates.file("ca.crt"),
            query_wait_timeout="0.4", server_login_retry="0.1")
        for mode in MODES:
            pooler.settings["server_tls_sslmode"] = mode
            pooler.reload()
            assert pooler.show("SERVERS", database="p0", state="idle") == []
            if not has_tls and mode in ("require", "verify-ca", "verify-full"):
                with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
                    pooler.connect()
                pooler.wait_log("closing because: server refused SSL")
            else:
                assert pooler.value("SELECT 1") == 1
                expected = has_tls and mode != "disable"
                assert bool(DESCRIPTION.match(server_tls(pooler))) == expected
                assert pg.value("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                " WHERE usename = 'bob' AND datname = 'p0'") == expected
        assert pooler.value("SELECT 1", dbname="p1") == 1
        assert server_tls(pooler, "p1") == ""
        assert pooler.value("SELECT 1", dbname="p3") == 1
        assert bool(server_tls(pooler, "p3")) == has_tls
        if has_tls:
            assert pooler.value("SELECT 1", dbname="p2") == 1
            assert server_tls(pooler, "p2") != ""
    finally:
        if has_tls:
            pg.use_tls()


def test_no_tls_to_a_unix_socket(start_pooler, tls_pg):
    pooler = start_pooler(databases={"p0": "host=%s port=%d" % (tls_pg.socket_dir, tls_pg.port)},
                          server_tls_sslmode="require")
    assert pooler.value("SELECT 1") == 1
    assert server_tls(pooler) == ""


def test_our_certificate_to_the_server(start_pooler, tls_pg, certificates):
    """PostgreSQL asks for it by its rule "cert"."""
    pooler = start_pooler(
        userlist=ANYBODY, server_tls_sslmode="verify-full", pool_mode="transaction",
        server_tls_ca_file=certificates.file("ca.crt"),
        server_tls_cert_file=certificates.file("certuser.crt"),
        server_tls_key_file=certificates.file("certuser.key"),
        databases={"p0": "", "p1": "server_tls_cert_file=%s server_tls_key_file=%s" % (
            certificates.file("bob.crt"), certificates.file("bob.key"))})
    assert pooler.value("SELECT current_user", user="certuser") == "certuser"
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        pooler.connect("p1", user="certuser")


def test_only_by_tls(start_pooler, tls_pg):
    """prefer is enough for a server that lets nobody in without TLS."""
    pooler = start_pooler(userlist=ANYBODY, databases={
        "p0": "", "p1": "server_tls_sslmode=disable"})
    assert pooler.value("SELECT 1", user="tlsonly") == 1
    with pytest.raises(psycopg.OperationalError, match="pg_hba.conf rejects"):
        pooler.connect("p1", user="tlsonly")


def test_scram_over_tls(start_pooler, tls_pg):
    """PostgreSQL offers channel binding there as well; the other mechanism is chosen."""
    pooler = start_pooler(server_tls_sslmode="require")
    assert pooler.value("SELECT current_user", user="scramuser") == "scramuser"


# Servers: whom we believe

class TlsServer:
    """A scripted server that takes TLS, asked for or direct, and notes what it saw."""

    def __init__(self, certificates, certificate="server", direct=False, alpn=("postgresql",)):
        self.context = tls.server_context(certificates, certificate, alpn=alpn)
        self.context.sni_callback = self.note_name
        self.direct = direct
        self.names, self.errors = [], []

    def note_name(self, sock, name, context):
        self.names.append(name)

    def secure(self, side):
        try:
            (tls.begin_serving if self.direct else tls.serve)(side, self.context)
        except OSError as error:
            self.errors.append(str(error))
            raise

    def __call__(self, side):
        self.secure(side)
        if side.log_in():
            side.serve(lambda side, sql: answer(side.number))


def believes(start_pooler, server, mode, host, script, certificates, **settings):
    """True if a client gets through; else the reason from the log."""
    pooler = start_pooler(
        databases={"p0": "host=%s port=%d" % (host, server.port)}, server_tls_sslmode=mode,
        server_tls_ca_file=certificates.file("ca.crt"), server_login_retry="0.05",
        **{"query_wait_timeout": "0.6", **settings})
    try:
        pooler.value("SELECT 1")
        return True
    except psycopg.OperationalError:
        assert "closing because: TLS startup failed" in pooler.log()
        return re.search("TLS handshake error: (.*)", pooler.log()).group(1)


@pytest.mark.parametrize("mode, certificate, host, expected", [
    ("require", "foreign", "localhost", True),
    ("require", "expired", "127.0.0.1", True),
    ("prefer", "selfsigned", "localhost", True),
    ("verify-ca", "server", "localhost", True),
    ("verify-ca", "wronghost", "localhost", True),
    ("verify-ca", "foreign", "localhost", "unable to get local issuer certificate"),
    ("verify-ca", "expired", "localhost", "certificate has expired"),
    ("verify-ca", "selfsigned", "localhost", "self-signed certificate"),
    ("verify-ca", "clientonly", "localhost", "unsuitable certificate purpose"),
    ("verify-full", "server", "localhost", True),
    ("verify-full", "server", "LocalHost", True),
    ("verify-full", "server", "127.0.0.1", True),
    ("verify-full", "commonname", "localhost", True),
    ("verify-full", "nameonly", "127.0.0.1", "IP address mismatch"),
    ("verify-full", "commonname", "127.0.0.1", "IP address mismatch"),
    ("verify-full", "wronghost", "localhost", "hostname mismatch"),
    ("verify-full", "wronghost", "127.0.0.1", "IP address mismatch"),
    ("verify-full", "wildcard", "localhost", "hostname mismatch"),
    ("verify-full", "foreign", "localhost", "unable to get local issuer certificate"),
])
def test_certificate_of_a_server(start_pooler, fake_server, certificates, mode, certificate, host,
                                 expected):
    script = TlsServer(certificates, certificate)
    server = fake_server(script)
    got = believes(start_pooler, server, mode, host, script, certificates)
    if expected is True:
        assert got is True
    else:
        assert got == "certificate verify failed: " + expected
        assert server.logged_in == []


def test_each_host_of_a_list_by_its_own_name(start_pooler, fake_server, certificates):
    """The certificate names only the second one."""
    script = TlsServer(certificates, "nameonly")
    server = fake_server(script)
    assert believes(start_pooler, server, "verify-full", "127.0.0.1,localhost", script,
                    certificates, query_wait_timeout="10") is True
    assert set(script.names) <= {None, "localhost"}


@pytest.mark.parametrize("host, name", [("localhost", "localhost"), ("127.0.0.1", None)])
def test_name_for_the_server(start_pooler, fake_server, certificates, host, name):
    """SNI: names are sent, addresses are not (RFC 6066)."""
    script = TlsServer(certificates)
    server = fake_server(script)
    assert believes(start_pooler, server, "require", host, script, certificates)
    assert script.names == [name]


# Servers: direct TLS

def test_direct_tls_to_a_server(start_pooler, fake_server, certificates):
    script = TlsServer(certificates, direct=True)
    server = fake_server(script)
    pooler = start_pooler(databases={
        "p0": "host=localhost port=%d server_tls_negotiation=direct server_tls_sslmode=verify-full"
              " server_tls_ca_file=%s" % (server.port, certificates.file("ca.crt"))})
    assert pooler.value("SELECT 1") == "1"
    (side,) = server.logged_in
    assert side.sock.selected_alpn_protocol() == "postgresql"


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_direct_tls_to_a_server_without_the_protocol(start_pooler, fake_server, certificates, alpn):
    script = TlsServer(certificates, direct=True, alpn=alpn)
    server = fake_server(script)
    assert "ALPN" in believes(start_pooler, server, "require", "localhost", script, certificates,
                              server_tls_negotiation="direct")
    assert server.logged_in == []


def test_direct_needs_a_mode_that_cannot_be_told_no(make_pooler):
    pooler = make_pooler(server_tls_negotiation="direct")
    pooler.write()
    code, _, errors = pooler.run("--check", pooler.ini)
    assert code == 1
    assert "server_tls_negotiation = direct needs server_tls_sslmode = require" in errors


# Settings

BAD = {
    "client_tls_protocols": ("sslv3", "invalid client_tls_protocols: sslv3"),
    "client_tls_ciphers": ("nonsense", "invalid client_tls_ciphers: nonsense"),
    "client_tls13_ciphers": ("nonsense", "invalid client_tls13_ciphers: nonsense"),
    "client_tls_ecdhcurve": ("nonsense", "invalid client_tls_ecdhecurve: nonsense"),
    "client_tls_dheparams": ("legacy", "invalid client_tls_dheparams: legacy"),
    "client_tls_cert_file": ("", "To allow TLS connections from clients, client_tls_key_file and"
                                 " client_tls_cert_file must be set."),
    "client_tls_key_file": ("/nonexistent", "client_tls_key_file: cannot use \"/nonexistent\""),
    "client_tls_ca_file": ("/nonexistent", "client_tls_ca_file: cannot use \"/nonexistent\""),
    "server_tls_protocols": ("legacy", "invalid server_tls_protocols: legacy"),
    "server_tls_ciphers": ("all", "invalid server_tls_ciphers: all"),
    "server_tls13_ciphers": ("nonsense", "invalid server_tls13_ciphers: nonsense"),
    "server_tls_ca_file": ("/nonexistent", "server_tls_ca_file: cannot use \"/nonexistent\""),
    "server_tls_cert_file": ("/nonexistent", "server_tls_key_file and server_tls_cert_file go"),
}


def test_bad_values_at_the_start(start_tls_pooler, make_pooler, certificates):
    """Each is named, by --check and by a start, which fails."""
    good = start_tls_pooler()
    for name, (value, text) in BAD.items():
        pooler = make_pooler(**{**good.settings, name: value})
        pooler.write()
        code, _, errors = pooler.run("--check", pooler.ini)
        assert (code, text in errors) == (1, True), errors
    code, _, errors = pooler.run(pooler.ini)
    assert (code, text in errors) == (1, True), errors


def test_bad_values_of_a_reload_and_of_set(start_tls_pooler, certificates):
    """What was in force stays in force, down to the last connection."""
    pooler = start_tls_pooler(server_tls_ca_file=certificates.file("ca.crt"))
    before = secured(pooler)
    pids = before.value("SELECT pg_backend_pid()")
    good = dict(pooler.settings)
    console = pooler.console()
    for name, (value, text) in BAD.items():
        pooler.settings[name] = value
        pooler.write()
        console.send_raw(wire.query("RELOAD"))
        (error,) = console.result().errors
        assert error["S"] == "ERROR"
        pooler.wait_log(text)
        pooler.settings = dict(good)
    assert before.value("SELECT pg_backend_pid()") == pids
    assert works(tls.ask(pooler.wire()))
    pooler.reload()
    for name in ("client_tls_ciphers", "server_tls_protocols"):
        result = console.query("SET %s = 'nonsense'" % name)
        (notice,) = result.notices
        assert notice["M"] == "TLS settings could not be applied, still using old configuration"
        assert works(tls.ask(pooler.wire()))
        assert console.query("SET %s = 'default'" % name).notices == []


def test_set_of_tls_settings(start_tls_pooler):
    pooler = start_tls_pooler()
    console = pooler.console()
    assert console.query("SET client_tls_sslmode = 'require'").notices == []
    plain = pooler.wire()
    plain.startup("bob", "p0")
    plain.expect_error("SSL required")
    assert console.query("SET client_tls_sslmode = 'disable'").notices == []
    assert works(pooler.wire())


def test_bad_values_of_an_entry(start_pooler):
    pooler = start_pooler()
    for text, error in (("server_tls_protocols=nonsense", "invalid server_tls_protocols: nonsense"),
                        ("server_tls_sslmode=maybe", "invalid server_tls_sslmode"),
                        ("server_tls_negotiation=never", "invalid server_tls_negotiation"),
                        ("server_tls_negotiation=direct", "needs server_tls_sslmode = require")):
        pooler.databases["p1"] = text
        pooler.write()
        pooler.signal(1)
        pooler.wait_log(error)
        assert re.search(r"pooler\.ini:3:? .*" + re.escape(error), pooler.log()), pooler.log()
        assert pooler.value("SELECT 1", dbname="p1") == 1


def test_change_of_an_entry_makes_new_connections(start_pooler, tls_pg):
    pooler = start_pooler(pool_mode="transaction")
    for name in ("p0", "p1"):
        pooler.value("SELECT 1", dbname=name)
    other = pooler.show("SERVERS", database="p1")[0]["ptr"]
    assert server_tls(pooler) != ""
    pooler.databases["p0"] = "server_tls_sslmode=disable"
    pooler.reload()
    pooler.value("SELECT 1")
    assert server_tls(pooler) == ""
    assert pooler.show("SERVERS", database="p1")[0]["ptr"] == other


@pytest.mark.parametrize("words, good, bad", [
    ("tlsv1.2", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ("tlsv1.3", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2),
    ("secure,!tlsv1.3", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ("!tlsv1.0,!tlsv1.1,!tlsv1.2", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2),
])
def test_protocols(start_tls_pooler, words, good, bad):
    pooler = start_tls_pooler(client_tls_protocols=words)
    assert works(tls.ask(pooler.wire(), tls.client_context(version=good)))
    assert "alert" in str(tls.refused(pooler.wire(), tls.client_context(version=bad)))
    pooler.wait_log("TLS handshake error: unsupported protocol")


def test_ciphers_and_curve(start_tls_pooler):
    pooler = start_tls_pooler(client_tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256",
                              client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256",
                              client_tls_ecdhcurve="secp384r1")
    for version, start in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256/"),
                           (ssl.TLSVersion.TLSv1_3, "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256/")):
        client = secured(pooler, tls.client_context(version=version))
        (row,) = pooler.show("CLIENTS", database="p0")
        assert row["tls"] == start + "ECDH=secp384r1"
        client.terminate()
        wait_for(lambda: not pooler.show("CLIENTS", database="p0"))
    context = tls.client_context(version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    tls.refused(pooler.wire(), context)
    pooler.wait_log("TLS handshake error: no shared cipher")


# New certificates

def serial(pooler):
    client = tls.ask(pooler.wire())
    try:
        return client.sock.getpeercert(binary_form=True)
    finally:
        client.close()
        pooler.clients.remove(client)


def test_new_certificate_while_clients_come(start_tls_pooler, certificates):
    """Hundreds of handshakes and as many reloads as there is time for: none fails."""
    certificates.copy("server", "renewed")
    pooler = start_tls_pooler(client_tls_cert_file=certificates.file("renewed.crt"),
                              client_tls_key_file=certificates.file("renewed.key"))
    before = secured(pooler)
    stop, failures, seen = threading.Event(), [], []
    context = tls.client_context()

    def shake():
        while not stop.is_set():
            try:
                client = tls.ask(wire.Client(pooler.host, pooler.port), context)
                seen.append(client.sock.getpeercert(binary_form=True))
                client.close()
            except Exception as failure:
                failures.append(failure)
    threads = [threading.Thread(target=shake) for _ in range(3)]
    for thread in threads:
        thread.start()
    console = pooler.console()
    for turn in range(10):
        certificates.copy(("second", "server")[turn % 2], "renewed")
        done = len(seen)
        console.query("RELOAD")
        wait_for(lambda: len(seen) > done + 20, "handshakes", timeout=20)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(seen)) == 2
    assert before.value("SELECT 1") == "1"


def test_a_pair_that_does_not_fit_is_refused(start_tls_pooler, certificates):
    certificates.copy("server", "renewed")
    pooler = start_tls_pooler(client_tls_cert_file=certificates.file("renewed.crt"),
                              client_tls_key_file=certificates.file("renewed.key"))
    before, first = secured(pooler), serial(pooler)
    console = pooler.console()
    broken = (("renewed.key", certificates.text("second.key"), "key values mismatch"),
              ("renewed.key", "", "client_tls_key_file: cannot use"),
              ("renewed.crt", certificates.text("server.crt")[:300],
               "client_tls_cert_file: cannot use"))
    for name, text, words in broken:
        certificates.copy("server", "renewed")
        certificates.write(name, text)
        console.send_raw(wire.query("RELOAD"))
        assert console.result().errors
        pooler.wait_log(words)
        assert serial(pooler) == first
    certificates.copy("server", "renewed")
    os.chmod(certificates.file("renewed.key"), 0)
    console.send_raw(wire.query("RELOAD"))
    assert console.result().errors
    pooler.wait_log("Permission denied")
    assert (serial(pooler), before.value("SELECT 1")) == (first, "1")
    certificates.copy("second", "renewed")
    console.query("RELOAD")
    assert serial(pooler) != first


def test_new_certificate_for_servers(start_pooler, tls_pg, certificates):
    """New contents under the same name count for new connections, and close none."""
    certificates.copy("bob", "renewed")
    pooler = start_pooler(
        userlist=ANYBODY, server_tls_sslmode="require", pool_mode="transaction",
        server_tls_cert_file=certificates.file("renewed.crt"),
        server_tls_key_file=certificates.file("renewed.key"))
    pooler.value("SELECT 1")
    server = pooler.show("SERVERS", database="p0")[0]["ptr"]
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        pooler.connect(user="certuser")
    certificates.copy("certuser", "renewed")
    pooler.reload()
    time.sleep(0.35)  # a failed login is tried again after server_login_retry
    assert pooler.value("SELECT current_user", user="certuser") == "certuser"
    assert [row["ptr"] for row in pooler.show("SERVERS", user="bob")] == [server]


# Sessions that are resumed

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(start_tls_pooler, certificates, version):
    pooler = start_tls_pooler(client_tls_sslmode="verify-full")
    context = tls.client_context(certificates, "bob", version)
    client = secured(pooler, context)
    assert not client.sock.session_reused
    assert client.value("SELECT 1") == "1"
    session = client.sock.session
    for _ in range(2):
        again = tls.ask(pooler.wire(), context, session=session)
        assert again.sock.session_reused
        assert works(again)
    pooler.reload()
    anew = tls.ask(pooler.wire(), context, session=session)
    assert not anew.sock.session_reused
    assert works(anew)


# Cancel requests

SLEEP = "DO $$BEGIN RAISE NOTICE 'it runs'; PERFORM pg_sleep(20); END$$"


@pytest.mark.parametrize("direct", [False, True])
def test_cancel_request_from_a_client(start_tls_pooler, tls_pg, direct):
    """Over TLS on both sides; the user may not even connect without."""
    pooler = start_tls_pooler(userlist=ANYBODY, client_tls_sslmode="require",
                              server_tls_sslmode="require")
    client = secured(pooler, user="tlsonly")
    client.send_raw(wire.query(SLEEP))
    client.expect("N")
    with wire.Client(pooler.host, pooler.port) as requester:
        (tls.begin if direct else tls.ask)(requester)
        requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, client.key))
        requester.expect_eof()
    assert client.result().errors[0]["C"] == "57014"
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("direct", [False, True])
def test_cancel_key_never_goes_in_clear(start_pooler, fake_server, certificates, direct):
    """Not even to a server that says N where it said S before."""
    script = TlsServer(certificates, direct=direct)
    running, refusing = threading.Event(), threading.Event()
    clear = []

    def serve(side):
        if refusing.is_set():
            clear.append(side.read_bytes(8))
            side.send_raw(b"N")
            side.sock.settimeout(2)
            clear.append(side.sock.recv(100))
            return
        script.secure(side)
        if side.log_in():
            side.serve(lambda side, sql: running.set())
    server = fake_server(serve)
    pooler = start_pooler(databases={"p0": "host=localhost port=%d" % server.port},
                          server_tls_sslmode="verify-full", pool_mode="transaction",
                          server_tls_negotiation="direct" if direct else "postgres",
                          server_tls_ca_file=certificates.file("ca.crt"))
    client = pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(100)"))
    assert running.wait(10)
    client.cancel()
    assert server.cancels == [server.logged_in[0].key]
    if not direct:
        refusing.set()
        client.cancel()
        wait_for(lambda: clear == [tls.REQUEST, b""], "nothing but the question")
        pooler.wait_log("cancel request could not be sent: the server refuses TLS")
    assert not client.has_data()


# Real clients

def environment(pooler, **values):
    return {"PATH": "/usr/bin:/bin", "PGHOST": "localhost", "PGPORT": str(pooler.port),
            "PGUSER": "scramuser", "PGPASSWORD": "scram-pw", "PGGSSENCMODE": "disable", **values}


def test_psql_and_psycopg(start_tls_pooler, tls_pg, certificates):
    pooler = start_tls_pooler(client_tls_sslmode="verify-full", auth_type="scram-sha-256",
                              server_tls_sslmode="require")
    files = {"sslrootcert": certificates.file("ca.crt"), "sslcert": certificates.file("bob.crt"),
             "sslkey": certificates.file("bob.key")}
    done = subprocess.run(
        ["psql", "-XAt", "-c", r"\conninfo", "-c", "SELECT 6 * 7",
         "sslmode=verify-full dbname=p0 " + " ".join("%s=%s" % item for item in files.items())],
        capture_output=True, text=True, env=environment(pooler), **unprivileged())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n42\n")
    assert "SSL connection (protocol: TLSv1.3" in done.stdout
    with psycopg.connect(host="localhost", port=pooler.port, dbname="p0", user="scramuser",
                         password="scram-pw", sslmode="verify-full", **files) as connection:
        assert connection.execute("SELECT %s::int", (7,)).fetchone() == (7,)
        assert connection.pgconn.ssl_in_use


@pytest.mark.parametrize("arguments", [["-M", "extended"], ["-C"]])
def test_pgbench(start_tls_pooler, tls_pg, arguments):
    tls_pg.sql("CREATE TABLE IF NOT EXISTS t (n int); GRANT ALL ON t TO public")
    pooler = start_tls_pooler(client_tls_sslmode="require", server_tls_sslmode="require",
                              default_pool_size="5", max_client_conn="60")
    script = pooler.folder + "/script"
    pooler.write_file(script, "\\set n random(1, 1000)\nBEGIN;\nINSERT INTO t VALUES (:n);\n"
                              "SELECT count(*) FROM t WHERE n = :n;\nROLLBACK;\n")
    done = subprocess.run(
        [find_program("pgbench"), "-n", "-f", script, "-c", "20", "-T", "1", *arguments, "p0"],
        capture_output=True, text=True, env=environment(pooler, PGUSER="bob", PGSSLMODE="require"),
        **unprivileged())
    assert "number of failed transactions: 0 " in done.stdout, done.stderr
    assert all(row["tls"] for row in pooler.show("SERVERS"))
    tls_pg.sql("DROP TABLE t")


# Much data

SIZE = 300 * 1024 * 1024
PEAK_KIB = 6 * 1024


def test_a_large_result_to_a_slow_reader(start_tls_pooler, tls_pg):
    """300 MB of COPY; the reader stops again and again, and the pooler keeps little."""
    pooler = start_tls_pooler(server_tls_sslmode="require")
    client = secured(pooler)
    client.value("SELECT 1")
    memory = resident_kib(pooler.pid)
    row_bytes, rows = 30000, SIZE // 30000
    client.send_raw(wire.query(
        "COPY (SELECT lpad(n::text, %d, '.') FROM generate_series(1, %d) AS n) TO STDOUT"
        % (row_bytes, rows)))
    client.expect("H")
    row_size, place, peak, last = row_bytes + 6, 0, 0, bytes(client.buffer)
    client.buffer.clear()
    while place < rows * row_size:
        data = client.sock.recv(65536)
        assert data
        block = last + data
        begin = 0
        while len(block) - begin >= row_size and place + begin < rows * row_size:
            number = (place + begin) // row_size + 1
            assert block[begin:begin + 5] == b"d" + struct.pack("!i", row_size - 1)
            assert block[begin + row_size - 9:begin + row_size] == (
                b"%9d\n" % number).replace(b" ", b".")[-9:]
            begin += row_size
        place, last = place + begin, block[begin:]
        if place // (SIZE // 8) != (place - begin) // (SIZE // 8):
            time.sleep(0.05)
            peak = max(peak, resident_kib(pooler.pid) - memory)
    client.buffer += last
    assert client.result().tags == ["COPY %d" % rows]
    assert peak < PEAK_KIB or is_sanitized(pooler.pid)  # freed memory is kept aside there
    assert client.value("SELECT 2") == "2"


def test_copy_both_ways(start_tls_pooler, tls_pg):
    pooler = start_tls_pooler(server_tls_sslmode="require")
    with pooler.connect(sslmode="require") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TEMP TABLE t (n int, x text); BEGIN")
        cursor.execute("CREATE TABLE copied_by_tls (n int, x text)")
        rows = ["%d\t%s\n" % (n, chr(97 + n % 26) * (n % 30000)) for n in range(2000)]
        with cursor.copy("COPY copied_by_tls FROM STDIN") as copy:
            for row in rows:
                copy.write(row)
        with cursor.copy("COPY copied_by_tls TO STDOUT") as copy:
            assert b"".join(map(bytes, copy)) == "".join(rows).encode()
        cursor.execute("ROLLBACK")


def test_a_large_query(start_tls_pooler, tls_pg):
    pooler = start_tls_pooler(server_tls_sslmode="require")
    client = secured(pooler)
    text = "x" * (8 * 1024 * 1024)
    assert client.value("SELECT md5('%s') = md5(repeat('x', %d))" % (text, len(text))) == "t"
    assert client.execute("SELECT length($1)", [text]).value == str(len(text))


def test_a_storm_of_handshakes(start_tls_pooler):
    """Two thousand at once and somebody who works: he is served all the time."""
    pooler = start_tls_pooler(max_client_conn="3000")
    canary = pooler.client()
    context = tls.client_context()
    clients, pending, poll = [], {}, select.poll()
    for _ in range(2000):
        client = wire.Client(pooler.host, pooler.port)
        clients.append(client)
        client.send_raw(tls.REQUEST)
    answers = 0
    for client in clients:
        assert client.read_bytes(1) == b"S"
        client.sock.setblocking(False)
        client.sock = context.wrap_socket(client.sock, do_handshake_on_connect=False,
                                          server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            client.sock.do_handshake()  # sends the hello; a fast answer may end it already
            continue
        pending[client.sock.fileno()] = client
        poll.register(client.sock, select.POLLIN)
    while pending:
        ready = poll.poll(20000)
        assert ready, "%d handshakes stand still" % len(pending)
        for number, _ in ready:
            try:
                pending[number].sock.do_handshake()
                del pending[number]
                poll.unregister(number)
            except ssl.SSLWantReadError:
                pass
            answers += 1
            if answers % 100 == 0:
                assert canary.value("SELECT %d" % answers) == str(answers)
    clients[7].sock.setblocking(True)
    assert works(clients[7])
    for client in clients:
        client.close()
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left", timeout=20)
