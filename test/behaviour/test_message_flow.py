"""
COPY in every order of failure, function calls, notices and notifications.

Each row of the table is a script of a client. It is played to PostgreSQL itself, and through the
pooler in each mode: the same messages must come back in the same order, and whoever is served next
must find a clean server.
"""

import contextlib
import socket
import struct
import threading
import time

import pytest

from support import fake_server as fake
from support import wire
from support.process import SLACK, resident_kib, wait_for
from support.truth import check_clean, is_sanitized

MODES = {"p0": "session", "p1": "transaction", "p2": "statement"}

SETUP = """
DROP TABLE IF EXISTS copied; DROP FUNCTION IF EXISTS note(int), loud(), fails(int);
CREATE TABLE copied (n int, t text); GRANT ALL ON copied TO public;
CREATE FUNCTION note(n int) RETURNS int LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''row %'', n; RETURN n; END';
CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''copies %'', NEW.n; RETURN NEW; END';
CREATE FUNCTION fails(n int) RETURNS int LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''before''; RETURN 1 / n; END';
CREATE TRIGGER loud BEFORE INSERT ON copied FOR EACH ROW WHEN (NEW.t = 'loud')
    EXECUTE FUNCTION loud();
"""

COPY = wire.query("COPY copied FROM STDIN")
OUT = wire.query("COPY (SELECT n FROM generate_series(1, 3) n) TO STDOUT")
BAD_OUT = wire.query("COPY (SELECT 1 / (5 - n) FROM generate_series(1, 9) n) TO STDOUT")
GOOD, BAD = wire.copy_data(b"1\ta\n"), wire.copy_data(b"no number\ta\n")
LOUD = wire.copy_data(b"7\tloud\n")
DONE, FAIL, SYNC = wire.copy_done(), wire.copy_fail("enough"), wire.sync()
ONE, TWO = wire.query("SELECT 1"), wire.query("SELECT 2")
BINARY = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)


def prepared(sql, values=()):
    """Parse, Bind, Execute."""
    return wire.parse(sql) + wire.bind(values) + wire.execute()


