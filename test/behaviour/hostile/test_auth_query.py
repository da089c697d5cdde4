"""
Section 3 of the catalogue, auth_query: clients that try to become somebody else by it, servers that
answer badly, and changes at the wrong moment.
"""

import itertools
import random
import struct
import threading
import time

import pytest

from support import wire
from support.fake_server import command_complete, error_body, ready, row_description
from support.invariants import fatal
from support.lookups import ASKER, COLUMNS, FROM_TABLE, PREPARED, Answers, found, prepare, row
from support.process import wait_for

METHODS = ["plain", "md5", "scram-sha-256"]
FAILED = {"plain": "password authentication failed", "md5": "password authentication failed",
          "scram-sha-256": "SASL authentication failed"}
EVIL = "the attacker's choice"


@pytest.fixture
def roles(pg):
    set_secret = prepare(pg)
    yield set_secret
    pg.sql("DROP SCHEMA IF EXISTS evil CASCADE")


@pytest.fixture
def asking(roles, field):
    """A watched pooler that asks PostgreSQL as `asker`; the canaries are users of auth_file."""
    def start(auth_type, **settings):
        settings.setdefault("auth_user", ASKER)
        settings.setdefault("userlist", {"bob": "bob-pw", "alice": "alice-pw"})
        return field(auth_type=auth_type, **settings)
    return start


@pytest.fixture
def scripted(field, pg, fake_server):
    """A watched pooler whose auth_dbname is a scripted server: (pooler, answers)."""
    def start(auth_type="plain", secrets=None, **settings):
        answers = Answers(secrets or {"eve": "eve-pw", "dan": "dan-pw"})
        server = fake_server(answers)
        answers.server = server
        return field(
            auth_type=auth_type, auth_user=ASKER, auth_dbname="auth", server_login_retry="0.1",
            userlist={"bob": "bob-pw", "alice": "alice-pw"}, databases={
                "p0": "", "p1": "", "as_bob": "host=127.0.0.1 port=%d dbname=p0 user=bob" % pg.port,
                "auth": "host=127.0.0.1 port=%d" % server.port}, **settings), answers
    return start


def attempt(pooler, user, password, database="p0"):
    """None for a login, else the error's text."""
    client = pooler.wire()
    try:
        client.login(user, database, password)
    except wire.ServerError as failure:
        client.expect_eof()
        return failure.message
    finally:
        client.close()
        pooler.clients.remove(client)
    return None


# Becoming somebody else

@pytest.mark.parametrize("auth_type", METHODS)
def test_au16_an_unknown_user_is_nobody(asking, auth_type):
    pooler = asking(auth_type)
    for name in ("mallory", "Asker", "asker ", "", "pg_monitor", "public", "asker,bob"):
        for password in ("", "x", "asker"):
            client = pooler.wire()
            client.startup(name, "p0")
            fatal(client, "no such user" if name else "no username supplied")
    # Who asks has no secret: nobody can log in as him.
    for password in ("x", "asker", "md5"):
        assert attempt(pooler, ASKER, password) == FAILED[auth_type]
    assert pooler.show("CLIENTS", user=ASKER) == []


# As a superuser, in a session through the pooler, of the very names that auth_query runs under.
SHADOWS = """
CREATE SCHEMA evil;
CREATE TABLE evil.logins AS SELECT 'bob2'::text AS name, '{0}'::text AS secret;
CREATE TABLE evil.pg_authid AS SELECT 'bob2'::name AS rolname, true AS rolcanlogin,
    '{0}'::text AS rolpassword, NULL::timestamptz AS rolvaliduntil;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT '-infinity'::timestamptz $$;
CREATE FUNCTION evil.always(text, text) RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION evil.always(name, name) RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.always);
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.always);
CREATE TEMP TABLE logins AS SELECT * FROM evil.logins;
CREATE TEMP TABLE pg_authid AS SELECT * FROM evil.pg_authid;
""".format(EVIL.replace("'", "''"))

DISTURBANCES = [
    "SET search_path = evil, pg_catalog", "SET search_path = pg_temp, evil, pg_catalog",
    "SELECT set_config('search_path', 'evil, pg_catalog', false)",
    "SET ROLE bob", "SET SESSION AUTHORIZATION bob", "SET row_security = off",
    "SET statement_timeout = 1", "SET default_transaction_read_only = on",
    "SET client_encoding = 'SQL_ASCII'", "SET DateStyle = 'German'", "SET bytea_output = 'escape'",
    "SET standard_conforming_strings = off", "SET session_replication_role = replica",
    "SET timezone = 'Pacific/Kiritimati'", "SET lock_timeout = 1", "LISTEN everything",
    "PREPARE q AS SELECT 1", "SELECT pg_advisory_lock(17)", "LOAD 'auto_explain'",
]


