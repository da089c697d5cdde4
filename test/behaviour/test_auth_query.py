"""auth_query: users who are not in auth_file, and whom a server knows."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time

import pytest

from support import tls, wire
from support.fake_server import (command_complete, data_row, error_body, parameter_status, ready,
                                 row_description)
from support.lookups import (ASKER, COLUMNS, FROM_TABLE, PREPARED, Answers, found, prepare, row)
from support.postgres import PASSWORDS
from support.process import unprivileged, wait_for

CONFIG_ERROR = "bouncer config error"
FAILED = {"plain": "password authentication failed", "md5": "password authentication failed",
          "scram-sha-256": "SASL authentication failed"}
METHODS = list(FAILED)


@pytest.fixture
def roles(pg):
    """set_secret(name, secret, dbname) for the table that FROM_TABLE reads."""
    return prepare(pg)


@pytest.fixture
def asking(roles, start_pooler):
    """A pooler that asks PostgreSQL as `asker`, and knows nobody by itself."""
    def start(auth_type="scram-sha-256", **settings):
        settings.setdefault("auth_user", ASKER)
        settings.setdefault("userlist", {})
        settings.setdefault("pool_mode", "transaction")
        return start_pooler(auth_type=auth_type, **settings)
    return start


@pytest.fixture
def scripted(pg, start_pooler, fake_server):
    """
    A pooler whose entry `auth` is a scripted server: (pooler, answers). The other entries are
    PostgreSQL's.
    """
    def start(auth_type="plain", secrets=None, **settings):
        answers = Answers({"bob": "bob-pw", "alice": "alice-pw"} if secrets is None else secrets)
        server = fake_server(answers)
        settings.setdefault("databases", {"p0": "", "p1": ""})
        settings["databases"]["auth"] = "host=127.0.0.1 port=%d" % server.port
        settings.setdefault("auth_user", ASKER)
        settings.setdefault("auth_dbname", "auth")
        settings.setdefault("userlist", {})
        settings.setdefault("pool_mode", "transaction")
        settings.setdefault("server_login_retry", "0.1")
        pooler = start_pooler(auth_type=auth_type, **settings)
        answers.server = server
        return pooler, answers
    return start


def attempt(pooler, user, password, database="p0", sqlstate="08P01", host=None):
    """None for a login that can ask something, else the error's text."""
    client = pooler.wire(host)
    try:
        client.login(user, database, password)
        assert database == "pgbouncer" or client.value("SELECT 1") == "1"
    except wire.ServerError as failure:
        assert (failure.severity, failure.sqlstate) == ("FATAL", sqlstate)
        client.expect_eof()
        return failure.message
    finally:
        client.close()
        pooler.clients.remove(client)
    return None


def begin(pooler, user="bob", database="p0"):
    """A client whose question is under way."""
    client = pooler.wire()
    client.startup(user, database)
    return client


def refused_without_a_question(pooler, user, database="p0"):
    client = begin(pooler, user, database)
    got = client.read()
    assert got.type == "E", got
    client.expect_eof()
    return wire.parse_fields(got.body)["M"]


@contextlib.contextmanager
def held(answers):
    """The scripted server thinks about it until the end of the block, or until release()."""
    answers.release.clear()
    try:
        yield
    finally:
        answers.release.set()


def wait_asked(answers, count):
    wait_for(lambda: len(answers.asked) >= count, "%d questions" % count)


# What pg_authid says

@pytest.mark.parametrize("user", ["md5user", "scramuser"])
@pytest.mark.parametrize("auth_type", METHODS)
def test_secrets_of_pg_authid(asking, auth_type, user):
    """With the query that is built in. An md5 secret is of no use for SCRAM."""
    useless = (auth_type, user) == ("scram-sha-256", "md5user")
    pooler = asking(auth_type, databases={"p0": "user=bob"})
    assert attempt(pooler, user, PASSWORDS[user]) == (FAILED[auth_type] if useless else None)
    assert attempt(pooler, user, "wrong") in FAILED.values()
    assert PASSWORDS[user] not in pooler.log()


def test_who_may_not_log_in(asking, pg):
    """Expired: as a wrong password. NOLOGIN, dropped, never there: told before any question."""
    pg.sql("DROP ROLE IF EXISTS expired, nologin")
    pg.create_role("expired", "pw", options="LOGIN VALID UNTIL '2001-01-01'")
    pg.create_role("nologin", "pw", options="NOLOGIN")
    pooler = asking()
    assert attempt(pooler, "expired", "pw") == FAILED["scram-sha-256"]
    assert refused_without_a_question(pooler, "nologin") == "no such user"
    pg.sql("ALTER ROLE nologin LOGIN")
    pg.sql("ALTER ROLE expired VALID UNTIL 'infinity'")
    pooler.databases = {"p0": "user=bob"}
    pooler.reload()
    assert attempt(pooler, "nologin", "pw") is None
    assert attempt(pooler, "expired", "pw") is None
    pg.sql("DROP ROLE nologin, expired")
    assert refused_without_a_question(pooler, "nologin") == "no such user"
    assert "no such user: nologin" in pooler.log()


@pytest.mark.parametrize("auth_type", METHODS)
def test_role_without_a_secret(asking, auth_type):
    pooler = asking(auth_type)
    for password in ("md5", "bob", "x"):
        assert attempt(pooler, "bob", password) == FAILED[auth_type]


def test_unknown_user_never_becomes_auth_user(asking):
    pooler = asking("plain", userlist={ASKER: "asker-pw"})
    for password in ("", "asker-pw", "x"):
        assert refused_without_a_question(pooler, "mallory") == "no such user"
    assert attempt(pooler, ASKER, "asker-pw") is None


@pytest.mark.parametrize("auth_type", METHODS)
def test_plain_secrets(asking, roles, auth_type):
    roles("bob", "the secret of bob")
    pooler = asking(auth_type, auth_query=FROM_TABLE)
    assert attempt(pooler, "bob", "the secret of bob") is None
    assert attempt(pooler, "bob", "wrong") == FAILED[auth_type]
    assert "the secret" not in pooler.log()


