"""PostgreSQL dies, hangs, restarts, refuses: who had to do with it is told, the others go on."""

import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from support import wire
from support.fake_server import answer, error_body, ready, serve_number
from support.postgres import find_program
from support.process import SLACK, unprivileged, wait_for
from support.truth import check_clean, check_counters, unharmed

# What a client may be told that was linked when its server went away, by SQLSTATE and text: the
# server's own last words, then ours.
LINKED = {
    "57P01": "terminating connection due to administrator command",
    "57P02": "terminating connection because of crash of another server process",
}
OURS = ("server conn crashed?", "server connection closed")
# ... and that asks while no server can be had.
FAILING = re.compile(r"server login has been failing, cached error: .* \(server_login_retry\)")
LOGIN = {"57P01", "57P02", "57P03", "53300"}


def check_texts(errors):
    """The errors that one client got, in their order."""
    for fields in errors:
        code, text = fields["C"], fields["M"]
        if code in LINKED:
            assert text == LINKED[code]
        elif code != "08P01":
            assert code in LOGIN, fields
        else:
            assert text in OURS or FAILING.fullmatch(text), fields
    assert errors and errors[-1]["S"] == "FATAL"


def errors_until_end(client):
    return [wire.parse_fields(m.body) for m in client.wait_closed() if m.type == "E"]


# HA01

STATES = ("idle", "transaction", "query", "result", "copy in")


def enter(client, state):
    client.query("BEGIN" if state == "transaction" else "SELECT 1")
    if state == "query":
        client.send_raw(wire.query("SELECT pg_sleep(30)"))
    elif state == "result":
        client.send_raw(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))
        client.read()
    elif state == "copy in":
        client.send_raw(wire.query("COPY pg_temp.sink FROM STDIN"))
        client.expect("G")


@pytest.mark.parametrize("state", STATES)
def test_killed_backend(start_pooler, pg, state):
    """kill -9: PostgreSQL ends all backends and recovers. Idle clients notice nothing."""
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.1", databases={
        "p0": "connect_query='CREATE TEMP TABLE sink (n int)'", "p2": ""})
    client, idle, other = pooler.client(), pooler.client(), pooler.client("p2")
    other.query("SELECT 1")
    enter(client, state)
    (victim,) = [b[0] for b in pg.backends("datname = 'p0'")]
    pg.kill_backend(victim)
    if state == "result":
        client.wait_closed()  # in the middle of a row no error can be told
    elif state != "idle":
        check_texts(errors_until_end(client))
    if state != "idle":
        client.close()
    pooler.wait_pool(sv_active=0, sv_idle=0)
    pg.wait_recovered()
    asking = [idle, other] + ([client] if state == "idle" else [])
    for number, one in enumerate(asking):
        wait_for(lambda: not pooler.pool("p2")["sv_idle"] or pg.backends("datname = 'p2'"), "gone")
        assert one.value("SELECT %d" % number) == str(number)
        check_clean(one) if one is other else None
    check_counters(pooler, pg)


def dies(where):
    """A server that resets its first connection at some point, and serves the later ones."""
    def script(side):
        if side.number > 1:
            serve_number(side)
            return
        if where == "startup":
            side.read_startup()
        elif side.log_in():
            while True:
                got = side.read()
                if got.type == "X":
                    return
                sql = got.body[:-1].decode()
                if sql == where:
                    break
                side.send_raw(answer(side.number))
        side.reset()
    return script


@pytest.mark.parametrize("where", ["startup", "RESET IT", "CHECK IT"])
def test_death_behind_the_scenes(start_pooler, fake_server, where):
    """While logging in, being reset, being checked: nobody is linked, so nobody is told."""
    server = fake_server(dies(where))
    pooler = start_pooler(server=server, databases={"p0": ""}, default_pool_size="1",
                          server_reset_query="RESET IT" if where == "RESET IT" else "",
                          server_check_query="CHECK IT" if where == "CHECK IT" else "",
                          server_check_delay="0", server_login_retry="0.1")
    first, second = pooler.wire(), pooler.wire()
    for client in (first, second):
        client.startup("bob", "p0")
    for client in (first, second):
        client.authenticate()
        client.welcome()
        client.query("SELECT 1")
        client.terminate()
    third = pooler.client()
    assert int(third.value("SELECT 1")) >= 2
    pooler.wait_pool(cl_active=1, sv_active=1, sv_idle=0, sv_tested=0, sv_used=0, sv_login=0)