def call(name, *values):
    """A FunctionCall of a function by its name, which is looked up later; text in, text out."""
    body = struct.pack("!hhh", 1, 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            body += struct.pack("!i", len(value)) + value
    return (name, body + struct.pack("!h", 0))


COPY_IN = prepared("COPY copied FROM STDIN")

# By family. Bytes are sent; a text is a row of message types that are awaited, with others between.
SCRIPTS = {}

SCRIPTS["from the client"] = {
    "whole": [COPY, "G", GOOD * 3, DONE, "Z"],
    "in one piece": [COPY + GOOD * 3 + DONE, "Z"],
    "nothing to copy": [COPY, "G", DONE, "Z"],
    "empty data": [COPY, "G", wire.copy_data(b"") * 3, GOOD, DONE, "Z"],
    "rows cut anywhere": [COPY, "G", b"".join(wire.copy_data(b"12\tab\n3\tc\n"[n:n + 1])
                                              for n in range(10)), DONE, "Z"],
    "client fails": [COPY, "G", GOOD, FAIL, "Z"],
    "client fails at once": [COPY, "G", FAIL, "Z"],
    "client fails in one piece": [COPY + FAIL, "Z", ONE, "Z"],
    "client fails, then talks on": [COPY, "G", FAIL + GOOD + DONE + FAIL + ONE, "ZZ"],
    "end and next query in one piece": [COPY, "G", GOOD + DONE + ONE + TWO, "ZZZ"],
    "failure and next query in one piece": [COPY, "G", GOOD + FAIL + ONE, "ZZ"],
    "two ends": [COPY, "G", DONE + DONE + FAIL + ONE, "ZZ"],
    "no such table": [wire.query("COPY nowhere FROM STDIN"), "Z", GOOD + DONE + ONE, "Z"],
    "no such table, in one piece": [wire.query("COPY nowhere FROM STDIN") + GOOD + DONE + ONE,
                                    "ZZ"],
}

SCRIPTS["from the server"] = {
    "bad row, end comes late": [COPY, "G", BAD, "EZ", GOOD * 50 + DONE + ONE, "Z"],
    "bad row, failure comes late": [COPY, "G", BAD, "EZ", GOOD + FAIL + ONE, "Z"],
    "bad row, end in the same piece": [COPY, "G", GOOD + BAD + GOOD * 50 + DONE, "Z", ONE, "Z"],
    "bad row, no end at all": [COPY, "G", BAD, "Z", ONE, "Z"],
    "bad row, data late in two pieces": [COPY, "G", BAD, "Z", GOOD[:7], 0.02, GOOD[7:] + DONE, ONE,
                                         "Z"],
    "bad row at the end": [COPY, "G", GOOD, wire.copy_data(b"2\n"), DONE, "Z"],
    "bad row twice": [COPY, "G", BAD, "Z", DONE + COPY, "G", BAD, "Z", FAIL + ONE, "Z"],
    "notices in between": [COPY, "G", LOUD, "N", GOOD + LOUD * 3, "NNN", DONE, "Z"],
    "notices before the failure": [COPY, "G", LOUD * 2 + BAD, "NNEZ", LOUD + DONE + ONE, "Z"],
}

SCRIPTS["what does not belong there"] = {
    "sync in it": [COPY, "G", GOOD + SYNC + GOOD + SYNC + DONE, "Z", ONE, "Z"],
    "flush in it": [COPY, "G", GOOD + wire.flush() + GOOD + DONE, "Z", ONE, "Z"],
    "query in it": [COPY, "G", GOOD + ONE, "E", TWO, "Z"],
    "parse in it": [COPY, "G", GOOD + wire.parse("SELECT 1"), "E", TWO, "Z"],
    "call in it": [COPY, "G", GOOD + wire.message("F", b""), "E", TWO, "Z"],
}

SCRIPTS["extended protocol and pipelines"] = {
    "extended": [COPY_IN + SYNC, "G", GOOD + DONE + SYNC, "Z", ONE, "Z"],
    "extended, without sync": [COPY_IN + wire.flush(), "G", GOOD + DONE + SYNC, "Z"],
    "extended, syncs in it": [COPY_IN + SYNC, "G", GOOD + SYNC + GOOD + SYNC + DONE + SYNC, "Z",
                              ONE, "Z"],
    "extended, client fails": [COPY_IN + wire.flush(), "G", GOOD + FAIL + SYNC, "EZ", ONE, "Z"],
    "extended, client fails in a pipeline": [COPY_IN + wire.flush(), "G", FAIL
                                             + prepared("SELECT 1") + SYNC + prepared("SELECT 2")
                                             + SYNC, "EZZ"],
    "extended, bad row": [COPY_IN + wire.flush(), "G", BAD, "E", GOOD + DONE + SYNC, "Z", ONE, "Z"],
    "extended, bad row in a pipeline": [COPY_IN + wire.flush(), "G", BAD, "E", DONE
                                        + prepared("SELECT 1") + SYNC + prepared("SELECT 2") + SYNC,
                                        "ZZ"],
    "pipeline around it": [prepared("SELECT 1") + COPY_IN + wire.flush(), "G", GOOD + DONE
                           + prepared("SELECT count(*) FROM copied") + SYNC, "Z"],
    "pipeline in one piece": [prepared("SELECT 1") + COPY_IN + GOOD + DONE + prepared("SELECT 2")
                              + SYNC + ONE, "ZZ"],
    "pipeline that failed before": [prepared("SELECT 1 / 0") + COPY_IN + GOOD + DONE + SYNC + ONE,
                                    "ZZ"],
}

SCRIPTS["several in one query"] = {
    "two": [wire.query("COPY copied FROM STDIN; COPY copied FROM STDIN"), "G", GOOD + DONE, "CG",
            GOOD * 2 + DONE, "Z"],
    "two in one piece": [wire.query("COPY copied FROM STDIN; COPY copied FROM STDIN") + GOOD + DONE
                         + GOOD * 2 + DONE + ONE, "ZZ"],
    "two, the first fails": [wire.query("COPY copied FROM STDIN; COPY copied FROM STDIN"), "G", BAD,
                             "EZ", DONE + GOOD + DONE + ONE, "Z"],
    "two, the second fails": [wire.query("COPY copied FROM STDIN; COPY copied FROM STDIN"), "G",
                              GOOD + DONE, "CG", FAIL, "EZ", ONE, "Z"],
    "in, then out": [wire.query("COPY copied FROM STDIN; COPY copied TO STDOUT"), "G",
                     GOOD * 3 + DONE, "HZ"],
    "among statements": [wire.query("SELECT 1; COPY copied FROM STDIN; SELECT 2"), "G", GOOD + DONE,
                         "Z"],
}

SCRIPTS["in a transaction"] = {
    "transaction": [wire.query("BEGIN"), "Z", COPY, "G", GOOD + DONE, "Z", wire.query("COMMIT"),
                    "Z"],
    "failed transaction": [wire.query("BEGIN"), "Z", COPY, "G", BAD, "EZ", DONE + ONE, "EZ", COPY,
                           "EZ", GOOD + DONE + wire.query("ROLLBACK") + ONE, "ZZ"],
    "savepoint": [wire.query("BEGIN; SAVEPOINT s"), "Z", COPY, "G", FAIL, "EZ",
                  wire.query("ROLLBACK TO s"), "Z", COPY, "G", GOOD + DONE, "Z",
                  wire.query("COMMIT"), "Z"],
}

SCRIPTS["to the client"] = {
    "out": [OUT, "HddcCZ"],
    "out and next query in one piece": [OUT + ONE + OUT, "ZZZ"],
    "out, extended": [prepared("COPY (VALUES (1), (2)) TO STDOUT") + SYNC + ONE, "ZZ"],
    "out in a pipeline": [prepared("SELECT 1") + prepared("COPY (VALUES (1)) TO STDOUT")
                          + prepared("SELECT 2") + SYNC, "Z"],
    "out, fails in its middle": [BAD_OUT, "HddEZ", ONE, "Z"],
    "out, fails in a pipeline": [prepared("COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) n)"
                                          " TO STDOUT") + prepared("SELECT 1") + SYNC + ONE, "ZZ"],
    "out, ends from the client": [OUT + DONE + FAIL + GOOD + ONE, "ZZ"],
    "out twice": [wire.query("COPY (VALUES (1)) TO STDOUT; COPY (VALUES (2)) TO STDOUT"), "Z"],
    "out with notices": [wire.query("COPY (SELECT note(n) FROM generate_series(1, 4) n) TO STDOUT"),
                         "NZ"],
    "large row out": [wire.query("COPY (SELECT repeat('x', 3000000)) TO STDOUT"), "Z"],
    "large row in": [COPY, "G", wire.copy_data(b"1\t" + b"x" * 3000000 + b"\n") + DONE, "Z"],
    "large data that fails": [COPY, "G", wire.copy_data(b"y" * 3000000), wire.copy_data(b"\n"),
                              "EZ", wire.copy_data(b"z" * 1000000) + DONE + ONE, "Z"],
    "binary in": [wire.query("COPY copied FROM STDIN (FORMAT binary)"), "G", wire.copy_data(
        BINARY + struct.pack("!hiii", 2, 4, 77, 3) + b"\0c\n"[1:] + b"d" + struct.pack("!h", -1))
        + DONE, "Z", wire.query("SELECT n, t FROM copied"), "Z"],
    "binary in, bad": [wire.query("COPY copied FROM STDIN (FORMAT binary)"), "G",
                       wire.copy_data(b"no header of a copy"), "EZ", DONE + ONE, "Z"],
    "binary out": [wire.query("COPY (SELECT 1, NULL::text, 'x'::bytea) TO STDOUT (FORMAT binary)"),
                   "HdcCZ"],
}

SCRIPTS["function calls"] = {
    "call": [call("int4abs", b"-42"), "VZ", ONE, "Z"],
    "call with null": [call("int4abs", None), "VZ"],
    "call that fails": [call("int4div", b"1", b"0"), "EZ", ONE, "Z"],
    "calls behind each other": [call("int4abs", b"-1"), call("int4div", b"1", b"0"),
                                call("int4abs", b"-3"), ONE, "ZZZZ"],
    "call with notices": [call("fails", b"1"), "NVZ", call("fails", b"0"), "NEZ"],
    "call with a large value": [call("length", b"x" * 3000000), "VZ"],
    "call in a transaction": [wire.query("BEGIN"), "Z", call("int4abs", b"-5"), "VZ",
                              call("int4div", b"1", b"0"), "EZ", call("int4abs", b"-5"), "EZ",
                              wire.query("ROLLBACK"), "Z"],
    "call behind a failed pipeline": [prepared("SELECT 1 / 0"), call("int4abs", b"-5"), SYNC + ONE,
                                      "EZZ"],
    "call of nothing": [wire.message("F", struct.pack("!Ihhh", 4294967295, 0, 0, 0)), "EZ", ONE,
                        "Z"],
}

SCRIPTS["notices"] = {
    "notice": [wire.query("DO 'BEGIN RAISE NOTICE ''a''; RAISE WARNING ''b''; END'"), "NNCZ"],
    "notice, extended": [prepared("DO 'BEGIN RAISE NOTICE ''a''; END'") + SYNC, "NCZ"],
    "notices among rows": [wire.query("SELECT note(n) FROM generate_series(1, 50) n"), "Z"],
    "notices among rows, extended": [prepared("SELECT note(n) FROM generate_series(1, 50) n")
                                     + prepared("SELECT note(3)") + SYNC, "Z"],
    "notices of a portal": [wire.parse("SELECT note(n) FROM generate_series(1, 5) n") + wire.bind()
                            + wire.execute(limit=2) + wire.execute(limit=2) + wire.execute() + SYNC,
                            "ssCZ"],
    "notices, then an error": [wire.query("SELECT note(n), 1 / (3 - n)"
                                          " FROM generate_series(1, 5) n"), "NNEZ", ONE, "Z"],
    "large notice": [wire.query("DO 'BEGIN RAISE NOTICE ''%'', repeat(''n'', 2000000); END'"),
                     "NCZ"],
    "large error": [wire.query("DO 'BEGIN RAISE ''%'', repeat(''e'', 2000000); END'"), "EZ", ONE,
                    "Z"],
    "many notices": [wire.query("DO 'BEGIN FOR i IN 1..3000 LOOP RAISE NOTICE ''%'', i; END LOOP;"
                                " END'"), "Z"],
    "notice of an empty transaction": [wire.query("ROLLBACK"), "NCZ"],
    "notify oneself": [wire.query("LISTEN news; NOTIFY news, 'it works'"), "CCAZ",
                       wire.query("UNLISTEN *"), "Z"],
}

# What the pooler has to say when a linked server is gone.
OWN_WORDS = ("E", ("08P01", "server conn crashed?"))

NEEDS_TRANSACTION = {"transaction", "failed transaction", "savepoint", "call in a transaction"}


def detail(got):
    """What must be the same of a message."""
    if got.type in "EN":
        fields = wire.parse_fields(got.body)
        return fields["C"], fields["M"]
    return got.body[4:] if got.type == "A" else got.body


def play(client, script, oids):
    """The messages that came back, and "end" where PostgreSQL gives up the connection."""
    seen = []
    try:
        play_on(client, script, oids, seen)
    except (EOFError, ConnectionError):
        seen.append("end")
    return seen


def play_on(client, script, oids, seen):
    for step in script:
        if isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, tuple):
            name, body = step
            client.send("F", struct.pack("!I", oids[name]) + body)
        elif isinstance(step, bytes):
            client.send_raw(step)
        else:
            for kind in step:
                while True:
                    got = client.read()
                    if got.type != "S":
                        seen.append((got.type, detail(got)))
                    if got.type == kind:
                        break
    client.send_raw(wire.query("SELECT 'the end'"))
    while not seen or seen[-1] != ("D", fake.data_row("the end")[5:]):
        got = client.read()
        seen.append((got.type, detail(got)))
    client.result()