@pytest.mark.parametrize("query", [None, FROM_TABLE], ids=["built in", "unqualified"])
@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_au17_what_a_session_of_auth_user_does(asking, pg, roles, pool_mode, query):
    """He logs in through the pooler like anybody: other connections than those that ask."""
    roles("bob2", "right-pw")
    pg.sql("DROP ROLE IF EXISTS bob2")
    pg.create_role("bob2", "right-pw", "md5")
    settings = {} if query is None else {"auth_query": query}
    pooler = asking("plain", userlist={"bob": "bob-pw", "alice": "alice-pw", ASKER: "asker-pw"},
                    pool_mode=pool_mode, default_pool_size="2", server_reset_query="",
                    databases={"p0": "", "p1": "",
                               "as_bob": "host=127.0.0.1 port=%d dbname=p0 user=bob" % pg.port},
                    auth_dbname="p0", **settings)
    attacker = pooler.client("p0", ASKER, "asker-pw")
    attacker.query(SHADOWS)
    for sql in DISTURBANCES:
        if "set_config" not in sql:  # afterwards not even RESET ALL would find its way
            attacker.query("RESET SESSION AUTHORIZATION; RESET ALL")
        attacker.query(sql)
        assert attempt(pooler, "bob2", "right-pw", "as_bob") is None, sql
        for wrong in (EVIL, "x"):
            assert attempt(pooler, "bob2", wrong, "as_bob") == FAILED["plain"], sql
    attacker.query("BEGIN")
    attacker.query("LOCK TABLE evil.logins, pg_temp.logins")
    assert attempt(pooler, "bob2", "right-pw", "as_bob") is None
    attacker.close()
    pg.sql("DROP ROLE bob2")


STARTUP = [
    {"search_path": "evil, pg_catalog"}, {"options": "-c search_path=evil,pg_catalog"},
    {"options": "--search_path=evil,pg_catalog"}, {"role": "bob"}, {"options": "-c role=bob"},
    {"session_authorization": "bob"}, {"DateStyle": "German"}, {"client_encoding": "SQL_ASCII"},
    {"standard_conforming_strings": "off"}, {"TimeZone": "Pacific/Kiritimati"},
    {"application_name": "'; SET search_path = evil; --"}, {"statement_timeout": "1"},
]


OTHERS = "search_path,role,session_authorization,statement_timeout"


@pytest.mark.parametrize("treatment", [
    {"track_extra_parameters": OTHERS}, {"track_startup_parameters": OTHERS},
    {"ignore_startup_parameters": OTHERS + ",options"},
    {}], ids=["tracked", "applied", "ignored", "refused"])
def test_au17_what_a_startup_packet_asks_for(asking, pg, roles, treatment):
    """Whether it is applied to the client's own server, ignored or refused: not where we ask."""
    pg.sql(SHADOWS)
    roles("bob2", "right-pw")
    pooler = asking("plain", auth_query=FROM_TABLE, auth_dbname="p0", databases={
        "p0": "", "p1": "", "as_bob": "host=127.0.0.1 port=%d dbname=p0 user=bob" % pg.port},
        **treatment)
    for parameters in STARTUP:
        for password in (EVIL, "right-pw"):
            client = pooler.wire()
            client.startup("bob2", "as_bob", **parameters)
            if client.peek_type() == "E":
                assert "unsupported startup parameter" in client.expect_any_error()["M"]
            elif password == EVIL:
                with pytest.raises(wire.ServerError, match=FAILED["plain"]):
                    client.authenticate(password)
            else:
                client.authenticate(password)
            client.close()
        client = pooler.wire().login("bob2", "as_bob", "right-pw")
        client.close()
    for path in pg.sql("SELECT current_setting('search_path')"):
        assert "evil" not in path


# Answers that are none