def test_odd_names(asking, roles):
    pooler = asking("plain", auth_query=FROM_TABLE, databases={"p0": "user=bob"})
    for name in ("o'brien", 'quo"ted', "$1", "ü-ö", "a b; DROP TABLE logins", "%s"):
        roles(name, "pw")
        assert attempt(pooler, name, "pw") is None
        assert attempt(pooler, name, "pw2") == FAILED["plain"]
    client = begin(pooler, b"\xff\xfe")  # not in the server's encoding
    client.expect_error(CONFIG_ERROR)


# Who asks, what, and where

WHERE = "SELECT $1::text, current_database()::text || '/' || session_user"


def test_auth_user_query_and_database_of_the_entry_come_first(asking, pg):
    pooler = asking("plain", auth_query=WHERE, auth_dbname="p2", databases={
        "p0": "", "p1": "auth_dbname=p3", "p2": "", "p3": "",
        "own": "dbname=p0 auth_user=alice auth_dbname=p1 auth_query='%s'"
               % "SELECT $1::text, ''mine''::text"})
    assert attempt(pooler, "bob", "p2/asker", "p0") is None
    assert attempt(pooler, "bob", "p3/asker", "p1") is None
    assert attempt(pooler, "bob", "mine", "own") is None
    assert {row["user"] for row in pooler.show("SERVERS", database="p1")} == {"alice", "bob"}


def test_the_query_runs_in_the_database_itself(asking):
    pooler = asking("plain", auth_query=WHERE)
    assert attempt(pooler, "bob", "p0/asker", "p0") is None
    assert attempt(pooler, "bob", "p1/asker", "p1") is None
    assert attempt(pooler, "bob", "p1/asker", "p0") == FAILED["plain"]


def test_auth_user_of_one_entry_only(asking):
    pooler = asking("plain", auth_user=None, auth_query=WHERE,
                    databases={"p0": "auth_user=asker", "p1": ""})
    assert attempt(pooler, "bob", "p0/asker", "p0") is None
    assert attempt(pooler, "bob", "p1/asker", "p1") == FAILED["plain"]


def test_auth_user_logs_in_with_his_own_secret(asking, pg):
    pg.sql("DROP ROLE IF EXISTS plainasker")
    pooler = asking("plain", auth_query=WHERE, auth_user="scramuser",
                    userlist={"scramuser": "scram-pw"})
    assert attempt(pooler, "bob", "p0/scramuser") is None


def test_auth_user_is_not_the_forced_user(asking):
    pooler = asking("plain", auth_query=WHERE, databases={"p0": "user=alice"})
    client = pooler.client("p0", "bob", "p0/asker")
    assert client.value("SELECT current_user") == "alice"


def test_auth_dbname_made_from_the_fallback_entry(asking):
    pooler = asking("plain", auth_query=WHERE, auth_dbname="p5", databases={"p0": "", "*": ""})
    assert attempt(pooler, "bob", "p5/asker") is None
    assert attempt(pooler, "bob", "p5/asker", "p4") is None
    assert pooler.show("DATABASES", name="p5")


def test_auth_dbname_that_is_unknown(asking):
    pooler = asking("plain", auth_dbname="nowhere")
    assert refused_without_a_question(pooler, "bob") == CONFIG_ERROR
    assert 'authentication database "nowhere" is not configured.' in pooler.log()


def test_auth_dbname_that_is_disabled(asking):
    pooler = asking("plain", auth_query=WHERE, auth_dbname="p1")
    pooler.admin("DISABLE p1")
    assert refused_without_a_question(pooler, "bob") == (
        'authentication database "p1" is disabled')
    pooler.admin("ENABLE p1")
    assert attempt(pooler, "bob", "p1/asker") is None


def test_auth_dbname_that_is_the_console(asking):
    pooler = asking("plain", databases={"p0": "auth_dbname=pgbouncer"})
    assert refused_without_a_question(pooler, "bob") == CONFIG_ERROR
    with pytest.raises(wire.ServerError, match="SET failed"):
        pooler.admin("SET auth_dbname = 'pgbouncer'")


def test_unknown_database_is_nobodys_question(scripted):
    """There is nothing to ask: the exchange is that of an unknown user."""
    pooler, answers = scripted("plain")
    assert attempt(pooler, "bob", "bob-pw", "nowhere") == FAILED["plain"]
    assert answers.asked == []


# Who is asked for

def test_only_who_is_not_in_auth_file(scripted):
    pooler, answers = scripted(
        "plain", userlist={"alice": "own-pw", "carol": ""}, users={"bob": "pool_size=3"},
        secrets={"bob": "bob-pw", "alice": "other", "carol": "carol-pw"},
        databases={"p0": "", "p1": "user=bob"})
    assert attempt(pooler, "alice", "own-pw") is None
    assert attempt(pooler, "alice", "other") == FAILED["plain"]
    assert answers.asked == []
    assert attempt(pooler, "bob", "bob-pw") is None    # known from [users] and as forced user
    assert attempt(pooler, "bob", "bob-pw") is None    # and from an earlier answer
    assert attempt(pooler, "carol", "carol-pw") is None  # an entry without a secret
    assert attempt(pooler, "carol", "") == "empty password returned by client"
    assert answers.asked == ["bob", "bob", "carol", "carol"]


def test_reload_moves_users_between_file_and_query(scripted):
    pooler, answers = scripted("plain")
    assert attempt(pooler, "bob", "bob-pw") is None
    pooler.userlist = {"bob": "file-pw"}
    pooler.reload()
    assert attempt(pooler, "bob", "bob-pw") == FAILED["plain"]
    assert attempt(pooler, "bob", "file-pw") is None
    pooler.userlist = {}
    pooler.reload()
    assert attempt(pooler, "bob", "file-pw") == FAILED["plain"]
    assert attempt(pooler, "bob", "bob-pw") is None
    assert answers.asked == ["bob"] * 3


def test_trust_admits_whom_the_server_knows(scripted):
    pooler, answers = scripted("trust")
    answers.odd["carol"] = found(("carol", None))
    assert attempt(pooler, "bob", "") is None
    assert attempt(pooler, "carol", "") is None
    assert refused_without_a_question(pooler, "mallory") == "no such user"


def test_any_asks_nobody(scripted):
    pooler, answers = scripted("any", databases={"p0": "user=bob"})
    assert attempt(pooler, "whoever", "") is None
    assert answers.asked == []