@pytest.fixture
def flow(start_pooler, pg):
    pg.sql(SETUP)
    pooler = start_pooler(server_reset_query="DISCARD ALL", databases={
        name: "dbname=p0 pool_mode=%s pool_size=1" % mode for name, mode in MODES.items()})
    pooler.oids = {name: pg.value("SELECT %s::regprocedure::oid", (text,)) for name, text in (
        ("int4abs", "int4abs(int)"), ("int4div", "int4div(int, int)"), ("fails", "fails(int)"),
        ("length", "length(text)"))}
    return pooler


def check_script(pooler, pg, name, script):
    pg.sql("TRUNCATE copied")
    with wire.Client("127.0.0.1", pg.port).login("bob", "p0") as direct:
        expected = play(direct, script, pooler.oids)
    rows = pg.sql("SELECT n, length(t) FROM copied ORDER BY n")
    lost = expected[-1] == "end"
    if lost:
        expected.insert(-1, OWN_WORDS)
    for database, mode in MODES.items():
        if mode == "statement" and name in NEEDS_TRANSACTION:
            continue
        pg.sql("TRUNCATE copied")
        client = pooler.client(database)
        assert play(client, script, pooler.oids) == expected, (name, mode)
        assert pg.sql("SELECT n, length(t) FROM copied ORDER BY n") == rows, (name, mode)
        if mode == "session" or lost:
            client.close()
        other = pooler.client(database)
        assert other.value("SELECT 'mine'") == "mine", (name, mode)
        check_clean(other)
        other.close()
        if mode != "session" and not lost:  # and the first one is served as before
            assert client.query("SELECT 'again'").types == "TDCZ", (name, mode)
            client.close()