NULLS = found((None, None))
ODD = {
    "zero rows": (found(), "no such user"),
    "two rows": (found(("eve", "a"), ("eve", "b")), "bouncer config error"),
    "three columns": (found(("eve", "a", "b"), columns=row_description("a", "b", "c")),
                      "bouncer config error"),
    "NULLs": (NULLS, "bouncer config error"),
    "not text": (found((b"\xff\xfe", b"\x80\x81")), None),
    "a secret of 1 MB": (found(("eve", "s" * (1 << 20))), "bouncer config error"),
    "a secret of 16 MB": (found(("eve", "s" * (16 << 20))), "bouncer config error"),
    "an error": (wire.message("E", error_body("x" * 1000, "ERROR", "XX000")) + ready(),
                 "bouncer config error"),
    "a flood of errors": (wire.message("E", error_body("x", "ERROR", "XX000")) * 5000 + ready(),
                          "bouncer config error"),
    "a flood of rows": (PREPARED + COLUMNS + row("eve", "a") * 20000 + command_complete() + ready(),
                        "bouncer config error"),
    "a flood of columns": (PREPARED + row_description(*["c"] * 1600) + ready(),
                           "bouncer config error"),
    "a NULL secret": (found(("eve", None)), None),
    "another's name": (found(("dan", "dan-pw")), None),
}


@pytest.mark.limit(120)
@pytest.mark.parametrize("cached", ["0", "60"])
def test_au18_odd_answers(scripted, field, cached):
    pooler, answers = scripted(auth_query_cache_ttl=cached)
    for place, (what, (data, outcome)) in enumerate(ODD.items()):
        asked_for = "eve%d" % place  # a good answer, of whatever use, may be kept
        answers.odd[asked_for] = data
        client = pooler.wire()
        client.startup(asked_for, "as_bob")
        if outcome is None:
            client.send("p", b"eve-pw\0")
            assert client.expect("R").body == struct.pack("!i", 3), what
            fatal(client, FAILED["plain"])
        else:
            fatal(client, outcome)
        assert attempt(pooler, "dan", "dan-pw", "as_bob") is None, what
    assert attempt(pooler, "eve", "eve-pw", "as_bob") is None


@pytest.mark.limit(120)
def test_au18_hanging_dying_and_slow(scripted, field):
    """Each costs its own client a failure in time, and nobody else anything."""
    pooler, answers = scripted(client_login_timeout="2", default_pool_size="4")
    answers.odd["eve"] = None
    hanging = [pooler.wire() for _ in range(3)]
    for client in hanging:
        client.startup("eve", "as_bob")
    wait_for(lambda: answers.asked.count("eve") == 3)
    assert attempt(pooler, "dan", "dan-pw", "as_bob") is None
    for client in hanging:
        fatal(client, "client_login_timeout", seconds=5)
    wait_for(lambda: len(pooler.show("SERVERS", database="auth")) == 1, "the others have gone")
    for place in range(5):
        answers.release.clear()
        client = pooler.wire()
        client.startup("dan", "as_bob")
        wait_for(lambda: answers.asked.count("dan") == 2 + place)
        answers.server.sides[-1].reset()
        fatal(client, "bouncer config error")
        answers.release.set()
    assert attempt(pooler, "dan", "dan-pw", "as_bob") is None


def test_au18_roles_that_may_not_log_in(asking, pg):
    pg.sql("DROP ROLE IF EXISTS old, locked")
    pg.create_role("old", "pw", options="LOGIN VALID UNTIL '2001-01-01'")
    pg.create_role("locked", "pw", options="NOLOGIN")
    pooler = asking("scram-sha-256")
    assert attempt(pooler, "old", "pw") == FAILED["scram-sha-256"]
    assert attempt(pooler, "locked", "pw") == "no such user"
    pg.sql("DROP ROLE old, locked")
    assert attempt(pooler, "old", "pw") == "no such user"


# At the same time

@pytest.mark.parametrize("cached", ["0", "60"])
@pytest.mark.parametrize("auth_type", METHODS)
def test_au19_users_at_once_and_secrets_that_change(scripted, auth_type, cached):
    """Nobody is ever checked against the secret of another user, database or time."""
    secrets = {"user%d" % number: "pw of %d" % number for number in range(6)}
    pooler, answers = scripted(auth_type, dict(secrets), auth_query_cache_ttl=cached,
                               scram_iterations="10")
    names = list(secrets)
    for turn in range(3):
        clients = [(name, word, pooler.wire()) for name in names for word in names]
        for name, _, client in clients:
            client.startup(name, "as_bob")
        for name, word, client in clients:
            try:
                client.authenticate(secrets[word])
                assert name == word
            except wire.ServerError as failure:
                assert name != word and failure.message == FAILED[auth_type]
        pooler.close_clients()
        changed = names[turn]
        answers.secrets[changed] = secrets[changed] = "changed in turn %d" % turn
        outcomes = [attempt(pooler, changed, secrets[changed], "as_bob") for _ in range(3)]
        assert outcomes[1:] == [None, None], outcomes


