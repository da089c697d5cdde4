"""What one client leaves behind must not reach the next one that gets the same server."""

import random
import signal
import threading
import time
import uuid

import pytest

from support import wire
from support.fake_server import (answer, command_complete, error_body, parameter_status, ready,
                                 row_description)
from support.process import SLACK, wait_for
from support.truth import check_clean, check_counters, unharmed

BACKEND = "SELECT pg_backend_pid()"
TRACKED = ("DateStyle", "TimeZone", "client_encoding", "application_name", "IntervalStyle",
           "standard_conforming_strings")


def shown(client):
    return {name: client.value("SHOW " + name) for name in TRACKED}


@pytest.fixture
def session(start_pooler):
    """Session mode, one server, the default reset query."""
    return start_pooler(default_pool_size="1", server_lifetime="3600")


@pytest.fixture
def single(start_pooler):
    """Transaction mode, one server."""
    return start_pooler(pool_mode="transaction", default_pool_size="1")


# LK01

CHANGES = ("SET work_mem = '7MB'", "SET TimeZone = 'Asia/Tokyo'", "SET application_name = 'mine'",
           "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
           "SELECT set_config('search_path', 'pg_catalog', false)",
           "SELECT set_config('DateStyle', 'German', false)", "SET LOCAL work_mem = '8MB'")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_settings_end_with_their_client(start_pooler, pg, mode):
    """Also those that nobody tracks, where the reset query runs."""
    pooler = start_pooler(pool_mode=mode, default_pool_size="1", server_reset_query_always="1")
    first = pooler.client()
    before, pid = shown(first), first.value(BACKEND)
    for sql in CHANGES:
        first.query(sql)
    first.terminate()
    second = pooler.client()
    assert second.value(BACKEND) == pid
    assert shown(second) == before
    assert second.value("SHOW search_path") == '"$user", public'
    assert second.value("SHOW transaction_read_only") == "off"
    check_clean(second)


def test_tracked_settings_stay_with_their_client(single):
    first, second = single.client(), single.client()
    before = shown(second)
    first.query("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET application_name = 'a'")
    assert shown(second) == before
    after = shown(first)
    assert (after["TimeZone"], after["application_name"]) == ("Asia/Tokyo", "a")
    assert after["DateStyle"].startswith("German")
    first.query("BEGIN; SET LOCAL TimeZone = 'Asia/Seoul'; COMMIT")
    assert first.value("SHOW TimeZone") == "Asia/Tokyo"
    assert shown(second) == before


def test_role_whose_settings_change(single, pg):
    """ALTER ROLE in between: who is in keeps what he has been told."""
    first = single.client()
    assert first.value("SHOW TimeZone") == "GMT"
    pg.sql("ALTER ROLE bob SET TimeZone = 'Asia/Tokyo'")
    try:
        single.admin("RECONNECT")
        second = single.client()
        assert first.value("SHOW TimeZone") == first.parameters["TimeZone"] == "GMT"
        assert second.value("SHOW TimeZone") == second.parameters["TimeZone"]
    finally:
        pg.sql("ALTER ROLE bob RESET TimeZone")


# LK02

MIXES = (
    "BEGIN; SET TimeZone = 'Asia/Tokyo'; ROLLBACK",
    "SET TimeZone = 'Asia/Tokyo'; BEGIN; RESET TimeZone; ROLLBACK",
    "BEGIN; SET TimeZone = 'Asia/Seoul'; COMMIT",
    "BEGIN; SAVEPOINT a; SET TimeZone = 'Asia/Tokyo'; ROLLBACK TO a; COMMIT",
    "BEGIN; SET TimeZone = 'Asia/Tokyo'; SAVEPOINT a; SET TimeZone = 'Asia/Seoul'; ROLLBACK TO a;"
    " SET LOCAL DateStyle = 'SQL'; COMMIT",
    "BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; COMMIT",
    "RESET ALL", "DISCARD ALL", "SET TimeZone TO DEFAULT", "SET application_name TO 'x''y'",
    "DO $$ BEGIN PERFORM set_config('TimeZone', 'Asia/Tokyo', false); RAISE 'no'; END $$",
)