@pytest.mark.parametrize("family", SCRIPTS)
def test_as_past_the_pooler(flow, pg, family):
    for name, script in SCRIPTS[family].items():
        check_script(flow, pg, name, script)
    for database in MODES:
        flow.wait_pool(database, cl_active=0, cl_waiting=0, sv_active=0, sv_tested=0)


# The end in the middle of a COPY

@pytest.mark.parametrize("how", ["close", "reset", "terminate", "cut"])
@pytest.mark.parametrize("what", ["in", "in, unread", "out", "extended", "failed"])
def test_client_leaves_in_the_middle(flow, pg, what, how):
    for database, mode in MODES.items():
        client = flow.client(database)
        if what.startswith("in"):
            client.send_raw(COPY + GOOD * 1000 + (wire.sync() if what == "in, unread" else b""))
            client.expect("G")
        elif what == "extended":
            client.send_raw(COPY_IN + SYNC + GOOD)
            assert [client.read().type for _ in range(3)] == ["1", "2", "G"]
        elif what == "failed":
            client.send_raw(COPY + BAD + GOOD * 1000)
            assert "E" in [client.read().type for _ in range(2)]
        else:
            client.send_raw(wire.query("COPY (SELECT repeat('x', 1000)"
                                       " FROM generate_series(1, 20000)) TO STDOUT"))
            client.expect("H")
        if how == "cut":
            client.send_raw(GOOD[:-3])
            client.close()
        else:
            getattr(client, how)()
        other = flow.client(database)
        assert other.value("SELECT 'mine'") == "mine", mode
        check_clean(other)
        other.terminate()
    wait_for(lambda: pg.value("SELECT count(*) FROM copied") == 0, "nothing was copied")


