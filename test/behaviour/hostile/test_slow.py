"""
Sections 10 and 13 of the catalogue: peers that are slow, stalled or half gone; limits, time limits
and fairness.
"""

import contextlib
import hashlib
import random
import select
import socket
import threading
import time

import pytest

from support import wire
from support.fake_server import answer, data_row, row_description
from support.invariants import closed, fatal
from support.process import SLACK, resident_kib, wait_for

READ_SIZE_KIB = 256  # of the loop's buffer: what a pair may hold that is stalled


def behind(fake_server_port, **databases):
    return {"p0": "host=127.0.0.1 port=%d" % fake_server_port, "p1": "", **databases}


def narrow(client, size=65536):
    """
    A small window, so that a stall is reached soon. Much smaller than the largest segment of loopback,
    and the kernel itself would let only a segment in 200 ms pass.
    """
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        client.sock.setsockopt(socket.SOL_SOCKET, option, size)
    return client


def still_works(client):
    assert client.value("SELECT 42") == "42"


# Peers that do not read

def test_sl01_clients_that_never_read(field):
    """Two GB each; the servers are stopped, and nobody else notices."""
    pooler = field(tcp_socket_buffer="65536", databases={"p0": "pool_size=40", "p1": ""})
    memory = resident_kib(pooler.pid)
    lazy = []
    for _ in range(30):
        client = narrow(pooler.client())
        client.send_raw(wire.query("SELECT repeat('x', 100000) FROM generate_series(1, 20000)"))
        lazy.append(client)
    time.sleep(0.3)
    if not field.watch.sanitized:
        assert resident_kib(pooler.pid) - memory <= 30 * (READ_SIZE_KIB + 32)
    pooler.wait_pool(sv_active=30)
    for place in range(50):
        assert pooler.client("p1").value("SELECT %d" % place) == str(place)
    field.watch.memory_kib += 1024
    field.watch.gap_seconds += 1.5  # the canary's pool made thirty servers first, in order
    for client in lazy[:15]:
        client.reset()
    for client in lazy[15:]:
        client.close()


def exchange(client, data, size_expected, seconds=20):
    """Sends and receives as far as each goes; what was received."""
    client.sock.setblocking(False)
    received, deadline = bytearray(), time.monotonic() + seconds * SLACK
    view = memoryview(data)
    while len(received) < size_expected:
        assert time.monotonic() < deadline, "%d of %d bytes" % (len(received), size_expected)
        select.select([client.sock], [client.sock] if view else [], [], 0.1)
        with contextlib.suppress(BlockingIOError):
            view = view[client.sock.send(view[:65536]):] if view else view
        with contextlib.suppress(BlockingIOError):
            part = client.sock.recv(65536)
            assert part, "the end"
            received += part
    client.sock.settimeout(10 * SLACK)
    return bytes(received)


def test_sl02_both_sides_are_full(field):
    """Large queries with large answers, none of them read at first: it drains, complete."""
    pooler = field(tcp_socket_buffer="65536")
    client = narrow(pooler.client())
    one = wire.query("SELECT '%s'" % ("q" * 10000))
    client.send_raw(one)
    size = sum(5 + len(got.body) for got in client.result().messages)
    client.sock.settimeout(0.3)
    sent = 0
    data = one * 1000
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += client.sock.send(data[sent:sent + 65536])
    assert 0 < sent < len(data)
    received = exchange(client, data[sent:], 1000 * size)
    assert len(received) == 1000 * size
    assert received == received[:size] * 1000
    still_works(client)


def test_sl03_a_time_limit_frees_the_server(field):
    pooler = field(tcp_socket_buffer="65536", query_timeout=str(0.4 * SLACK), default_pool_size="2")
    client = narrow(pooler.client())
    client.send_raw(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))
    begin = time.monotonic()
    wait_for(lambda: not pooler.show("CLIENTS", database="p0", addr="127.0.0.1"),
             "it is thrown out")
    assert 0.3 * SLACK <= time.monotonic() - begin <= 1.4 * SLACK
    pooler.wait_pool(sv_active=0)
    wait_for(lambda: pooler.servers() <= 1, "the server that was stalled is gone")


# Half-closed connections

@pytest.mark.parametrize("sql", ["SELECT pg_sleep(0.1), 7", "SELECT 7",
                                 "SELECT repeat('x', 5000000)"])