def test_values_follow_the_server_not_the_text(single):
    """After each mix: what was reported is what is shown, with the other client in between."""
    first, second = single.client(TimeZone="Europe/Rome"), single.client(TimeZone="Africa/Cairo")
    for sql in MIXES:
        first.send_raw(wire.query(sql))
        first.result()
        assert second.value("SHOW TimeZone") == second.parameters["TimeZone"] == "Africa/Cairo"
        got = shown(first)
        assert got == {name: first.parameters[name] for name in TRACKED}, sql


# LK03

@pytest.mark.parametrize("how", ["terminate", "close", "reset"])
def test_role_ends_with_its_client(start_pooler, pg, how):
    pg.sql("GRANT alice TO bob")
    superuser = pg.superuser
    try:
        pooler = start_pooler(default_pool_size="1", userlist={
            "bob": "x", "alice": "x", superuser: "x"})
        for user, sql in (("bob", "SET ROLE alice"), (superuser, "SET SESSION AUTHORIZATION alice")):
            first = pooler.client(user=user)
            pid = first.value(BACKEND)
            first.query(sql)
            assert first.value("SELECT current_user") == "alice"
            getattr(first, how)()
            second = pooler.client(user=user)
            assert second.query("SELECT current_user, session_user").rows == [[user, user]]
            assert second.value(BACKEND) == pid
            check_clean(second)
    finally:
        pg.sql("REVOKE alice FROM bob")


# LK04

@pytest.mark.parametrize("state", ["idle", "query"])
def test_advisory_lock_ends_with_its_client(session, pg, state):
    first = session.client()
    first.query("SELECT pg_advisory_lock(4711)")
    if state == "query":
        first.send_raw(wire.query("SELECT pg_sleep(30)"))
        wait_for(lambda: pg.backends("state = 'active' AND query LIKE '%sleep%'"), "it runs")
    first.reset()
    if state == "query":
        # PostgreSQL notices that its client has gone when it writes: this is no test of that.
        wait_for(lambda: session.servers() == 0, "its server is closed")
        pg.terminate("query LIKE '%pg_sleep(30)%'")
        wait_for(lambda: pg.backends("query LIKE '%pg_sleep(30)%'") == [], "its backend has ended")
    second = session.client()
    assert second.value("SELECT pg_try_advisory_lock(4711)") == "t"


# LK05

def test_nothing_of_a_session_is_left(session):
    first = session.client()
    pid = first.value(BACKEND)
    first.query("CREATE TEMP SEQUENCE mine; SELECT nextval('mine')")
    first.query("CREATE TEMP TABLE kept (n int); LISTEN news; PREPARE old AS SELECT 1")
    first.query("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT")
    first.send_raw(wire.parse("SELECT 2", "named") + wire.sync())
    first.result().check()
    first.query("SELECT pg_advisory_lock(1)")
    first.close()
    second = session.client()
    assert second.value(BACKEND) == pid
    check_clean(second)
    with pytest.raises(wire.ServerError) as caught:
        second.query("SELECT lastval()")
    assert caught.value.sqlstate == "55000"
    sender = session.client("p1")
    sender.query("NOTIFY news, 'not for you'")
    assert second.query("SELECT 1").types == "TDCZ"
    second.expect_silence()


# LK06

def leave_idle_timeout(pooler, client):
    client.expect_error("idle transaction timeout")


def leave_query_timeout(pooler, client):
    client.send_raw(wire.query("SELECT pg_sleep(1.5)"))
    client.expect_error("query timeout")


def leave_killed(pooler, client):
    (row,) = [r for r in pooler.show("CLIENTS", database="p0") if r["link"]]
    pooler.admin("KILL_CLIENT %d" % row["id"])
    client.expect_error("admin forced disconnect")


def leave_closed(pooler, client):
    client.close()


def leave_reset(pooler, client):
    client.reset()


def leave_terminated(pooler, client):
    client.terminate()


def leave_removed(pooler, client):
    entry = pooler.databases.pop("p0")
    pooler.reload()
    client.expect_error("database removed")
    pooler.databases["p0"] = entry
    pooler.reload()