@pytest.mark.parametrize("what", ["in", "out"])
def test_server_ends_in_the_middle(flow, pg, what):
    """The client is told by the server, then by the pooler; the next one gets another server."""
    for database in MODES:
        client = flow.client(database)
        client.send_raw(COPY + GOOD if what == "in" else wire.query(
            "COPY (SELECT repeat('x', 100000)) TO STDOUT; SELECT pg_sleep(5)"))
        client.expect("G" if what == "in" else "H")
        assert pg.terminate("query LIKE 'COPY copied FROM%' OR query LIKE '%pg_sleep(5)'") == 1
        errors = [wire.parse_fields(got.body) for got in client.wait_closed() if got.type == "E"]
        assert [error["C"] for error in errors] == ["57P01", "08P01"]
        other = flow.client(database)
        assert other.value("SELECT 'mine'") == "mine"
        other.terminate()
    assert pg.value("SELECT count(*) FROM copied") == 0


@pytest.mark.parametrize("what", [wire.copy_data(b"1\t" + b"x" * 60000 + b"\n"), LOUD * 2000],
                         ids=["silent", "loud"])
def test_server_ends_while_the_client_streams(flow, pg, what):
    """
    The server's last words are not lost, though it takes nothing any more. Unless they have never
    left: a loud server may have been waiting for room, and what waits is dropped with its socket.
    """
    for database in MODES:
        client = flow.client(database)
        client.send_raw(COPY)
        client.expect("G")
        stop = threading.Event()

        def stream():
            try:
                while not stop.is_set():
                    client.sock.sendall(what)
            except OSError:
                pass
        streamer = threading.Thread(target=stream)
        streamer.start()
        try:
            time.sleep(0.05)
            assert pg.terminate("query LIKE 'COPY copied FROM%'") == 1
            errors = [wire.parse_fields(got.body) for got in client.wait_closed()
                      if got.type == "E"]
        finally:
            stop.set()
            client.close()
            streamer.join(10 * SLACK)
        codes = [error["C"] for error in errors]
        assert codes == ["57P01", "08P01"] or (what == LOUD * 2000 and codes == ["08P01"])
        assert flow.client(database).value("SELECT 'mine'") == "mine"


def unread(sock):
    """Bytes that have reached the peer, on this machine, and that it has not received yet."""
    wanted = ":%04X" % sock.getpeername()[1], ":%04X" % sock.getsockname()[1]
    with open("/proc/net/tcp") as file:
        for line in file:
            local, remote, _, queues = line.split()[1:5]
            if (local[-5:], remote[-5:]) == wanted:
                return int(queues.split(":")[1], 16)
    return 0