def test_rules_see_the_name_of_the_answer(start_pooler, scripted, tmp_path):
    pooler, answers = scripted("trust")
    pooler.write_file(pooler.folder + "/hba", (
        "host all bob 127.0.0.1/32 trust\n"
        "host all alice 127.0.0.1/32 reject\n"
        "host all carol 127.0.0.1/32 md5\n"))
    pooler.settings.update(auth_type="hba", auth_hba_file=pooler.folder + "/hba")
    pooler.reload()
    answers.odd["robert"] = found(("bob", None))
    answers.secrets["carol"] = "carol-pw"
    assert attempt(pooler, "robert", "") is None
    assert refused_without_a_question(pooler, "alice") == "login rejected"
    assert attempt(pooler, "carol", "carol-pw") is None
    assert attempt(pooler, "carol", "wrong") == FAILED["md5"]
    assert refused_without_a_question(pooler, "mallory") == "no such user"


def test_certificates_of_users_whom_the_server_knows(scripted, certificates):
    """auth_type = cert: the certificate must have the name of the answer."""
    pooler, answers = scripted(
        "cert", client_tls_sslmode="verify-full", client_tls_ca_file=certificates.file("ca.crt"),
        client_tls_cert_file=certificates.file("server.crt"),
        client_tls_key_file=certificates.file("server.key"))
    answers.odd["robert"] = found(("bob", None))

    def outcome(user, certificate):
        client = tls.ask(pooler.wire(), tls.client_context(certificates, certificate))
        client.startup(user, "p0")
        got = client.read()
        return "R" if got.type == "R" else wire.parse_fields(got.body)["M"]
    assert outcome("bob", "bob") == outcome("robert", "bob") == "R"
    assert outcome("alice", "bob") == outcome("bob", "other") == "certificate authentication failed"
    assert outcome("other", "other") == "no such user"


def test_example_of_the_manual(pg, start_pooler):
    """A function that is all that auth_user may call."""
    manual = os.path.join(os.path.dirname(__file__), "..", "..", "doc", "pgweir.ini.5")
    with open(manual) as file:
        text = file.read().split(".Sh AUTH_QUERY")[1]
    example = text.split(".Bd -literal -offset indent\n")[1].split(".Ed")[0]
    sql, query = example.split("auth_query = ")
    pg.sql(sql)
    try:
        pooler = start_pooler(auth_type="scram-sha-256", auth_user="pgweir", userlist={},
                              auth_query=query.strip(), databases={"p0": ""})
        assert attempt(pooler, "scramuser", PASSWORDS["scramuser"]) is None
        assert attempt(pooler, "scramuser", "wrong") == FAILED["scram-sha-256"]
        assert refused_without_a_question(pooler, "mallory") == "no such user"
    finally:
        pg.sweep()
        pg.sql("DROP SCHEMA pgweir CASCADE; DROP ROLE pgweir")


# The answer

@pytest.mark.parametrize("auth_type", METHODS)
def test_the_name_of_the_answer_replaces_the_given_one(scripted, auth_type):
    pooler, answers = scripted(auth_type)
    answers.odd["ROBERT"] = found(("bob", "robert-pw"))
    client = pooler.wire()
    client.startup("ROBERT", "p0")
    client.user = "bob"  # the name behind the hash of md5
    client.authenticate("robert-pw")
    client.welcome()
    assert client.value("SELECT current_user") == "bob"
    assert [row["user"] for row in pooler.show("CLIENTS", database="p0")] == ["bob"]
    assert pooler.show("USERS", name="bob")[0]["current_client_connections"] == 1
    assert pooler.show("USERS", name="ROBERT") == []
    assert "db=p0 user=bob" in pooler.log()


def test_limit_of_clients_counts_when_the_answer_is_there(scripted):
    pooler, answers = scripted("plain", max_user_client_connections="2")
    answers.odd["robert"] = found(("bob", "bob-pw"))
    with held(answers):
        waiting = [begin(pooler, name) for name in ("bob", "robert", "bob")]
        wait_asked(answers, 1)
        assert pooler.show("USERS", name="bob") == []
    outcomes = sorted(client.read().type for client in waiting)
    assert outcomes == ["E", "R", "R"]
    assert pooler.show("USERS", name="bob")[0]["current_client_connections"] == 2
    pooler.close_clients()
    wait_for(lambda: pooler.show("USERS", name="bob")[0]["current_client_connections"] == 0)
    client = begin(pooler)
    assert client.read().type == "R"


NOTICE = wire.message("N", error_body("by the way", "NOTICE", "00000"))
NOTIFICATION = wire.message("A", struct.pack("!i", 7) + b"channel\0payload\0")
NO_DATA = wire.message("n")
ERROR = wire.message("E", error_body("no such table", "ERROR", "42P01"))
COPY = struct.pack("!bhh", 0, 1, 0)
BOB = row("bob", "bob-pw")
END = command_complete("SELECT 1") + ready()