@pytest.mark.parametrize("leave", [leave_idle_timeout, leave_query_timeout, leave_killed,
                                   leave_closed, leave_reset, leave_terminated, leave_removed])
def test_open_transaction_is_nobody_elses(start_pooler, pg, leave):
    pg.sql("DROP TABLE IF EXISTS half; CREATE TABLE half (n int); GRANT ALL ON half TO public")
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          idle_transaction_timeout="0.6" if leave is leave_idle_timeout else "0",
                          query_timeout="0.6" if leave is leave_query_timeout else "0")
    client = pooler.client()
    client.query("BEGIN; INSERT INTO half VALUES (1)")
    leave(pooler, client)
    second = pooler.client()
    check_clean(second)
    assert second.value("SELECT count(*) FROM half") == "0"
    second.query("INSERT INTO half VALUES (2)")
    wait_for(lambda: not pg.backends("state LIKE 'idle in%'"), "it was rolled back", timeout=10)
    assert pg.sql("SELECT n FROM half") == [(2,)]
    pooler.wait_pool(cl_active=1, cl_waiting=0, sv_active=0, sv_idle=1)
    check_counters(pooler, pg)


# LK07

HALVES = {
    "unread rows": wire.query("SELECT 'A', generate_series(1, 300000)"),
    "outstanding pipeline": wire.extended("SELECT 'A'") * 50 + wire.flush(),
    "no answer yet": wire.query("SELECT 'A', pg_sleep(0.2)"),
    "half a query": wire.query("SELECT 'A'")[:-2],
    "half a header": wire.query("SELECT 'A'") + b"Q\0\0",
    "query and half of one": wire.query("SELECT 'A'") + wire.query("SELECT 'A'")[:-4],
    "COPY": wire.query("COPY (SELECT 'A', generate_series(1, 300000)) TO STDOUT"),
    "half a parse": wire.parse("SELECT 'A'", "half")[:-3],
    "parse without sync": wire.parse("SELECT 'A'", ""),
}


@pytest.mark.parametrize("how", ["close", "reset"])
def test_bytes_of_a_client_that_left(single, pg, how):
    """At each time between the first byte and the last answer."""
    with unharmed(single, memory_kib=2048):
        for what, data in HALVES.items():
            for pause in (0, 0.005, 0.05):
                first = single.client()
                first.send_raw(data)
                time.sleep(pause)
                getattr(first, how)()
                second = single.client()
                result = second.query("SELECT 'B'")
                assert (result.types, result.value) == ("TDCZ", "B"), what
                second.expect_silence(0.02)
                check_clean(second)
                second.terminate()
        wait_for(lambda: len(single.show("SERVERS", database="p0")) == 1, "one server")
        single.admin("RECONNECT p0")


def left(pooler, client, data):
    """The client sends this and is gone, and the pooler hears of both at once."""
    pooler.signal(signal.SIGSTOP)
    client.send_raw(data)
    client.reset()
    time.sleep(0.02)
    pooler.signal(signal.SIGCONT)


@pytest.mark.parametrize("busy", [False, True])
def test_reset_that_comes_with_the_bytes(single, pg, busy):
    """Also of a client that then waits: its place and its server are free again."""
    with single.client() as other:
        other.query("SELECT 1")
    for what, data in HALVES.items():
        holder, client = single.client(), single.client()
        if busy:
            holder.query("BEGIN")
        left(single, client, data)
        if busy:
            time.sleep(0.05)
            holder.query("COMMIT")
        assert holder.value("SELECT 'B'") == "B", what
        holder.terminate()
        single.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_reset_that_comes_with_copy_data(single, pg):
    pg.sql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int); GRANT ALL ON copied TO public")
    client, other = single.client(), single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN"))
    client.expect("G")
    left(single, client, wire.copy_data(b"1\n"))
    assert other.value("SELECT count(*) FROM copied") == "0"
    single.wait_pool(cl_active=1, sv_active=0)


def test_waiting_client_that_is_reset(single):
    """It leaves the queue at once, and not only when its turn has come."""
    holder, waiting = single.client(), single.client()
    holder.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    single.wait_pool(cl_waiting=1)
    waiting.reset()
    single.wait_pool(cl_waiting=0, cl_active=1)
    holder.query("COMMIT")
    assert single.stats()["total_query_count"] == 2