def test_death_while_being_cancelled(start_pooler, fake_server):
    """The server dies with the request under way: one close, and the request is ended too."""
    asked = threading.Event()

    def script(side):
        if not side.log_in():
            asked.set()
            side.read_bytes(1)
        elif side.number > 1:
            side.serve(lambda side, sql: answer(side.number))
        else:
            side.read()
            asked.wait(10 * SLACK)
            side.reset()
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          cancel_wait_timeout="0.5", default_pool_size="1")
    client = pooler.client()
    client.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(sv_active=1)
    requester = client.cancel(wait=False)
    assert client.expect_any_error()["M"] in OURS
    requester.expect_eof()
    assert int(pooler.client().value("SELECT 1")) > 1
    pooler.wait_pool(sv_active_cancel=0, cl_active_cancel_req=0, sv_being_canceled=0, sv_idle=1)


# HA02

def test_frozen_backend(start_pooler, pg):
    """Limits hold without its help; what it says when it is thawed reaches nobody."""
    pooler = start_pooler(pool_mode="transaction", query_timeout="0.6", default_pool_size="1")
    pooler.value("SELECT 1", dbname="p1", user="alice")
    client, idle = pooler.client(), pooler.client()
    pid = int(client.value("SELECT pg_backend_pid()"))
    os.kill(pid, signal.SIGSTOP)
    try:
        with unharmed(pooler, log_bytes=4096):
            client.send_raw(wire.query("SELECT 'stolen'"))
            client.expect_error("query timeout")
            client.close()
            assert idle.value("SELECT 'own'") == "own"
            os.kill(pid, signal.SIGCONT)
            wait_for(lambda: pid not in [b[0] for b in pg.backends()], "it has ended")
            for n in range(10):
                assert idle.value("SELECT %d" % n) == str(n)
            late = pooler.client()
    finally:
        os.kill(pid, signal.SIGCONT) if pid in [b[0] for b in pg.backends()] else None
    assert late.value("SELECT 'late'") == "late"
    check_counters(pooler, pg)


# HA03

@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_under_many_clients(start_pooler, pg, mode):
    """Only who had work in flight is told; then everybody is served, and nobody hangs."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="10", max_client_conn="400",
                          server_login_retry="0.1", log_connections="0")
    clients = [pooler.client() for _ in range(150)]
    busy = clients[:10]
    for client in busy:
        client.query("BEGIN")
    pg.restart(mode)
    for client in busy:
        check_texts(errors_until_end(client))
        client.close()
    rest = clients[10:]
    assert not any(client.is_closed() for client in rest)
    for n, client in enumerate(rest):
        client.send_raw(wire.query("SELECT %d" % n))
    for n, client in enumerate(rest):
        assert client.result().check().value == str(n)
    pooler.wait_pool(cl_active=140, cl_waiting=0, sv_active=0)
    check_counters(pooler, pg)


def test_queries_while_postgresql_is_down(start_pooler, pg):
    """The first one waits for the server and gets it; the rest is told that logins fail."""
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.2")
    clients = [pooler.client() for _ in range(6)]
    clients[0].query("SELECT 1")
    pg.stop()
    try:
        pooler.wait_pool(sv_idle=0)
        clients[0].send_raw(wire.query("SELECT 0"))
        pooler.wait_log("sbuf_connect failed")
        for client in clients[1:3]:
            client.send_raw(wire.query("SELECT 1"))
            check_texts(errors_until_end(client))
    finally:
        pg.start()
    assert clients[0].result().check().value == "0"
    for client in clients[3:]:
        assert client.value("SELECT 2") == "2"
    check_counters(pooler, pg)


# HA04

def test_refusals_by_postgresql(start_pooler, pg):
    """Who waits for a login gets the server's own code and words, and it heals by itself."""
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.1", auth_type="trust",
                          databases={"p0": "", "p1": "", "gone": "dbname=gone_with_the_wind",
                                     "p3": "user=scramuser password=wrong"})
    pooler.value("SELECT 1", dbname="p1", user="alice")
    pg.sql("ALTER ROLE bob CONNECTION LIMIT 0")
    try:
        with unharmed(pooler):
            for database, code, text in (
                    ("p0", "53300", 'too many connections for role "bob"'),
                    ("gone", "3D000", 'database "gone_with_the_wind" does not exist'),
                    ("p3", "28P01", 'password authentication failed for user "scramuser"')):
                client = pooler.wire()
                client.startup("bob" if database == "p0" else "carol", database)
                client.expect_error(text, sqlstate=code)
                client.close()
    finally:
        pg.sql("ALTER ROLE bob CONNECTION LIMIT -1")
    assert pooler.client().value("SELECT 1") == "1"


