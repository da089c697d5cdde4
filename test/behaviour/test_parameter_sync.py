"""A client's session parameters reach the server in front of its query, at no round trip."""

import re
import threading

import pytest

from support import wire
from support.fake_server import (answer, command_complete, error_body, parameter_status, ready)
from support.process import SLACK, wait_for

pytestmark = pytest.mark.pgweir_only("PgBouncer waits for the answer to its SET")

TOKYO = {"TimeZone": "Asia/Tokyo"}


def taken(sql):
    """The answer to our own SET, or to several in one."""
    return b"".join(parameter_status(name, value) + command_complete("SET")
                    for name, value in re.findall("SET (.*?)='(.*?)';", sql)) + ready()


REFUSED = wire.message("E", error_body("no such zone", "ERROR", "22023")) + ready()


def serve_sets(side, reply=taken):
    """
    Answers queries with its number, and a SET by `reply(sql)`: not before something more has come,
    where the application_name is "hold".
    """
    held = []

    def answer_query(side, sql):
        if not sql.startswith("SET "):
            return (held.pop() if held else b"") + answer(side.number)
        held[:] = [reply(sql)] if "hold" in sql else []
        return None if held else reply(sql)
    if side.log_in():
        side.serve(answer_query)


@pytest.fixture
def start(start_pooler, fake_server):
    """start(reply=...) gives a pooler with one server, and that fake server."""
    def begin(script=None, **settings):
        server = fake_server(script or serve_sets)
        pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                              default_pool_size="1", **settings)
        return pooler, server
    return begin


def test_set_and_query_leave_together(start):
    """The server answers the SET only when it has the query."""
    pooler, server = start()
    client = pooler.client(application_name="hold")
    result = client.query("SELECT 1")
    assert (result.types, result.value) == ("TDCZ", "1")
    assert server.queries() == ["SET application_name='hold';", "SELECT 1"]


def test_the_same_for_a_client_that_has_waited(start):
    started, go = threading.Event(), threading.Event()

    def script(side):
        def answer_query(side, sql):
            if sql == "SELECT slow":
                started.set()
                go.wait(10 * SLACK)
            if sql == "SELECT late":
                return taken("SET application_name='hold';") + answer("late")
            return None if "SET" in sql else answer("slow")
        if side.log_in():
            side.serve(answer_query)
    pooler, server = start(script)
    first, second = pooler.client(), pooler.client(application_name="hold")
    first.send_raw(wire.query("SELECT slow"))
    assert started.wait(5 * SLACK)
    second.send_raw(wire.query("SELECT late"))
    pooler.wait_pool(cl_waiting=1)
    go.set()
    assert first.result().value == "slow"
    assert second.result().value == "late"


def test_a_value_waits_once(start):
    """What a server has taken goes with the query, whichever client wants it."""
    pooler, server = start()
    first, second = pooler.client(**TOKYO), pooler.client(TimeZone="GMT", application_name="hold")
    third = pooler.client(application_name="hold", **TOKYO)
    first.query("SELECT 1")
    pooler.client().query("SELECT 2")
    third.query("SELECT 3")
    second.query("SELECT 4")
    assert server.queries() == [
        "SET TimeZone='Asia/Tokyo';", "SELECT 1",
        "SET TimeZone='GMT';", "SELECT 2",
        "SET TimeZone='Asia/Tokyo';SET application_name='hold';", "SELECT 3",
        "SET TimeZone='GMT';", "SELECT 4"]