def test_sl05_a_client_that_has_said_all(field, sql):
    """The answer is delivered, or the server is given up; then the end."""
    pooler = field()
    client = pooler.client()
    client.send_raw(wire.query(sql))
    client.sock.shutdown(socket.SHUT_WR)
    messages = []
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            messages.append(client.read())
    assert [got.type for got in messages] in ([], list("TDCZ"), list("T"))
    pooler.wait_pool(cl_active=1, cl_waiting=0, sv_active=0)


def test_sl05_in_other_states(field):
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"})
    for data in (b"", wire.query("BEGIN"), wire.query("SELECT 1")[:7],
                 wire.query("COPY pg_class TO STDOUT"),
                 wire.extended("SELECT 1"), wire.query("SELECT 1")):
        blocker = pooler.client("p2")
        client = pooler.client("p2")
        blocker.query("BEGIN")  # so that the client with data has to wait
        client.send_raw(data)
        client.sock.shutdown(socket.SHUT_WR)
        closed(client, 2)
        blocker.query("COMMIT")
        still_works(blocker)
        blocker.close()
        pooler.wait_pool("p2", cl_active=0, cl_waiting=0, sv_active=0)


@pytest.mark.parametrize("when", ["at once", "in a row", "after a row", "in the login"])
def test_sl06_a_server_that_has_said_all(field, fake_server, when):
    """It is given up, whatever the client is sending; the client is told, and nobody else."""
    def script(side):
        if side.is_first and when == "in the login":
            side.sock.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            return
        if not side.log_in():
            return
        side.read()
        if side.is_first:
            row = row_description("value") + data_row("x")
            side.send_raw({"at once": b"", "in a row": row[:-1], "after a row": row}.get(when, b""))
            side.sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(EOFError, OSError):
                while True:
                    side.fill()
        side.send_raw(answer("second"))
        side.serve(lambda side, sql: answer("second"))

    def marked(side):
        side.is_first = side.number == 1
        script(side)
    server = fake_server(marked)
    pooler = field(canaries=(("p1", "alice"),), databases=behind(server.port))
    client = pooler.wire()
    client.startup("bob", "p0")
    if when == "in the login":
        client.authenticate()
        client.welcome()
    else:
        client.authenticate()
        client.welcome().send_raw(wire.query("SELECT 1"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send_raw(wire.query("y" * 1000000))
        seen = b""
        with contextlib.suppress(ConnectionResetError):
            while True:
                part = client.sock.recv(65536)
                if not part:
                    break
                seen += part
        assert (b"server conn" in seen) == (when != "in a row")
    assert pooler.client().value("SELECT 1") == "second"


# Slow transfers

def test_sl07_sl08_a_window_that_opens_late(field):
    """A second of nothing, then little by little: every byte is there, and in its place."""
    pooler = field(tcp_socket_buffer="65536")
    client = narrow(pooler.client())
    draw = random.Random(7)
    sql = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 60000) AS i"
    client.send_raw(wire.query(sql))
    time.sleep(1)
    while True:
        with contextlib.suppress(BlockingIOError):
            client.buffer += client.sock.recv(draw.randrange(1, 30000), socket.MSG_DONTWAIT)
        if draw.random() < 0.02:
            time.sleep(0.002)
        if client.buffer.endswith(wire.message("Z", b"I")):
            break
    value = client.result().value
    expected = "".join(hashlib.md5(str(i).encode()).hexdigest() for i in range(1, 60001))
    assert hashlib.sha256(value.encode()).digest() == hashlib.sha256(expected.encode()).digest()
    still_works(client)


def test_sl08_a_slow_upload(field):
    pooler = field(tcp_socket_buffer="65536")
    client = narrow(pooler.client())
    draw = random.Random(8)
    text = "".join(hashlib.md5(str(i).encode()).hexdigest() for i in range(20000))
    data = wire.query("SELECT md5('%s')" % text)
    place = 0
    while place < len(data):
        size = draw.choice([1, 2, 5, 1000, 1460, 9000])
        client.send_raw(data[place:place + size])
        place += size
        if draw.random() < 0.05:
            time.sleep(0.001)
    assert client.result().value == hashlib.md5(text.encode()).hexdigest()


# Many

def test_sl09_the_server_comes_back(field, fake_server):
    """Those who wait are served from pool_size connections, soon, and without a storm."""
    server = fake_server(lambda side: side.log_in() and side.serve(
        lambda side, sql: answer(side.number)))
    port = server.port
    pooler = field(canaries=(("p1", "alice"),), default_pool_size="5", max_client_conn="500",
                   databases=behind(port), server_login_retry="0.3")
    clients = [pooler.client(host=pooler.socket_dir) for _ in range(200)]
    before = len(server.sides)
    pooler.admin("PAUSE p0")
    server.stop_listening()
    for client in clients:
        client.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=200, sv_idle=0)
    pooler.admin("RESUME p0")
    time.sleep(0.5)
    pooler.wait_pool(cl_waiting=200)
    server.listen(port)
    begin = time.monotonic()
    assert int(clients[0].result().value) > before
    assert time.monotonic() - begin <= 1.3 * SLACK
    values = {client.result().value for client in clients[1:]}
    assert len(server.sides) - before <= 5
    assert values <= {str(number) for number in range(before + 1, before + 6)}
    field.watch.memory_kib += 512