# LK08

def resets(act):
    """A server that answers queries with its number, and the reset query by `act(side)`."""
    def reply(side, sql):
        return act(side) if sql == "RESET IT" else answer(side.number)

    def script(side):
        if side.log_in():
            side.serve(reply)
    return script


def die(side):
    side.close()


BAD_RESETS = {
    "error": lambda side: wire.message("E", error_body("cannot", "ERROR", "42601")) + ready(),
    "fatal": lambda side: wire.message("E", error_body("cannot", "FATAL", "57P01")),
    "open transaction": lambda side: command_complete("BEGIN") + ready("T"),
    "failed transaction": lambda side: command_complete("BEGIN") + ready("E"),
    "silence": lambda side: None,
    "death": lambda side: side.sock.shutdown(2),
    "COPY": lambda side: wire.message("G", b"\0\0\0"),
    "two ends": lambda side: command_complete("RESET") + ready() + ready(),
    "rubbish": lambda side: b"\xff\xff\xff\xff\xff",
    "a byte": lambda side: b"Z",
}


def test_resets_that_fail(start_pooler, pg, fake_server):
    """Such a server is closed, at server_connect_timeout at the latest; it is never used again."""
    for what, act in BAD_RESETS.items():
        server = fake_server(resets(act))
        pooler = start_pooler(server=server, databases={"p0": ""}, default_pool_size="1",
                              server_reset_query="RESET IT", server_connect_timeout="0.5",
                              server_login_retry="0.1")
        first = pooler.client()
        assert first.value("SELECT 1") == "1"
        first.terminate()
        second = pooler.client()
        result = second.query("SELECT 2")
        assert (result.types, result.value) == ("TDCZ", "2"), what
        wait_for(lambda: hasattr(server.sides[0], "ended"), "the first one is closed")
        second.close()
        pooler.stop()
        pooler.process = None


@pytest.mark.parametrize("reset,expected", [
    (lambda side: answer("x")[:-6] + row_description("y") + command_complete() + ready(), "1"),
    (lambda side: wire.message("I") + ready(), "1"),
    (lambda side: wire.message("N", error_body("by the way", "NOTICE", "00000"))
     + parameter_status("TimeZone", "GMT") + command_complete("RESET") + ready(), "1")],
    ids=["two results", "empty", "notices"])
def test_resets_that_work(start_pooler, pg, fake_server, reset, expected):
    server = fake_server(resets(reset))
    pooler = start_pooler(server=server, databases={"p0": ""}, default_pool_size="1",
                          server_reset_query="RESET IT", server_connect_timeout="0.5")
    for _ in range(3):
        client = pooler.client()
        assert client.value("SELECT 1") == expected
        client.terminate()


def test_real_reset_that_fails(start_pooler, pg):
    pooler = start_pooler(default_pool_size="1", server_reset_query="SELECT no_such_column")
    first = pooler.client()
    pid = first.value(BACKEND)
    first.query("SET work_mem = '7MB'")
    first.terminate()
    second = pooler.client()
    assert second.value(BACKEND) != pid
    check_clean(second)


# LK09

LATE = {
    "notice": wire.message("N", error_body("late", "NOTICE", "00000")),
    "error": wire.message("E", error_body("late", "ERROR", "XX000")),
    "fatal": wire.message("E", error_body("late", "FATAL", "57P01")),
    "ready": ready(),
    "answer": answer("late"),
    "rubbish": b"\xde\xad\xbe\xef\xde\xad",
    "half": b"D\0\0\1\0\0",
}