def test_nothing_follows_a_set_that_may_fail(start):
    seen = threading.Event()
    silence = []

    def script(side):
        if not side.log_in():
            return
        assert side.read().body == b"SET TimeZone='Asia/Tokyo';\0"
        silence.append(not side.has_data(0.2))
        seen.set()
        side.send_raw(REFUSED)
        side.serve(lambda side, sql: answer("never"))
    pooler, server = start(script)
    client = pooler.client(**TOKYO)
    client.send_raw(wire.query("INSERT"))
    client.expect_error("invalid server parameter")
    assert seen.is_set() and silence == [True]
    assert "INSERT" not in server.queries()


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_nothing_is_written_with_wrong_parameters(start_pooler, pg, mode):
    pg.sql("DROP TABLE IF EXISTS written; CREATE TABLE written (n int);"
           " GRANT ALL ON written TO public")
    pooler = start_pooler(pool_mode=mode, default_pool_size="1")
    assert pooler.client(**TOKYO).value("SELECT 1") == "1"
    for values in ({"TimeZone": "Nowhere/Land"}, {"client_encoding": "KLINGON"},
                   {"DateStyle": "sometimes"}):
        pooler.close_clients()
        client = pooler.client(**values)
        client.send_raw(wire.query("INSERT INTO written VALUES (1)"))
        client.expect_error("invalid server parameter")
    assert pg.value("SELECT count(*) FROM written") == 0


@pytest.mark.parametrize("parameters", [TOKYO, {"application_name": "sent together"}])
def test_a_server_that_ends_before_it_has_set_anything(start, parameters):
    """Its last word is no answer to the SET: the client hears what has happened."""
    def script(side):
        if side.log_in():
            side.read()
            side.send_error("terminating connection", sqlstate="57P01")
    pooler, _ = start(script)
    client = pooler.client(**parameters)
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("terminating connection", sqlstate="57P01", end=False)
    client.expect_error("server conn crashed?")
    assert "varcache_apply" not in pooler.log()


def test_a_value_that_is_refused_later(start):
    """The server is closed, the client told, and the value is not trusted any more."""
    good = [True]
    pooler, server = start(
        lambda side: serve_sets(side, lambda sql: taken(sql) if good[0] else REFUSED))
    assert pooler.client(**TOKYO).value("SELECT 1") == "1"
    assert pooler.client(TimeZone="GMT").value("SELECT 2") == "1"
    good[0] = False
    client = pooler.client(**TOKYO)
    client.send_raw(wire.query("SELECT 3"))
    client.expect_error("invalid server parameter")
    wait_for(lambda: hasattr(server.sides[0], "ended"), "the server is closed")
    client = pooler.client(**TOKYO)
    client.send_raw(wire.query("SELECT 4"))
    client.expect_error("invalid server parameter")
    assert "SELECT 4" not in server.queries()
    assert pooler.log().count("varcache_apply failed") == 2


def test_what_the_set_changes_is_not_told(start_pooler):
    """And the client keeps its own value, in the server's spelling."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first, second = pooler.client(TimeZone="asia/tokyo"), pooler.client(TimeZone="europe/rome")
    for _ in range(4):
        for client, zone in ((first, "Asia/Tokyo"), (second, "Europe/Rome")):
            client.send_raw(wire.query("SHOW TimeZone") + wire.query("SHOW TimeZone"))
            for _ in range(2):
                result = client.result()
                assert (result.types, result.value) == ("TDCZ", zone)


def test_pipelines_behind_a_set(start_pooler, pg):
    """Extended queries, errors, COPY, and more than one buffer hold."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first = pooler.client(application_name="first")
    other = pooler.client(application_name="other")
    pg.sql("DROP TABLE IF EXISTS piped; CREATE TABLE piped (n int); GRANT ALL ON piped TO public")
    large = "SELECT length('%s')" % ("x" * 700000)
    extended = wire.extended("SELECT 1") + wire.sync()
    for data, types in (
            (extended, ["12TDCZ"]),
            (wire.extended("SELECT no_such") + wire.sync(), ["EZ"]),
            (wire.query("SELECT 1") + extended + wire.query("BEGIN") + wire.query("COMMIT"),
             ["TDCZ", "12TDCZ", "CZ", "CZ"]),
            (wire.query(large), ["TDCZ"]),
            (wire.query("COPY piped FROM STDIN") + wire.copy_data(b"1\n") + wire.copy_done(),
             ["GCZ"])):
        assert other.value("SHOW application_name") == "other"
        first.send_raw(data)
        for expected in types:
            got = ""
            while not got.endswith("Z"):
                got += first.read().type
            assert got == expected
    assert first.value("SHOW application_name") == "first"