def test_not_yet_keeps_everybody_waiting(start_pooler, pg, fake_server):
    """57P03: attempts are paced, nobody is told, all are served when it is over."""
    times = []

    def script(side):
        times.append(time.monotonic())
        side.read_startup()
        side.send("E", error_body("the database system is starting up", "FATAL", "57P03"))
    server = fake_server(script)
    pooler = start_pooler(server=server, pool_mode="transaction", server_login_retry="0.2",
                          databases={"p0": "", "p1": "host=127.0.0.1 port=%d" % pg.port})
    waiting = []
    for _ in range(10):
        waiting.append(pooler.wire())
        waiting[-1].startup("bob", "p0")
    pooler.wait_pool(cl_waiting=10)
    time.sleep(0.8)
    assert not any(client.has_data() for client in waiting)
    server.script = serve_number
    for client in waiting:
        client.authenticate()
        client.welcome()
        assert client.value("SELECT 1")
    assert len(times) <= 8
    assert len(times) <= 2 + (times[-1] - times[0]) / 0.15


# HA09

@pytest.mark.parametrize("last", ["nothing", "half", "tag"])
def test_lost_commit(start_pooler, fake_server, last):
    """The link dies after COMMIT was sent: an error and never a success, and never sent again."""
    words = {"nothing": b"", "half": wire.message("C", b"COMMIT\0")[:7],
             "tag": wire.message("C", b"COMMIT\0")}[last]

    def script(side):
        if side.log_in():
            while True:
                sql = side.read().body[:-1].decode()
                if sql == "COMMIT":
                    side.send_raw(words)
                    return
                side.send_raw(wire.message("C", b"OK\0") + ready("T" if sql == "BEGIN" else "I"))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction")
    client = pooler.client()
    client.query("BEGIN")
    client.send_raw(wire.query("COMMIT"))
    got = client.wait_closed()
    assert "Z" not in [m.type for m in got]
    if last == "nothing":
        assert [wire.parse_fields(m.body)["M"] for m in got] == ["server conn crashed?"]
    time.sleep(0.2)
    assert server.queries().count("COMMIT") == 1


def test_lost_query_is_not_repeated(start_pooler, fake_server):
    """Sent is sent: the pooler cannot know whether it ran."""
    def script(side):
        if side.log_in():
            side.read()
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction")
    client = pooler.client()
    client.send_raw(wire.query("INSERT INTO once VALUES (1)"))
    client.expect_error("server conn crashed?")
    time.sleep(0.2)
    assert server.queries() == ["INSERT INTO once VALUES (1)"]


# Every server killed under load

class Worker(threading.Thread):
    """Works without a pause, comes back when it is thrown out, and remembers what it was told."""

    def __init__(self, pooler, stop, transactions):
        super().__init__(daemon=True)
        self.pooler, self.stop, self.transactions = pooler, stop, transactions
        self.done, self.lost, self.wrong, self.failure = 0, [], [], None
        self.draw = random.Random(id(self))

    def run(self):
        try:
            while not self.stop.is_set():
                try:
                    self.work()
                except EOFError:
                    self.lost.append([])
                except ConnectionError:
                    self.lost.append([])
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def told(self, client, first):
        errors = [first]
        try:
            while True:
                got = client.read()
                if got.type == "E":
                    errors.append(wire.parse_fields(got.body))
        except (EOFError, ConnectionError):
            self.lost.append(errors)

    def work(self):
        with wire.Client(self.pooler.host, self.pooler.port) as client:
            try:
                client.login("bob", "p0")
            except wire.ServerError as error:
                self.lost.append([error.fields])
                return
            while not self.stop.is_set():
                number = str(self.draw.randrange(10 ** 9))
                texts = ["SELECT %s FROM pg_sleep(0.002)" % number]
                if self.transactions:
                    texts = ["BEGIN", *texts, "COMMIT"]
                for sql in texts:
                    client.send_raw(wire.query(sql))
                    while True:
                        got = client.read()
                        if got.type == "E":
                            self.told(client, wire.parse_fields(got.body))
                            return
                        if got.type == "D" and wire.parse_data_row(got.body) != [number]:
                            self.wrong.append((number, got.body))
                        if got.type == "Z":
                            break
                self.done += 1


