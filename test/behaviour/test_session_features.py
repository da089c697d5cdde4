"""warn_session_features: what outlives the transaction is told, or refused."""

import threading

import pytest

from support import wire
from support.fake_server import (PARAMETERS, answer, command_complete, data_row, parameter_status,
                                 ready, row_description)
from support.process import SLACK, wait_for

pytestmark = pytest.mark.pgweir_only("a setting of its own")

BACKEND = "SELECT pg_backend_pid()"
WHAT = {"SET": "SET changes", "LISTEN": "LISTEN is bound", "PREPARE": "PREPARE leaves",
        "table": "a temporary table", "lock": "an advisory lock"}
USES = [
    ("SET", ["SET work_mem = '7MB'"]),
    ("SET", ["SET application_name = 'mine'; SET work_mem = '7MB'"]),
    ("SET", ["SET ROLE NONE"]),
    ("LISTEN", ["LISTEN news"]),
    ("LISTEN", ["BEGIN", "LISTEN news"]),
    ("PREPARE", ["PREPARE s AS SELECT 1"]),
    ("table", ["CREATE TEMP TABLE kept (n int)"]),
    ("table", ["CREATE TEMP TABLE kept AS SELECT 1 AS n"]),
    ("table", ["CREATE TEMP TABLE kept AS SELECT 1 AS n WITH NO DATA"]),
    ("table", ["SELECT 1 AS n INTO TEMP kept"]),
    ("table", ["BEGIN", "CREATE TEMP TABLE kept (n int)", "SELECT 1", "COMMIT"]),
    ("lock", ["SELECT pg_advisory_lock(4711)"]),
    ("lock", ["SELECT 1, pg_try_advisory_lock(4711)"]),
    ("lock", ["BEGIN", "SELECT pg_advisory_lock_shared(4711)", "ROLLBACK"])]



def name_of(use):
    return "; ".join(use) if isinstance(use, list) else use


HARMLESS = ["SELECT 1", "SET application_name = 'mine'", "SET TimeZone = 'Asia/Tokyo'",
            "BEGIN; SET LOCAL work_mem = '7MB'; COMMIT", "SHOW work_mem", "RESET work_mem",
            "BEGIN; CREATE TEMP TABLE gone (n int) ON COMMIT DROP; COMMIT",
            "CREATE TABLE IF NOT EXISTS lasting (n int)", "SELECT pg_advisory_xact_lock(1)",
            "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)", "SELECT 1 WHERE false",
            "INSERT INTO lasting VALUES (1)", "UNLISTEN *"]


@pytest.fixture
def start(start_pooler):
    def begin(action, **settings):
        return start_pooler(**{"pool_mode": "transaction", "default_pool_size": "1",
                               "warn_session_features": action, **settings})
    return begin


def run(client, queries):
    """What the last one brings."""
    for sql in queries:
        result = client.query(sql)
    return result


def extended(client, sql):
    client.send_raw(wire.extended(sql) + wire.sync())
    return client.result().check()


@pytest.mark.parametrize("what,queries", USES, ids=name_of)
def test_notice(start, what, queries):
    """Once for each session, between the tag and ReadyForQuery."""
    pooler = start("notice")
    client = pooler.client()
    result = run(client, queries)
    notice, = result.notices
    assert notice["M"].startswith(WHAT[what])
    assert (notice["S"], notice["C"]) == ("WARNING", "01000") and notice["H"].startswith("Use ")
    assert result.types.replace("S", "").endswith("CNZ")
    if result.status == "T":
        client.query("COMMIT")
    client.query("DISCARD ALL")
    assert run(client, queries).notices == []
    if result.status == "T":
        client.query("COMMIT")
    client.query("DISCARD ALL")
    other, = run(pooler.client(), queries).notices
    assert other["M"] == notice["M"]


@pytest.mark.parametrize("what,queries", USES, ids=name_of)
def test_error(start, what, queries):
    """The session ends, and the server with what is on it."""
    pooler = start("error")
    client = pooler.client()
    pid = client.value(BACKEND)
    for sql in queries[:-1]:
        client.query(sql)
    client.send_raw(wire.query(queries[-1]))
    types = []
    while not types or types[-1] != "E":
        got = client.read()
        types.append(got.type)
    fields = wire.parse_fields(got.body)
    assert (fields["S"], fields["C"]) == ("FATAL", "08P01")
    assert fields["M"].endswith("in transaction pooling (warn_session_features)")
    assert "".join(types).rstrip("SE").endswith("C")
    client.expect_eof()
    other = pooler.client()
    assert other.value(BACKEND) != pid
    wait_for(lambda: other.value("SELECT pg_try_advisory_xact_lock(4711)") == "t",
             "the lock is gone with its backend")