def test_every_cut_of_the_stream(start_pooler):
    """The first message comes in two pieces, cut anywhere: the SET goes with the first of them."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first = pooler.client(application_name="first")
    other = pooler.client(application_name="other")
    data = wire.query("SHOW application_name")
    for cut in range(1, len(data), 3):
        assert other.value("SHOW application_name") == "other"
        first.send_raw(data[:cut])
        pooler.wait_pool(sv_active=int(cut >= 5))
        first.send_raw(data[cut:])
        assert first.result().value == "first"


@pytest.mark.parametrize("leave", ["close", "reset", "terminate"])
def test_client_that_leaves_before_the_answer(start, leave):
    """What it has sent is under way: the server is nobody's any more."""
    pooler, server = start(lambda side: side.log_in() and side.serve(
        lambda side, sql: None if side.number == 1 else answer(side.number)))
    client = pooler.client(application_name="first")
    client.send_raw(wire.query("SELECT 1"))
    wait_for(lambda: server.queries() == ["SET application_name='first';", "SELECT 1"], "sent")
    getattr(client, leave)()
    wait_for(lambda: hasattr(server.sides[0], "ended"), "the server is closed")
    assert pooler.client().value("SELECT 2") == "2"


def test_query_timeout_counts_from_the_query(start):
    pooler, server = start(lambda side: side.log_in() and side.serve(lambda side, sql: None),
                           query_timeout="0.3")
    client = pooler.client(application_name="first")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("query timeout")


def test_cancel_before_the_answer(start):
    """It would hit our own SET, and the query behind it would run."""
    seen, go = threading.Event(), threading.Event()

    def script(side):
        if not side.log_in():
            return
        side.read(), side.read()
        seen.set()
        go.wait(10 * SLACK)
        side.send_raw(taken("SET application_name='first';") + answer("done"))
        side.serve(lambda side, sql: answer("next"))
    pooler, server = start(script)
    client = pooler.client(application_name="first")
    client.send_raw(wire.query("SELECT 1"))
    assert seen.wait(5 * SLACK)
    client.cancel()
    go.set()
    assert client.result().value == "done"
    assert server.cancels == []
    assert "ignoring cancel request for server that is setting vars" in pooler.log()


def test_counters(start):
    pooler, server = start()
    for _ in range(3):
        for name in ("first", "second"):
            client = pooler.client(application_name=name)
            client.query("SELECT 1")
            client.close()
    stats = pooler.stats()
    assert stats["total_query_count"] == stats["total_xact_count"] == 6
    assert stats["total_server_assignment_count"] == 6


def test_prepared_statements_behind_a_set(start_pooler):
    """Also a Parse that is saved, so that nothing but the SET is sent; resets take them along."""
    for reset in (None, "1"):
        pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                              server_reset_query_always=reset)
        first, second = pooler.client(application_name="a"), pooler.client(application_name="b")
        other = pooler.client("p1", application_name="c")
        for _ in range(2):
            for client, name in ((first, "a"), (second, "b")):
                client.send_raw(wire.parse("SHOW application_name", "s"))
                assert other.value("SHOW application_name") == "c"
                client.send_raw(wire.bind((), "s") + wire.execute() + wire.sync()
                                + wire.close("S", "s") + wire.sync())
                result = client.result()
                assert (result.types, result.value) == ("12DCZ", name)
                assert client.result().types == "3Z"


def test_stale_plan_behind_a_set(start_pooler, pg):
    """What is repeated does not count our SET."""
    pg.sql("DROP TABLE IF EXISTS changes; CREATE TABLE changes AS SELECT 1 AS a;"
           " GRANT SELECT ON changes TO public")
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first, other = pooler.client(application_name="a"), pooler.client(application_name="b")
    first.send_raw(wire.parse("SELECT * FROM changes", "s") + wire.sync())
    first.result().check()
    run = wire.bind((), "s") + wire.describe() + wire.execute() + wire.sync()
    first.send_raw(run)
    assert first.result().check().rows == [["1"]]
    pg.sql("ALTER TABLE changes ADD COLUMN b int DEFAULT 2")
    other.query("SELECT 1")
    first.send_raw(run)
    assert first.result().check().rows == [["1", "2"]]