@pytest.mark.limit(180)
def test_every_server_killed_under_load(start_pooler, pg):
    """
    pg_terminate_backend in a loop, kill -9 of a backend, stop and start of PostgreSQL. Only who was
    linked, or asked while there was no server, is told, with the texts of the contract.
    """
    pooler = start_pooler(pool_mode="transaction", default_pool_size="5", server_login_retry="0.1",
                          max_client_conn="400", log_connections="0", log_disconnections="0")
    idle = [pooler.client() for _ in range(30)]
    for client in idle:
        client.query("SELECT 1")
    stop = threading.Event()
    workers = [Worker(pooler, stop, n % 2 == 0) for n in range(16)]

    def lost():
        return [errors for worker in workers for errors in worker.lost]

    def goes_on(what, count=100):
        served = sum(worker.done for worker in workers)
        wait_for(lambda: sum(worker.done for worker in workers) > served + count, what, timeout=30)
    for worker in workers:
        worker.start()
    try:
        for _ in range(8):
            goes_on("between two kills", 40)
            pg.terminate("datname = 'p0'")
        goes_on("after the kills")
        terminated = lost()
        assert 0 < len(terminated) <= 8 * 5
        for errors in terminated:
            check_texts(errors)
            assert not any(FAILING.fullmatch(fields["M"]) for fields in errors)
        pg.kill_backend(wait_for(lambda: pg.backends("datname = 'p0'"), "a server")[0][0])
        pg.wait_recovered()
        goes_on("after kill -9")
        pg.stop("fast")
        time.sleep(0.3)
        pg.start()
        goes_on("after stop and start")
        assert not any(client.is_closed() for client in idle)
        for n, client in enumerate(idle):
            assert client.value("SELECT %d" % n) == str(n)
    finally:
        stop.set()
        for worker in workers:
            worker.join(30 * SLACK)
    assert [worker.failure for worker in workers if worker.failure] == []
    assert [worker.wrong for worker in workers if worker.wrong] == []
    for errors in lost():
        check_texts(errors)
    pooler.wait_pool(cl_active=30, cl_waiting=0, sv_active=0, sv_login=0)
    assert pooler.servers() <= 5
    check_counters(pooler, pg)


@pytest.mark.limit(120)
def test_pgbench_while_servers_are_ended(start_pooler, pg):
    """Of 20 clients over 4 servers at most those that were linked give up; the rest ends its work."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="4", server_login_retry="0.1")
    script = os.path.join(pooler.folder, "script.sql")
    with open(script, "w", encoding="ascii") as file:
        file.write("SELECT pg_sleep(0.001);\n")
    os.chmod(script, 0o644)
    bench = subprocess.Popen(
        [find_program("pgbench"), "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "bob", "-n",
         "-c", "20", "-j", "2", "-T", "3", "-f", script, "p0"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", "PGSSLMODE": "disable"},
        **unprivileged())
    ended = 0
    pooler.wait_pool(sv_active=4)
    for _ in range(3):
        time.sleep(0.4)
        ended += pg.terminate("datname = 'p0' AND state = 'active'")
    out, err = bench.communicate(timeout=60 * SLACK)
    aborted = err.count("script 0 aborted")
    assert "number of transactions actually processed" in out, err
    assert 0 < aborted <= ended <= 12, err
    for line in err.splitlines():
        if "FATAL" in line:
            assert any(text in line for text in (*LINKED.values(), *OURS)), line
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    check_counters(pooler, pg)