ODD_ANSWERS = {
    "two rows": found(("bob", "bob-pw"), ("bob", "bob-pw")),
    "one column": found(("bob",), columns=row_description("a")),
    "three columns": found(("bob", "bob-pw", "x"), columns=row_description("a", "b", "c")),
    "more fields than columns": found(("bob", "bob-pw", "x")),
    "fewer fields than columns": found(("bob",)),
    "no columns": PREPARED + NO_DATA + command_complete("UPDATE 1") + ready(),
    "a name that is NULL": found((None, "bob-pw")),
    "a name that is empty": found(("", "bob-pw")),
    "a name that is too long": found(("b" * 128, "bob-pw")),
    "a name with a zero byte": found(("bob\0", "bob-pw")),
    "a secret with a zero byte": found(("bob", "bob-pw\0x")),
    "a secret of 1 MB": found(("bob", "x" * 1000000)),
    "a secret of 2 MB": found(("bob", "x" * 2000000)),
    "an error": ERROR + ready(),
    "an error behind the row": PREPARED + COLUMNS + BOB + ERROR + ready(),
    "two errors": ERROR + ERROR + ready(),
    "a thousand errors": ERROR * 1000 + ready(),
    "nothing": ready(),
    "an empty query": PREPARED + NO_DATA + wire.message("I") + ready(),
    "a suspended portal": PREPARED + COLUMNS + BOB + wire.message("s") + ready(),
    "COPY to us": PREPARED + NO_DATA + wire.message("H", COPY) + wire.message("d", b"bob\tx\n")
                  + wire.message("c") + END,
    "COPY from us": PREPARED + NO_DATA + wire.message("G", COPY),
    "a row that is cut": PREPARED + COLUMNS + wire.message("D", BOB[5:-3]) + END,
    "a row with a rest": PREPARED + COLUMNS + wire.message("D", BOB[5:] + b"x") + END,
    "an empty row": PREPARED + COLUMNS + wire.message("D") + END,
    "a field of length -2": PREPARED + COLUMNS + wire.message(
        "D", struct.pack("!hi", 2, -2) + b"bob") + END,
    "an unknown message": PREPARED + COLUMNS + wire.message("?") + BOB + END,
    "a message that is none": PREPARED + b"T\0\0\0\0",
    "an open transaction": PREPARED + COLUMNS + BOB + command_complete("BEGIN") + ready("T"),
    "a failed transaction": PREPARED + COLUMNS + BOB + command_complete("BEGIN") + ready("E"),
    "an unknown state": PREPARED + COLUMNS + BOB + command_complete("BEGIN") + ready("?"),
    "a broken parameter": PREPARED + wire.message("S", b"x") + COLUMNS + BOB + END,
}


def test_odd_answers(scripted):
    """All of them fail alike, harm nobody, and let nobody in; the log says what it was."""
    pooler, answers = scripted("plain")
    for what, data in ODD_ANSWERS.items():
        answers.odd["bob"] = data
        before = len(pooler.log())
        assert refused_without_a_question(pooler, "bob") == CONFIG_ERROR, what
        log = pooler.log()[before:]
        assert "auth_query" in log or "bad pkt header" in log or "COPY" in log or (
            "ParameterStatus" in log), (what, log)
        assert len(log) < 4000, what
        assert attempt(pooler, "alice", "alice-pw") is None, what
    del answers.odd["bob"]
    assert attempt(pooler, "bob", "bob-pw") is None
    log = pooler.log()
    assert "S: error in auth_query: ERROR: no such table" in log
    assert "expected 2 columns from auth_query, not 3" in log
    assert "bob-pw" not in log and "x" * 100 not in log


def test_answers_that_are_good_all_the_same(scripted):
    pooler, answers = scripted("plain")
    good = {
        "a notice": NOTICE + PREPARED + NOTICE + COLUMNS + BOB + NOTICE + END,
        "a parameter": PREPARED + parameter_status("TimeZone", "UTC") + COLUMNS + BOB + END,
        "a notification": NOTIFICATION + PREPARED + COLUMNS + NOTIFICATION + BOB + END,
        "the longest name": found(("b" * 63, "bob-pw")),
    }
    for what, data in good.items():
        answers.odd["bob"] = data
        client = begin(pooler)
        assert client.read().body == struct.pack("!i", 3), what
        client.send("p", b"bob-pw\0")
        client.close()
    answers.odd["bob"] = found(("bob", "y" * 65530))
    assert attempt(pooler, "bob", "y" * 65530) is None
    assert len(answers.server.logged_in) == 1


def test_answer_in_pieces(scripted):
    pooler, answers = scripted("plain")
    done = threading.Event()

    def dribble(side):
        if side.log_in():
            while side.read().type != "S":
                pass
            for byte in found(("bob", "bob-pw")):
                side.send_raw(bytes((byte,)))
            done.wait(10)
    answers.server.script = dribble
    assert attempt(pooler, "bob", "bob-pw") is None
    done.set()


@pytest.mark.parametrize("sql,log", [
    ("SELECT 'bob', 'x' FROM generate_series(1, 2) WHERE $1 <> ''", "at most 1 row"),
    ("SELECT $1", "expected 2 columns from auth_query, not 1"),
    ("SELECT $1, 'x', 'y'", "expected 2 columns from auth_query, not 3"),
    ("SELECT NULL, $1", "null user name"),
    ("SELECT 'x'", "S: error in auth_query: ERROR: bind message supplies 1 parameter"),
    ("SELECT $1, 1/0", "S: error in auth_query: ERROR: division by zero"),
    ("nonsense $1", "S: error in auth_query: ERROR: syntax error"),
    ("COPY logins TO STDOUT", "auth_query"),
    ("BEGIN", "auth_query"),
    ("", "auth_query"),
])
def test_senseless_queries(asking, sql, log):
    """`BEGIN` takes no parameter, so it does not even leave a transaction behind."""
    pooler = asking("plain", auth_query=sql)
    assert refused_without_a_question(pooler, "bob") == CONFIG_ERROR
    assert log in pooler.log()
    assert pooler.show("POOLS", database="p0", user=ASKER)[0]["sv_active"] == 0


def test_row_of_another_type(asking, pg):
    """Whatever the types are, it is text that counts."""
    pooler = asking("plain", auth_query="SELECT $1::name, 4711::int", databases={"p0": "user=bob"})
    assert attempt(pooler, "bob", "4711") is None


# Time

def test_slow_answer_holds_up_nobody_else(scripted):
    pooler, answers = scripted("plain")
    assert attempt(pooler, "alice", "alice-pw") is None
    with held(answers):
        slow = begin(pooler)
        wait_asked(answers, 2)
        pooler.userlist["carol"] = "carol-pw"
        pooler.reload()
        assert attempt(pooler, "carol", "carol-pw") is None
        slow.expect_silence()
    slow.authenticate("bob-pw")
    slow.welcome()


def test_query_that_hangs(scripted):
    """The client is told at its own limit, and the connection with the query goes."""
    pooler, answers = scripted("plain", client_login_timeout="1.5")
    answers.odd["bob"] = None
    client = begin(pooler)
    wait_asked(answers, 1)
    assert attempt(pooler, "alice", "alice-pw") is None
    client.expect_error("client_login_timeout")
    assert attempt(pooler, "alice", "alice-pw") is None
    wait_for(lambda: [row["state"] for row in pooler.show("SERVERS", database="auth")] == ["idle"])
    assert pooler.pool("auth", ASKER)["cl_waiting"] == 0
    assert "auth_query was given up" in pooler.log()