@pytest.mark.parametrize("pause", [0, 0.001, 0.02, 0.05])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_late_bytes_reach_nobody_else(start_pooler, pg, fake_server, mode, pause):
    """Bytes behind the last ReadyForQuery, with it or a little later."""
    for what, data in LATE.items():
        def script(side):
            if side.log_in():
                got = side.read()
                assert got.type == "Q"
                if side.number == 1:
                    if pause == 0:
                        side.send_raw(answer("own") + data)
                    else:
                        side.send_raw(answer("own"))
                        time.sleep(pause)
                        side.send_raw(data)
                else:
                    side.send_raw(answer(side.number))
                side.serve(lambda side, sql: answer(side.number))
        server = fake_server(script)
        pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode=mode,
                              default_pool_size="1", server_reset_query="")
        first = pooler.client()
        assert first.query("SELECT 1").value == "own", what
        if mode == "session":
            first.terminate()
        # The next client comes when the bytes have.
        time.sleep(pause + 0.1)
        second = pooler.client()
        result = second.query("SELECT 2")
        assert result.types == "TDCZ" and result.value in ("1", "2"), what
        if what not in ("notice",):
            assert result.value == "2", what
        second.expect_silence(0.02)
        pooler.close_clients()
        pooler.stop()
        pooler.process = None


def test_unasked_error_costs_the_server(start_pooler, fake_server):
    """An error that answers nothing: the stream is broken, and the slot must not stay taken."""
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: answer(side.number)
                       + (wire.message("E", error_body("why", "ERROR")) if side.number == 1 else b""))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, pool_mode="transaction",
                          default_pool_size="1")
    first, second = pooler.client(), pooler.client()
    assert first.query("SELECT 1").value == "1"
    assert second.query("SELECT 2").value == "2"
    pooler.wait_pool(sv_active=0, sv_idle=1)


# LK10

class Hostile(threading.Thread):
    """A client that asks for its own words and does to itself whatever may happen to a client."""

    def __init__(self, pooler, seed, until):
        super().__init__(daemon=True)
        self.pooler, self.until = pooler, until
        self.draw = random.Random(seed)
        self.asked, self.mismatches, self.failure = 0, [], None

    def run(self):
        try:
            while time.monotonic() < self.until:
                with wire.Client(self.pooler.host, self.pooler.port) as client:
                    client.login("bob", "p0")
                    while time.monotonic() < self.until and self.act(client):
                        pass
        except (OSError, EOFError, wire.ServerError) as failure:
            self.failure = failure

    def compare(self, result, word):
        self.asked += 1
        if result.errors and result.errors[0]["C"] == "57014":
            return
        if result.rows != [[word]]:
            self.mismatches.append((word, result.rows, result.errors))

    def act(self, client):
        """False if the client is gone."""
        word = str(uuid.UUID(int=self.draw.getrandbits(128)))
        sql = "SELECT '%s'" % word
        what = self.draw.randrange(12)
        if what < 5:
            client.send_raw(wire.query(sql))
            self.compare(client.result(), word)
        elif what == 5:
            client.send_raw(wire.extended("SELECT $1::text", (word,)) + wire.sync())
            self.compare(client.result(), word)
        elif what == 6:
            words = [word + "-%d" % n for n in range(5)]
            client.send_raw(b"".join(wire.query("SELECT '%s'" % w) for w in words))
            for own in words:
                self.compare(client.result(), own)
        elif what == 7:
            client.send_raw(wire.query("SELECT '%s'::int" % word))
            result = client.result()
            if word not in result.errors[0]["M"]:
                self.mismatches.append((word, result.errors))
        elif what == 8:
            client.send_raw(wire.query("SELECT '%s' FROM pg_sleep(0.01)" % word))
            client.cancel(wait=self.draw.random() < 0.5)
            self.compare(client.result(), word)
        elif what == 9:
            client.send_raw(wire.query(sql)[:self.draw.randrange(1, 20)])
            client.reset()
            return False
        elif what == 10:
            client.send_raw(wire.query(sql) * 3)
            client.close()
            return False
        else:
            client.send_raw(wire.query("BEGIN") + wire.query(sql))
            client.result()
            self.compare(client.result(), word)
            if self.draw.random() < 0.3:
                client.reset()
                return False
            client.send_raw(wire.query("COMMIT"))
            client.result()
        return True