@pytest.mark.parametrize("action", ["notice", "error"])
def test_what_leaves_nothing(start, action, pg):
    pg.sql("DROP TABLE IF EXISTS lasting")
    client = start(action).client()
    for sql in HARMLESS:
        assert [notice["M"] for notice in client.query(sql).notices
                if "already exists" not in notice["M"]] == [], sql
    for sql in ("SELECT 1", "SELECT 1 WHERE false", "SET application_name = 'yours'"):
        assert extended(client, sql).notices == [], sql


@pytest.mark.parametrize("what,queries", [
    use for use in USES if len(use[1]) == 1 and ";" not in use[1][0]], ids=name_of)
def test_extended_protocol(start, what, queries):
    notice, = extended(start("notice").client(), queries[0]).notices
    assert notice["M"].startswith(WHAT[what])


@pytest.mark.parametrize("mode,action", [("session", "error"), ("transaction", "off")])
def test_where_nothing_is_said(start, mode, action):
    client = start(action, pool_mode=mode).client()
    for _, queries in USES:
        assert run(client, queries).notices == []
        client.query("ROLLBACK")
        client.query("DISCARD ALL")


def test_reload(start):
    pooler = start("off")
    client = pooler.client()
    assert client.query("LISTEN a").notices == []
    pooler.admin("SET warn_session_features = 'notice'")
    assert len(client.query("LISTEN b").notices) == 1
    pooler.admin("SET warn_session_features = 'off'")
    assert client.query("PREPARE s AS SELECT 1").notices == []


def test_pipelines(start):
    """One warning at its ReadyForQuery; questions wait until nothing else is owed."""
    client = start("notice").client()
    client.send_raw(wire.query("LISTEN a") + wire.query("CREATE TEMP TABLE kept (n int)")
                    + wire.query("SELECT 1") + wire.extended("SELECT 2") + wire.sync())
    assert [notice["M"][:6] for notice in client.result().notices] == ["LISTEN"]
    assert client.result().types == "CZ"
    assert client.result().types == "TDCZ"
    last = client.result()
    assert last.types == "12TDCNZ" and last.notices[0]["M"].startswith(WHAT["table"])


def test_query_behind_the_question(start_pooler, fake_server):
    """What the client sends before it gets ReadyForQuery goes behind our question."""
    asked, go = threading.Event(), threading.Event()

    def script(side):
        if not side.log_in():
            return
        assert side.read().body == b"create\0"
        side.send_raw(command_complete("CREATE TABLE") + ready())
        assert b"pg_my_temp_schema" in side.read().body
        asked.set()
        go.wait(10 * SLACK)
        side.send_raw(row_description("x") + data_row("1") + command_complete() + ready())
        side.serve(lambda side, sql: answer("behind"))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          warn_session_features="notice", default_pool_size="1")
    client = pooler.client()
    client.send_raw(wire.query("create"))
    assert asked.wait(5 * SLACK)
    client.send_raw(wire.query("SELECT 2"))
    go.set()
    assert client.result().types == "CNZ"
    assert client.result().value == "behind"
    pooler.wait_pool(sv_idle=1)


@pytest.mark.parametrize("reply", [
    wire.message("E", b"SERROR\0C42501\0Mno\0\0") + ready(), command_complete("SELECT 0") + ready()],
    ids=["fails", "no rows"])
def test_question_that_is_not_affirmed(start_pooler, fake_server, reply):
    def script(side):
        if side.log_in({**PARAMETERS}):
            side.serve(lambda side, sql: reply if "pg_my_temp_schema" in sql else
                       parameter_status("TimeZone", "GMT") + command_complete("CREATE TABLE")
                       + ready())
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, pool_mode="transaction",
                          warn_session_features="error", default_pool_size="1")
    client = pooler.client()
    for _ in range(2):
        assert client.query("create").types == "SCZ"
    pooler.wait_pool(sv_idle=1)