@pytest.mark.parametrize("setting", ["query_wait_timeout", "query_timeout"])
def test_wait_for_the_pool_is_limited(scripted, setting):
    pooler, answers = scripted("plain", default_pool_size="1", **{setting: "1"})
    with held(answers):
        first, second = begin(pooler), begin(pooler, "alice")
        second.expect_error(setting)
        first.expect_error(setting)
    assert attempt(pooler, "alice", "alice-pw") is None


def test_transaction_timeout_does_not_count(scripted):
    pooler, answers = scripted("plain", transaction_timeout="0.1", idle_transaction_timeout="0.1")
    with held(answers):
        client = begin(pooler)
        wait_asked(answers, 1)
        time.sleep(0.5)
    client.authenticate("bob-pw")
    client.welcome()
    assert client.value("SELECT 1") == "1"


def test_pool_of_one_serves_all_in_turn(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    with held(answers):
        clients = [begin(pooler, name) for name in ("bob", "alice") * 10]
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 19)
    for client in clients:
        client.authenticate(client.user + "-pw")
        client.welcome()
    assert answers.asked == ["bob", "alice"] * 10
    assert len(answers.server.logged_in) == 1


def test_server_that_dies_in_mid_query(scripted):
    pooler, answers = scripted("plain")
    with held(answers):
        client = begin(pooler)
        wait_asked(answers, 1)
        answers.server.sides[0].reset()
        client.expect_error(CONFIG_ERROR)
    assert attempt(pooler, "bob", "bob-pw") is None


def test_idle_connection_that_was_closed_is_not_used(asking, pg):
    pooler = asking("plain", auth_query=WHERE)
    for _ in range(3):
        assert attempt(pooler, "bob", "p0/asker") is None
        assert pg.terminate("usename = 'asker'") == 1
        wait_for(lambda: not pooler.show("SERVERS", user=ASKER))


# Who cannot ask

def test_auth_user_who_may_not_log_in(asking):
    """As for every pool, who waits is told with the server's words."""
    pooler = asking("plain", auth_user="nobody")
    assert attempt(pooler, "bob", "x", sqlstate="28000") == 'role "nobody" does not exist'
    pooler = asking("plain", auth_user="scramuser", userlist={"scramuser": "wrong"})
    assert attempt(pooler, "bob", "x", sqlstate="28P01") == (
        'password authentication failed for user "scramuser"')
    assert attempt(pooler, "bob", "x").startswith(
        "server login has been failing, cached error: password authentication failed")


def test_unreachable_server(scripted):
    """Who came first waits, and is served when it is there; who comes later is told at once."""
    pooler, answers = scripted("plain")
    answers.server.stop_listening()
    client = begin(pooler)
    pooler.wait_log("connect failed")
    assert refused_without_a_question(pooler, "alice").startswith("server login has been failing")
    answers.server.listen(answers.server.port)
    client.authenticate("bob-pw")
    client.welcome()


def test_shutdown_that_waits_for_servers(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    with held(answers):
        first, second = begin(pooler), begin(pooler, "alice")
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 1)
        console = pooler.console()
        console.send_raw(wire.query("SHUTDOWN WAIT_FOR_SERVERS"))
        second.expect_error("server shutting down")
    assert first.read().type == "R"
    pooler.close_clients()
    pooler.expect_exit(0)


# Changes meanwhile

def test_pause(scripted):
    pooler, answers = scripted("plain")
    assert attempt(pooler, "alice", "alice-pw") is None
    with held(answers):
        running = begin(pooler)
        wait_asked(answers, 2)
        console = pooler.console()
        console.send_raw(wire.query("PAUSE"))
        console.expect_silence()  # waits for the query
    assert running.read().type == "R"
    assert console.result().tags == ["PAUSE"]
    waiting = begin(pooler, "alice")
    waiting.expect_silence()
    assert pooler.show("SERVERS") == []
    pooler.admin("RESUME")
    waiting.authenticate("alice-pw")
    waiting.welcome()


def test_reload_without_the_authentication_database(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    entry = pooler.databases["auth"]
    with held(answers):
        running, waiting = begin(pooler), begin(pooler, "alice")
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 1)
        del pooler.databases["auth"]
        pooler.reload()
        running.expect_error(CONFIG_ERROR)
        waiting.expect_error(CONFIG_ERROR)
    assert refused_without_a_question(pooler, "bob") == CONFIG_ERROR
    pooler.databases["auth"] = entry
    pooler.reload()
    assert attempt(pooler, "bob", "bob-pw") is None


def test_kill_of_the_authentication_database(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    with held(answers):
        running, waiting = begin(pooler), begin(pooler, "alice")
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 1)
        pooler.admin("KILL auth")
        running.expect_error(CONFIG_ERROR)
        waiting.expect_error(CONFIG_ERROR)
    pooler.admin("RESUME auth")
    assert attempt(pooler, "bob", "bob-pw") is None


def test_end_of_the_database_that_is_asked_for(scripted):
    pooler, answers = scripted("plain", default_pool_size="1",
                               databases={"p0": "", "p1": "", "p2": ""})
    with held(answers):
        running, waiting = begin(pooler, "bob", "p1"), begin(pooler, "alice", "p1")
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 1)
        killed = begin(pooler, "alice", "p2")
        wait_for(lambda: pooler.pool("auth", ASKER)["cl_waiting"] == 2)
        pooler.admin("KILL p2")
        del pooler.databases["p1"]
        pooler.reload()
        for client in (running, waiting, killed):
            client.expect_error("database removed")
        assert pooler.pool("auth", ASKER)["cl_waiting"] == 0
    assert attempt(pooler, "bob", "bob-pw") is None