@pytest.mark.limit(120)
def test_everybody_gets_his_own_answers(start_pooler, pg):
    """Kills, cancels, errors, pipelines, half messages: nobody sees what another one asked for."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="4", max_client_conn="1000",
                          log_connections="0", log_disconnections="0")
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler, memory_kib=4096, log_bytes=4 << 20):
        until = time.monotonic() + 5
        threads = [Hostile(pooler, seed, until) for seed in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30 * SLACK)
        assert [thread.failure for thread in threads if thread.failure] == []
        assert [m for thread in threads for m in thread.mismatches] == []
        assert sum(thread.asked for thread in threads) > 200
        pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0, cl_active_cancel_req=0,
                         cl_waiting_cancel_req=0, sv_being_canceled=0, sv_active_cancel=0)
        check_counters(pooler, pg)
        pooler.admin("RECONNECT p0")
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its servers are gone")


# LK11

@pytest.mark.parametrize("name,value,canonical", [
    ("TimeZone", "europe/ROME", "Europe/Rome"), ("TimeZone", "+3", "<+03>-03"),
    ("client_encoding", "utf-8", "UTF8"), ("client_encoding", "SQL_ASCII", "SQL_ASCII"),
    ("DateStyle", "iso, dmy", "ISO, DMY"), ("application_name", "x" * 60, "x" * 60),
    ("application_name", "\\'\";--", "\\'\";--")])
def test_odd_spellings(single, name, value, canonical):
    """Applied before the first query of each link, and no SET for ever afterwards."""
    first, second = single.client(**{name: value}), single.client()
    for _ in range(3):
        assert first.value("SHOW " + name) == canonical
        assert second.value("SHOW " + name) != canonical or canonical == "UTF8"


def test_value_that_the_server_rejects(single, pg):
    """That client fails; no other one, and no loop of new servers."""
    other = single.client()
    other.query("SELECT 1")
    for _ in range(3):
        client = single.client(TimeZone="Nowhere/Land")
        client.send_raw(wire.query("SELECT 1"))
        client.expect_error("invalid server parameter")
        assert other.value("SELECT 2") == "2"
    assert single.log().count("new connection to server") == 4


# LK12

def test_forced_user(start_pooler):
    """Whoever asks is served as that user; what he does to the role ends with him."""
    pooler = start_pooler(default_pool_size="1", databases={
        "p0": "user=carol connect_query='SET work_mem = ''4MB'''"})
    for user in ("bob", "alice"):
        client = pooler.client(user=user)
        assert client.query("SELECT current_user, session_user").rows == [["carol", "carol"]]
        client.query("SET work_mem = '9MB'")
        client.terminate()
        check_clean(pooler.client(user=user))
        pooler.close_clients()


def test_a_value_is_quoted_whatever_the_encoding_of_the_server(single):
    """The SQL is read as SJIS, where the last byte of the first letter takes a backslash along."""
    single.client(client_encoding="SJIS").value("SELECT 1")
    client = single.client(client_encoding="UTF8",
                           application_name="\u00c1\\'; SET work_mem = 7777; --")
    assert client.value("SHOW work_mem") != "7777kB"
    assert client.value("SHOW application_name").endswith("\\'; SET work_mem = 7777; --")


# A COPY with more behind it than belongs there

COPY = "COPY copied FROM STDIN"
BAD_ROW = wire.copy_data(b"not a number\ta\n")
SLOW = "SELECT 'not yours' FROM pg_sleep(0.3)"


@pytest.mark.parametrize("behind", [wire.query(SLOW), wire.sync() + wire.query(SLOW),
                                    wire.query("SELECT 1") + wire.query(SLOW)])
@pytest.mark.parametrize("extended", [False, True])
def test_what_is_sent_into_a_copy_is_answered_to_nobody_else(single, pg, extended, behind):
    """A COPY that fails has read what was sent into it, or has not: then the server answers it."""
    pg.sql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int, t text);"
           " GRANT ALL ON copied TO public")
    first, second = single.client(), single.client()
    begin = wire.parse(COPY) + wire.bind() + wire.execute() if extended else wire.query(COPY)
    first.send_raw(begin + BAD_ROW + behind + (wire.sync() if extended else b""))
    while first.read().type != "Z":
        pass
    assert second.value("SELECT 'mine'") == "mine"
    check_clean(second)