@pytest.mark.limit(120)
def test_au20_users_move_between_file_and_server(scripted, field):
    """auth_file comes first, whenever it has a secret; nobody falls between the two."""
    pooler, answers = scripted("plain", {"eve": "server-pw", "dan": "dan-pw"},
                               auth_query_cache_ttl="1")
    halt, outcomes = threading.Event(), []

    def log_in(user, passwords):
        for password in itertools.cycle(passwords):
            if halt.is_set():
                return
            client = wire.Client(pooler.host, pooler.port)
            pooler.connections_made += 1
            try:
                client.login(user, "as_bob", password)
                outcomes.append((user, password))
            except wire.ServerError as failure:
                outcomes.append((user, failure.message))
            client.close()
    threads = [threading.Thread(target=log_in, args=arguments) for arguments in (
        ("eve", ("server-pw", "file-pw", "wrong")), ("dan", ("dan-pw",)))]
    for thread in threads:
        thread.start()
    try:
        for turn in range(15):
            pooler.userlist = {"bob": "bob-pw", "alice": "alice-pw",
                               **({"eve": "file-pw"} if turn % 2 else {})}
            pooler.reload()
            field.watch.events += 3
            time.sleep(0.02)
    finally:
        halt.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) <= {("dan", "dan-pw"), ("eve", "server-pw"), ("eve", "file-pw"),
                             ("eve", FAILED["plain"])}, set(outcomes)
    pooler.userlist["eve"] = "file-pw"
    pooler.reload()
    assert attempt(pooler, "eve", "server-pw", "as_bob") == FAILED["plain"]
    assert attempt(pooler, "eve", "file-pw", "as_bob") is None


@pytest.mark.parametrize("auth_type", METHODS)
def test_au21_the_password_counts_whatever_is_open(scripted, auth_type):
    """Open servers, kept answers and kept keys are no way past it."""
    pooler, answers = scripted(auth_type, {"carol": "carol-pw"}, auth_query_cache_ttl="60")
    kept = pooler.client("p0", "carol", "carol-pw")
    kept.query("BEGIN")
    for _ in range(3):
        assert attempt(pooler, "carol", "carol-pw") is None
        for wrong in ("wrong", "carol", "carol-p", "carol-pww", "md5"):
            assert attempt(pooler, "carol", wrong) == FAILED[auth_type]
    kept.query("COMMIT")


def test_au29_the_deadline_and_the_answer_at_once(scripted, field):
    """Answer, deadline and a client that leaves meet in one turn: one end for each."""
    pooler, answers = scripted("plain", tcp_defer_accept="0")
    pooler.admin("SET client_login_timeout = '0.2'")
    draw = random.Random(29)
    for _ in range(12):
        answers.release.clear()
        begin = time.monotonic()
        clients = [pooler.wire() for _ in range(8)]
        for client in clients:
            client.startup(draw.choice(("eve", "dan")), "as_bob")
        time.sleep(max(0.0, begin + 0.2 - time.monotonic() + draw.uniform(-0.004, 0.004)))
        answers.release.set()
        for client in clients[::2]:
            draw.choice((client.close, client.reset))()
        for client in clients[1::2]:
            got = client.read()
            assert got.type in "RE"
    pooler.admin("SET client_login_timeout = '60'")
    pooler.close_clients()
    wait_for(lambda: attempt(pooler, "dan", "dan-pw", "as_bob") is None, timeout=10)


def test_clients_that_leave_while_they_are_asked_for(scripted, field):
    """A thousand startup packets and ends cost no more servers than the pool may have."""
    pooler, answers = scripted("plain", default_pool_size="3")
    assert attempt(pooler, "dan", "dan-pw", "as_bob") is None
    field.watch.events += 1000
    for place in range(1000):
        client = wire.Client(pooler.host, pooler.port)
        client.startup("eve", "as_bob")
        (client.reset if place % 2 else client.close)()
    assert attempt(pooler, "dan", "dan-pw", "as_bob") is None
    assert len(answers.server.logged_in) <= 3