def test_reload_while_a_query_runs(scripted):
    """The answer to the old question counts for who asked, and is not kept."""
    pooler, answers = scripted("plain", auth_query_cache_ttl="60")
    with held(answers):
        client = begin(pooler)
        wait_asked(answers, 1)
        pooler.databases["auth"] += " pool_size=5"
        pooler.settings["auth_query"] = "SELECT other($1)"
        pooler.reload()
    client.authenticate("bob-pw")
    client.welcome()
    answers.secrets["bob"] = "other-pw"
    assert attempt(pooler, "bob", "other-pw") is None
    assert answers.asked == ["bob", "bob"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_meanwhile(scripted, how):
    """A query that ends soon leaves the connection as it was: leaving is no way to use them up."""
    pooler, answers = scripted("plain", default_pool_size="1", client_login_timeout="60")
    assert attempt(pooler, "alice", "alice-pw") is None
    for _ in range(10):
        with held(answers):
            asked = len(answers.asked)
            running, waiting = begin(pooler), begin(pooler)
            wait_asked(answers, asked + 1)
            getattr(running, how)()
            getattr(waiting, how)()
            wait_for(lambda: pooler.list_items()["login_clients"] == 0)
        assert attempt(pooler, "alice", "alice-pw") is None
    assert len(answers.server.logged_in) == 1
    assert pooler.pool("auth", ASKER)["cl_waiting"] == 0


def test_client_that_leaves_a_query_that_hangs(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    answers.odd["bob"] = None
    client = begin(pooler)
    wait_asked(answers, 1)
    client.close()
    assert attempt(pooler, "alice", "alice-pw") is None  # when the connection was given up
    assert "auth_query was given up" in pooler.log()


def test_client_that_does_not_wait_for_its_turn(scripted):
    """Password and query may come with the startup packet, but not without end."""
    pooler, answers = scripted("plain")
    with held(answers):
        eager, loud = begin(pooler), begin(pooler, "alice")
        eager.send_raw(wire.message("p", b"bob-pw\0") + wire.query("SELECT 7"))
        loud.send_raw(wire.message("p", b"x" * 100000))
        loud.expect_any_error()
    for kind in "RR":
        eager.expect(kind)
    eager.welcome()
    assert eager.result().value == "7"


# The secret is of use for the server

@pytest.mark.parametrize("user,auth_type", [
    ("md5user", "md5"), ("md5user", "plain"), ("scramuser", "scram-sha-256"), ("scramuser", "md5")])
def test_server_login_with_the_secret_of_pg_authid(asking, user, auth_type):
    """The server asks for it: md5 from the hash, SCRAM with the keys of the client."""
    pooler = asking(auth_type)
    client = pooler.client("p0", user, PASSWORDS[user])
    assert client.value("SELECT current_user") == user


@pytest.mark.parametrize("user", list(PASSWORDS))
@pytest.mark.parametrize("auth_type", METHODS)
def test_server_login_with_a_plain_secret(asking, roles, user, auth_type):
    roles(user, PASSWORDS[user])
    pooler = asking(auth_type, auth_query=FROM_TABLE)
    assert pooler.client("p0", user, PASSWORDS[user]).value("SELECT current_user") == user


def test_secret_stays_for_later_server_logins(asking, pg):
    pooler = asking("scram-sha-256", databases={"p0": "pool_size=3"})
    client = pooler.client("p0", "scramuser", PASSWORDS["scramuser"])
    for _ in range(2):
        pg.terminate("usename = 'scramuser'")
        wait_for(lambda: not pooler.show("SERVERS", user="scramuser"))
        assert client.value("SELECT current_user") == "scramuser"


def scram_server(password, secrets):
    """Demands a password by SCRAM, and answers queries with `password`."""
    verifier = wire.scram_secret(password, iterations=4096)

    def script(side):
        side.read_startup()
        if not side.ask_scram(verifier):
            side.send_error("password authentication failed", sqlstate="28P01")
            return
        side.welcome()
        side.serve(lambda side, sql: row_description("v") + data_row(password) + END)
    secrets.append(verifier)
    return script


@pytest.mark.parametrize("kind", ["scram", "plain"])
def test_two_databases_know_the_same_name_by_different_secrets(
        start_pooler, fake_server, kind):
    """Each pool logs in with what its own database has told, however the logins alternate."""
    verifiers, servers, answers, databases = [], {}, {}, {}
    for name, password in (("one", "first-pw"), ("two", "second-pw")):
        servers[name] = fake_server(scram_server(password, verifiers))
        answers[name] = Answers({"bob": verifiers[-1] if kind == "scram" else password})
        auth = fake_server(answers[name])
        databases[name] = "host=127.0.0.1 port=%d auth_dbname=auth_%s" % (servers[name].port, name)
        databases["auth_" + name] = "host=127.0.0.1 port=%d" % auth.port
    pooler = start_pooler(auth_type="scram-sha-256", userlist={}, auth_user=ASKER,
                          databases=databases, pool_mode="transaction")
    assert attempt(pooler, "bob", "second-pw", "one") == FAILED["scram-sha-256"]
    clients = {}
    for name, password in (("one", "first-pw"), ("two", "second-pw")):
        clients[name] = pooler.client(name, "bob", password)
    for _ in range(2):
        for name, password in (("one", "first-pw"), ("two", "second-pw")):
            assert clients[name].value("SELECT 1") == password
            pooler.admin("RECONNECT " + name)
            wait_for(lambda: not pooler.show("SERVERS", database=name))
    assert attempt(pooler, "bob", "first-pw", "two") == FAILED["scram-sha-256"]


def test_secret_does_not_follow_a_changed_forced_user(start_pooler, fake_server):
    verifiers = []
    server = fake_server(scram_server("bob-pw", verifiers))
    answers = Answers({"bob": "bob-pw", "alice": "bob-pw"})
    auth = fake_server(answers)
    entry = "host=127.0.0.1 port=%d user=" % server.port
    pooler = start_pooler(
        auth_type="plain", userlist={}, auth_user=ASKER, auth_dbname="auth",
        databases={"p0": entry + "bob", "auth": "host=127.0.0.1 port=%d" % auth.port},
        pool_mode="transaction")
    client = pooler.client("p0", "bob", "bob-pw")
    assert client.value("SELECT 1") == "bob-pw"
    pooler.databases["p0"] = entry + "alice"
    pooler.reload()
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("server login failed: wrong password type")


# Kept answers

def test_every_login_asks(scripted):
    pooler, answers = scripted("plain")
    for _ in range(3):
        assert attempt(pooler, "bob", "bob-pw") is None
    answers.secrets["bob"] = "new-pw"
    assert attempt(pooler, "bob", "bob-pw") == FAILED["plain"]
    assert attempt(pooler, "bob", "new-pw") is None
    assert len(answers.asked) == 5


@pytest.mark.parametrize("auth_type", METHODS)
def test_kept_answer(scripted, auth_type):
    """No query, until somebody is refused on its account; then the next login asks again."""
    pooler, answers = scripted(auth_type, auth_query_cache_ttl="60")
    for _ in range(3):
        assert attempt(pooler, "bob", "bob-pw") is None
    assert answers.asked == ["bob"]
    answers.secrets["bob"] = "new-pw"
    assert attempt(pooler, "bob", "new-pw") == FAILED[auth_type]
    for _ in range(2):
        assert attempt(pooler, "bob", "new-pw") is None
    assert attempt(pooler, "bob", "bob-pw") == FAILED[auth_type]
    assert answers.asked == ["bob", "bob"]


def test_kept_answers_have_a_name_of_their_own(scripted):
    pooler, answers = scripted("plain", auth_query_cache_ttl="60")
    answers.odd["robert"] = found(("bob", "robert-pw"))
    assert attempt(pooler, "robert", "robert-pw") is None
    assert attempt(pooler, "bob", "robert-pw") == FAILED["plain"]
    assert attempt(pooler, "bob", "bob-pw") is None
    assert attempt(pooler, "robert", "robert-pw") is None
    assert attempt(pooler, "bob", "bob-pw", "p1") is None
    assert answers.asked == ["robert", "bob", "bob"]


def test_nobody_is_kept_as_unknown(scripted):
    pooler, answers = scripted("plain", auth_query_cache_ttl="60")
    assert refused_without_a_question(pooler, "carol") == "no such user"
    answers.secrets["carol"] = "carol-pw"
    assert attempt(pooler, "carol", "carol-pw") is None


def test_kept_answer_that_is_too_old(scripted):
    pooler, answers = scripted("plain", auth_query_cache_ttl="0.2")
    assert attempt(pooler, "bob", "bob-pw") is None
    time.sleep(0.3)
    assert attempt(pooler, "bob", "bob-pw") is None
    assert answers.asked == ["bob", "bob"]


@pytest.mark.parametrize("change", ["RELOAD", "SET auth_query = 'SELECT $1'",
                                    "SET auth_query_cache_ttl = 50"])
def test_kept_answers_are_dropped(scripted, change):
    pooler, answers = scripted("plain", auth_query_cache_ttl="60")
    assert attempt(pooler, "bob", "bob-pw") is None
    answers.secrets["bob"] = "new-pw"
    pooler.admin(change)
    assert attempt(pooler, "bob", "new-pw") is None
    assert len(answers.asked) == 2


def hang_up(pooler, answers):
    """The scripted server closes its connections, and the pooler knows it."""
    for side in answers.server.sides:
        with contextlib.suppress(OSError):
            side.sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: not pooler.show("SERVERS", database="auth"))


def test_old_answers_while_no_server_can_be_reached(scripted):
    """... and not any longer: the server's return is noticed although nobody waits for it."""
    pooler, answers = scripted("plain", auth_query_cache_ttl="0.1")
    assert attempt(pooler, "bob", "bob-pw") is None
    time.sleep(0.2)
    answers.server.stop_listening()
    hang_up(pooler, answers)
    for _ in range(3):  # waits for the first failure, is told at once, and so on
        assert attempt(pooler, "bob", "bob-pw") is None
    assert attempt(pooler, "bob", "wrong") == FAILED["plain"]
    assert refused_without_a_question(pooler, "alice").startswith("server login has been failing")
    answers.secrets["bob"] = "new-pw"
    answers.server.listen(answers.server.port)
    wait_for(lambda: attempt(pooler, "bob", "new-pw") is None, "the new secret")
    assert attempt(pooler, "bob", "bob-pw") == FAILED["plain"]


def test_old_answers_while_the_server_starts(scripted):
    pooler, answers = scripted("plain", auth_query_cache_ttl="0.1")
    assert attempt(pooler, "bob", "bob-pw") is None
    time.sleep(0.2)

    def not_yet(side):
        side.read_startup()
        side.send_error("the database system is starting up", sqlstate="57P03")
    answers.server.script = not_yet
    hang_up(pooler, answers)
    assert attempt(pooler, "bob", "bob-pw") is None
    answers.server.script = answers
    assert attempt(pooler, "alice", "alice-pw") is None


def test_old_answer_when_the_server_dies_in_mid_query(scripted):
    pooler, answers = scripted("plain", auth_query_cache_ttl="0.1")
    assert attempt(pooler, "bob", "bob-pw") is None
    time.sleep(0.2)
    with held(answers):
        client = begin(pooler)
        wait_asked(answers, 2)
        answers.server.sides[-1].reset()
        client.authenticate("bob-pw")
        client.welcome()


def test_busy_servers_are_no_reason_for_old_answers(scripted):
    """The pool has a server: that another cannot be opened lets nobody in with an old secret."""
    pooler, answers = scripted("plain", auth_query_cache_ttl="0.1")
    for name in ("alice", "bob"):
        assert attempt(pooler, name, name + "-pw") is None
    time.sleep(0.2)
    with held(answers):
        busy = begin(pooler, "alice")
        wait_asked(answers, 3)
        answers.server.stop_listening()
        client = begin(pooler)
        pooler.wait_log("connect failed")
        answers.secrets["bob"] = "new-pw"
        client.expect_silence()
    busy.authenticate("alice-pw")
    client.authenticate("new-pw")
    client.welcome()
    answers.server.listen(answers.server.port)


# What is shown

def test_what_is_shown_while_it_runs(scripted):
    pooler, answers = scripted("plain", default_pool_size="1")
    with held(answers):
        begin(pooler)
        begin(pooler, "alice")
        wait_asked(answers, 1)
        pooler.wait_pool("auth", ASKER, cl_waiting=1, cl_active=0, sv_active=1)
        (server,) = pooler.show("SERVERS", database="auth")
        assert (server["user"], server["state"], server["link"]) == (ASKER, "active", "")
        assert pooler.show("USERS", name=ASKER)[0]["current_connections"] == 1
        assert pooler.show("DATABASES", name="auth")[0]["current_connections"] == 1
        assert pooler.show("DATABASES", name="p0")[0]["current_client_connections"] == 2
        assert pooler.list_items()["login_clients"] == 2
        assert pooler.show("CLIENTS", database="p0") == []
    pooler.close_clients()
    pooler.wait_pool("auth", ASKER, cl_waiting=0, sv_active=0, sv_idle=1)
    assert pooler.stats("auth")["total_sent"] > 0


def test_one_row_for_each_database_and_user(asking):
    """Exporters take them for a key. The pool for questions is beside that of clients."""
    pooler = asking("trust", userlist={ASKER: ""}, auth_query=WHERE)
    client = pooler.client("p0", ASKER)
    client.query("BEGIN")
    assert attempt(pooler, "bob", "") is None
    rows = [(row["database"], row["user"]) for row in pooler.show("POOLS")]
    assert len(rows) == len(set(rows)), rows
    row = pooler.pool("p0", ASKER)
    assert (row["cl_active"], row["sv_active"], row["sv_idle"]) == (1, 1, 1)
    assert pooler.list_items()["pools"] == len(rows)
    assert len(pooler.show("SERVERS", user=ASKER)) == 2


# The console

def test_console_users_are_asked_for_where_auth_dbname_is_set(scripted):
    """Their rights are those of the name in the answer."""
    pooler, answers = scripted("plain", admin_users="admin,root", stats_users="stats,viewer",
                               secrets={"root": "root-pw", "viewer": "viewer-pw", "bob": "bob-pw"})
    assert attempt(pooler, "root", "root-pw", "pgbouncer") is None
    assert attempt(pooler, "root", "wrong", "pgbouncer") == FAILED["plain"]
    assert refused_without_a_question(pooler, "bob", "pgbouncer") == "not allowed"
    assert refused_without_a_question(pooler, "mallory", "pgbouncer") == "no such user"
    assert answers.asked == ["root", "root", "bob", "mallory"]
    answers.odd["root"] = found(("bob", "bob-pw"))
    assert refused_without_a_question(pooler, "root", "pgbouncer") == "not allowed"
    answers.odd["root"] = found(("viewer", "viewer-pw"))
    client = pooler.client("pgbouncer", "root", "viewer-pw")
    assert client.query("SHOW VERSION").rows
    with pytest.raises(wire.ServerError, match="admin access needed"):
        client.query("RELOAD")


def test_console_is_no_place_to_ask(asking):
    pooler = asking("plain")
    assert refused_without_a_question(pooler, "mallory", "pgbouncer") == CONFIG_ERROR
    assert pooler.admin("SHOW VERSION")  # by name and password
    assert attempt(pooler, "stats", "stats-pw", "pgbouncer") is None


def test_own_user_on_the_unix_socket_needs_no_query(scripted):
    pooler, answers = scripted("plain")
    done = subprocess.run(
        ["psql", "-X", "-w", "-h", pooler.socket_dir, "-p", str(pooler.port), "-U", "pgbouncer",
         "-c", "RELOAD", "pgbouncer"], capture_output=True, text=True, cwd="/", **unprivileged())
    assert (done.returncode, done.stdout) == (0, "RELOAD\n"), done.stderr
    assert answers.asked == []


# Entries made from "*"

def test_databases_that_were_only_tried_leave_nothing(asking):
    """Everybody may think of names; those that lead nowhere are forgotten with the client."""
    pooler = asking("plain", auth_query=WHERE, databases={"*": ""})
    for number in range(5):
        name = "nowhere%d" % number
        assert "does not exist" in attempt(pooler, "bob", "x", name, sqlstate="3D000")
    assert [row["name"] for row in pooler.show("DATABASES")] == ["pgbouncer"]
    assert attempt(pooler, "bob", "p0/asker", "p0") is None
    assert [row["name"] for row in pooler.show("DATABASES")] == ["p0", "pgbouncer"]


def test_idle_time_of_an_entry_in_use(start_pooler, fake_server):
    """An entry for which a question waits is in use."""
    answers = Answers({"bob": "bob-pw"})
    server = fake_server(answers)
    server.stop_listening()
    pooler = start_pooler(
        auth_type="plain", userlist={}, auth_user=ASKER, auth_dbname="auth",
        autodb_idle_timeout="0.2", server_login_retry="0.1", auth_query_cache_ttl="0.1",
        databases={"p0": "host=127.0.0.1 port=%d" % server.port,
                   "*": "host=127.0.0.1 port=%d" % server.port})
    client = begin(pooler)
    time.sleep(0.5)
    client.expect_silence()
    server.listen(server.port)
    client.authenticate("bob-pw")
    client.welcome()


# All at once

def test_many_users_at_once(asking, roles):
    """Each is checked against his own secret."""
    users = {"user%d" % number: "secret of %d" % number for number in range(40)}
    for name, secret in users.items():
        roles(name, secret)
    pooler = asking("scram-sha-256", auth_query=FROM_TABLE, databases={"p0": "user=bob"},
                    default_pool_size="3", max_client_conn="200", scram_iterations="10")
    clients = [begin(pooler, name) for name in list(users) * 2]
    names = list(users)
    for place, client in enumerate(clients):
        wrong = place >= len(names)
        try:
            client.authenticate(users[names[(place + wrong) % len(names)]])
            assert not wrong
        except wire.ServerError as failure:
            assert wrong and failure.message == FAILED["scram-sha-256"]
    assert pooler.servers("p0", ASKER) <= 3


def test_storm_of_logins_and_reloads(scripted):
    """Users come and go in auth_file and in the server's answers, while everybody logs in."""
    pooler, answers = scripted("plain", auth_query_cache_ttl="60", databases={"p0": "user=bob"})
    halt = threading.Event()
    outcomes = []

    def log_in(name):
        while not halt.is_set():
            client = wire.Client(pooler.host, pooler.port)
            try:
                client.login(name, "p0", name + "-pw")
                outcomes.append(client.value("SELECT 1"))
            except wire.ServerError as failure:
                outcomes.append(failure.message)
            client.close()
    threads = [threading.Thread(target=log_in, args=(name,)) for name in ("bob", "alice") * 2]
    for thread in threads:
        thread.start()
    try:
        for turn in range(20):
            pooler.userlist = {"bob": "bob-pw"} if turn % 2 else {"alice": "alice-pw"}
            pooler.reload()
    finally:
        halt.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"1"}, set(outcomes)