def test_sl10_nobody_waits_beside_an_idle_server(field):
    """One server for 64 clients: a lost wake-up would show as a client that waits for ever."""
    pooler = field(default_pool_size="1", canaries=(("p1", "alice"),))
    clients = [pooler.client(host=pooler.socket_dir) for _ in range(64)]
    left = {client: 20 for client in clients}
    poll, by_fd = select.poll(), {}
    for client in clients:
        poll.register(client.sock, select.POLLIN)
        by_fd[client.sock.fileno()] = client
        client.send_raw(wire.query("SELECT 20"))
    draw, samples = random.Random(10), 0
    deadline = time.monotonic() + 20 * SLACK
    while left:
        assert time.monotonic() < deadline, "%d clients hang" % len(left)
        for fd, _ in poll.poll(100):
            client = by_fd[fd]
            assert client.result().value == str(left[client])
            left[client] -= 1
            if left[client] == 0:
                del left[client]
                poll.unregister(fd)
            else:
                sql = wire.query("SELECT %d" % left[client])
                client.send_raw(sql if draw.random() < 0.7 else wire.extended(
                    "SELECT %d" % left[client]) + wire.sync())
        if draw.random() < 0.05:
            row = pooler.pool()
            assert not (row["cl_waiting"] and row["sv_idle"]), row
            samples += 1
    assert samples > 0