def test_server_ends_while_the_client_does_not_read(start_pooler, fake_server):
    """What the server said before its end waits until the client has read what came before it."""
    notice = wire.message("N", fake.error_body("x" * 4000, "NOTICE", "00000"))
    sent = []

    def script(side):
        if not side.log_in():
            return
        side.read()
        side.send("G", struct.pack("!bh", 0, 0))
        while not unread(side.sock):  # the pooler reads no more, as the client does not
            side.send_raw(notice)
            sent.append(1)
            time.sleep(0.002)
            if unread(side.sock):
                time.sleep(0.1)
        side.send_error("going away", sqlstate="57P01")
        time.sleep(0.05)
        side.reset()  # with what the client has sent unread
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, pool_mode="transaction",
                          tcp_socket_buffer="16384")
    client = pooler.wire()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.login("bob", "p0").send_raw(COPY)
    client.expect("G")
    client.sock.settimeout(0.5)
    with contextlib.suppress(OSError):
        while True:
            client.sock.send(GOOD * 1000)
    client.sock.settimeout(10 * SLACK)
    got = client.wait_closed()
    assert [message.type for message in got] == ["N"] * len(sent) + ["E", "E"]
    assert [wire.parse_fields(message.body)["C"] for message in got[-2:]] == ["57P01", "08P01"]


def test_slow_reader(flow, pg):
    """The pooler keeps no more of a COPY than its buffers hold; others are served meanwhile."""
    size = 40 << 20
    sql = "COPY (SELECT repeat('x', 1023) FROM generate_series(1, %d)) TO STDOUT" % (size >> 10)
    memory = resident_kib(flow.pid)
    client = flow.wire()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    client.login("bob", "p1").send_raw(wire.query(sql))
    client.expect("H")
    for n in range(20):
        assert flow.client("p2").value("SELECT %d" % n) == str(n)
        client.sock.recv(1024)
    if not is_sanitized(flow.pid):
        assert resident_kib(flow.pid) - memory < 4096
    client.close()
    other = flow.client("p1")
    assert other.value("SELECT 'mine'") == "mine"


# Notices and notifications to an idle client

def test_what_comes_to_an_idle_session(start_pooler, fake_server):
    """In session mode an idle client has its server, and hears what it says."""
    speak = threading.Event()

    def script(side):
        if side.log_in():
            side.read()
            side.send_raw(fake.answer(1))
            speak.wait(10 * SLACK)
            side.send_raw(wire.message("N", fake.error_body("hear", "NOTICE", "00000"))
                          + fake.parameter_status("TimeZone", "Asia/Tokyo")
                          + wire.message("A", struct.pack("!i", 7) + b"news\0\0"))
            side.serve(lambda side, sql: fake.answer(sql))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    client = pooler.client()
    assert client.value("SELECT 1") == "1"
    client.expect_silence(0.05)
    speak.set()
    assert [client.read().type for _ in range(3)] == ["N", "S", "A"]
    assert client.value("go on") == "go on"


def test_listen_in_session_mode(start_pooler, pg):
    """Each to its listeners, in order, while they are idle; in a transaction at its end."""
    pooler = start_pooler(default_pool_size="4", server_reset_query="DISCARD ALL")
    listeners = [pooler.client() for _ in range(2)]
    for listener in listeners:
        listener.query("LISTEN news")
    deaf = pooler.client()
    deaf.query("SELECT 1")
    listeners[1].query("BEGIN")
    payload = "x" * 7990
    pg.sql("SELECT pg_notify('news', n || '%s') FROM generate_series(1, 50) n" % payload)
    for n in range(1, 51):
        assert listeners[0].expect("A").body[4:] == b"news\0%d%s\0" % (n, payload.encode())
    listeners[0].expect_silence(0.05)
    listeners[1].expect_silence(0.05)
    listeners[1].send_raw(wire.query("COMMIT"))
    got = listeners[1].result()
    assert got.types.replace("A", "") == "CZ" and got.types.count("A") in (0, 50)
    for _ in range(50 - got.types.count("A")):
        listeners[1].expect("A")
    deaf.expect_silence(0.05)
    for listener in listeners:
        listener.terminate()
    pooler.wait_pool(sv_active=1, sv_idle=2)
    heirs = [pooler.client() for _ in range(2)]
    for heir in heirs:
        assert heir.value("SELECT count(*) FROM pg_listening_channels()") == "0"
    pg.sql("NOTIFY news")
    for heir in heirs:
        heir.expect_silence(0.05)