def test_sl11_a_greedy_client_among_others(field):
    """It has one server, whatever it sends; the others share the rest, first come first served."""
    pooler = field(default_pool_size="2", canaries=(("p1", "alice"),))
    stop = threading.Event()
    greedy = pooler.client()

    def flood():
        sent = received = 0
        while not stop.is_set():
            while sent - received < 500:
                greedy.send_raw(wire.query("SELECT 1"))
                sent += 1
            greedy.result()
            received += 1
        while received < sent:
            greedy.result()
            received += 1
    normal = [pooler.client(host=pooler.socket_dir) for _ in range(20)]

    def worst(rounds):
        times = []
        for _ in range(rounds):
            for client in normal:
                begin = time.monotonic()
                client.value("SELECT 1")
                times.append(time.monotonic() - begin)
        return sorted(times)[-len(times) // 100]
    solo = worst(15)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        beside = worst(15)
    finally:
        stop.set()
        thread.join()
    assert beside <= 3 * solo + 0.1 * SLACK


def test_sl11_first_come_first_served(field):
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"})
    holder = pooler.client("p2")
    holder.query("BEGIN")
    waiting = []
    for place in range(30):
        client = pooler.client("p2", host=pooler.socket_dir)
        client.send_raw(wire.query("SELECT extract(epoch FROM clock_timestamp())"))
        pooler.wait_pool("p2", cl_waiting=place + 1)
        waiting.append(client)
    holder.query("COMMIT")
    times = [float(client.result().value) for client in waiting]
    assert times == sorted(times)


# Limits

def silent_or_stuck(pooler, kind):
    """A client that will never log in."""
    client = wire.Client(pooler.socket_dir, pooler.port)
    if kind == "half":
        client.send_raw(b"\0\0\0")
    if kind == "asked":
        client.startup("bob", "p0")
        client.expect("R")
    if kind == "begun":
        client.startup("bob", "p0")
        client.expect("R")
        client.send_raw(b"p\0\0\0")
    return client


@pytest.mark.parametrize("kind", ["silent", "half", "asked", "begun"])
def test_lm01_a_flood_of_those_who_never_log_in(field, kind):
    """The oldest of them make room: who logs in gets in, and whoever is in stays in."""
    pooler = field(max_client_conn="20", auth_type="md5")
    inside = pooler.client()
    flood = [silent_or_stuck(pooler, kind) for _ in range(100)]
    field.watch.events += 100
    for _ in range(5):
        still_works(pooler.client())
        assert pooler.show("VERSION")
    still_works(inside)
    for client in flood:
        client.close()


def test_lm01_those_who_never_log_in_do_not_widen_the_limit(field):
    """However many others are there, no more than max_client_conn get in."""
    pooler = field(max_client_conn="12", auth_type="md5")
    flood = [silent_or_stuck(pooler, kind) for kind in ("silent", "asked") * 10]
    field.watch.events += 20
    inside, outside = [], 0
    for _ in range(20):
        client = pooler.wire()
        try:
            inside.append(client.login("bob", "p0", "bob-pw"))
        except wire.ServerError as failure:
            assert failure.message == "no more connections allowed (max_client_conn)"
            outside += 1
    assert outside > 0
    assert len(inside) <= 12 - 3  # two canaries and the console of the watch
    for client in inside:
        still_works(client)
    for client in flood:
        client.close()


@pytest.mark.parametrize("setting,text", [
    ("max_client_conn", "no more connections allowed (max_client_conn)"),
    ("max_db_client_connections", "client connections exceeded (max_db_client_connections)"),
    ("max_user_client_connections", "client connections exceeded (max_user_client_connections)")])
def test_lm02_limits_are_exact(field, setting, text):
    """At the limit, beyond it, and after any amount of coming and going."""
    spare = 3 if setting == "max_client_conn" else 1
    limit = 6 + spare
    pooler = field(auth_type="md5", **{setting: str(limit)})
    draw = random.Random(2)
    field.watch.events += 150
    for _ in range(150):
        client = wire.Client(pooler.socket_dir, pooler.port)
        step = draw.choice(["knock", "startup", "wrong", "login", "cancel", "limit"])
        with contextlib.suppress(wire.ServerError, EOFError):
            if step == "startup":
                client.startup("bob", "p0")
            elif step == "wrong":
                client.login("bob", "p0", "wrong")
            elif step == "login":
                client.login("bob", "p0", "bob-pw")
                client.send_raw(draw.choice([b"", wire.query("SELECT 1"), wire.query("BEGIN")]))
            elif step == "cancel":
                client.send_raw(wire.special_packet(wire.CANCEL_REQUEST, b"k" * 8))
        draw.choice([client.close, client.reset])()

    def filled():
        clients = []
        try:
            for _ in range(limit - spare):
                clients.append(pooler.client())
        except wire.ServerError as failure:
            pooler.close_clients()
            raise AssertionError("%d in, then %s" % (len(clients), failure)) from None
        return clients
    clients = wait_for(filled, "room for all that the limit allows")
    for _ in range(3):
        beyond = pooler.wire()
        beyond.startup("bob", "p0")
        fatal(beyond, text)
    for client in clients:
        still_works(client)


def test_lm03_limits_of_servers(field, pg):
    """Never more than allowed, seen from PostgreSQL, whatever else asks for servers."""
    pooler = field(canaries=(("p1", "alice"),), databases={
        "p0": "pool_size=4 min_pool_size=2 reserve_pool=2 max_db_connections=5",
        "p1": "", "p2": "dbname=p0 user=carol", "p3": "dbname=p2"},
        max_user_connections="4", reserve_pool_timeout="0.01", server_idle_timeout="0.05")
    clients = [pooler.client(database, user, host=pooler.socket_dir)
               for database, user in [("p0", "bob"), ("p0", "carol"), ("p2", "bob"), ("p3", "bob"),
                                      ("p0", "alice"), ("p2", "alice")] for _ in range(5)]
    left = {client: 8 for client in clients}
    for client in clients:
        client.send_raw(wire.query("SELECT pg_sleep(0.004)"))
    deadline = time.monotonic() + 20 * SLACK
    with pg.connect("postgres") as watcher:
        while left:
            assert time.monotonic() < deadline, "%d clients hang" % len(left)
            rows = watcher.execute(
                "SELECT usename, datname, count(*) FROM pg_stat_activity WHERE backend_type ="
                " 'client backend' AND usename IN ('bob', 'carol', 'alice') AND application_name <>"
                " 'past the pooler' GROUP BY 1, 2").fetchall()
            for user in ("bob", "carol", "alice"):
                assert sum(row[2] for row in rows if row[0] == user) <= 4 + (user == "alice"), rows
            ready, _, _ = select.select([client.sock for client in left], [], [], 0.005)
            for client in [client for client in left if client.sock in ready]:
                assert client.result().errors == []
                left[client] -= 1
                if left[client] == 0:
                    del left[client]
                else:
                    client.send_raw(wire.query("SELECT pg_sleep(0.004)"))
            row = pooler.show("DATABASES", name="p0")[0]
            assert row["current_connections"] <= 5


# Time limits

def begun_transaction(client):
    client.query("BEGIN")


def kept_busy(client):
    """In a transaction, never idle, no query of its own long enough."""
    client.query("BEGIN")
    client.send_raw(b"".join(wire.query("SELECT pg_sleep(0.02)") for _ in range(100)))


def running(client):
    client.send_raw(wire.query("SELECT pg_sleep(3)"))


TIME_LIMITS = {
    "query_timeout": (running, "query timeout"),
    "idle_transaction_timeout": (begun_transaction, "idle transaction timeout"),
    "transaction_timeout": (kept_busy, "transaction timeout"),
    "client_idle_timeout": (lambda client: None, "client_idle_timeout"),
    "query_wait_timeout": (running, "query_wait_timeout"),
    "client_login_timeout": (None, "client_login_timeout"),
}


@pytest.mark.parametrize("setting", TIME_LIMITS)
@pytest.mark.parametrize("value", ["0", str(0.25 * SLACK), "4000000000"], ids=["0", "soon", "late"])
def test_lm04_time_limits(field, setting, value):
    """Each ends its own kind of client, once, with its own words, never early; 0 is never."""
    begin_state, text = TIME_LIMITS[setting]
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"}, tcp_defer_accept="0")
    pooler.client("p2").query("SELECT 1")
    pooler.close_clients()
    pooler.admin("SET %s = '%s'" % (setting, value))
    if setting == "query_wait_timeout":
        pooler.client("p2").query("BEGIN")
    client = pooler.wire()
    begin = time.monotonic()
    if begin_state is not None:
        client.login("bob", "p2")
        begin = time.monotonic()
        begin_state(client)
    if value in ("0", "4000000000"):
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline and client.has_data(max(0, deadline - time.monotonic())):
            assert client.read().type in "TDCZ"
        assert not client.is_closed()
        if begin_state is None:
            still_works(client.login("bob", "p0"))
        return
    with contextlib.suppress(EOFError):
        while True:
            got = client.read()
            assert got.type != "E" or wire.parse_fields(got.body)["M"] == text
            last = got
    assert last.type == "E"
    assert 0.24 * SLACK <= time.monotonic() - begin <= 1.25 * SLACK
    pooler.admin("RELOAD")


def test_lm04_senseless_time_limits(field):
    pooler = field()
    admin = pooler.console()
    field.watch.events += 60
    for setting in TIME_LIMITS:
        for value in ("-1", "-0.5", "x", "1e9", "1s", "0x10", "", "nan", "99999999999999999999"):
            result = send_command(admin, "SET %s = '%s'" % (setting, value))
            assert [error["M"] for error in result.errors] == ["SET failed"], (setting, value)


def send_command(client, sql):
    client.send_raw(wire.query(sql))
    return client.result()


def test_lm05_three_hundred_who_wait(field):
    """Each is told, in the order in which they came, and none early."""
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"},
                   max_client_conn="400", query_wait_timeout=str(0.5 * SLACK))
    holder = pooler.client("p2")
    holder.query("BEGIN")
    clients = []
    for _ in range(300):
        client = pooler.client("p2", host=pooler.socket_dir)
        client.asked = time.monotonic()
        client.send_raw(wire.query("SELECT 1"))
        clients.append(client)
    poll = select.poll()
    by_fd = {client.sock.fileno(): place for place, client in enumerate(clients)}
    for client in clients:
        poll.register(client.sock, select.POLLIN)
    order = []
    deadline = time.monotonic() + 3 * SLACK
    while len(order) < len(clients):
        assert time.monotonic() < deadline, "%d still wait" % (len(clients) - len(order))
        for fd, _ in poll.poll(100):
            place = by_fd[fd]
            assert 0.45 * SLACK <= time.monotonic() - clients[place].asked <= 1.5 * SLACK
            fatal(clients[place], "query_wait_timeout")
            poll.unregister(fd)
            order.append(place)
    log = [line for line in pooler.log().splitlines()
           if "closing because: query_wait_timeout" in line]
    assert len(log) == 300
    holder.query("COMMIT")
    field.watch.memory_kib += 512
