"""How a pool opens its servers: one attempt, then several at once, and pauses after failures."""

import contextlib
import socket
import threading
import time

from support import fake_server as fake
from support import wire
from support.fake_server import FakeServer
from support.process import SLACK, wait_for


class SlowLogins:
    """A server whose logins take a while; knows how many were under way at once, and when."""

    def __init__(self, seconds=0.2):
        self.seconds = seconds
        self.lock = threading.Lock()
        self.under_way = self.peak = self.done = 0
        self.begun = []   # (moment, under way with it, done before it)
        self.failing = lambda number: False

    def script(self, side):
        if side.read_startup() is None:
            return
        with self.lock:
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
            self.begun.append((time.monotonic(), self.under_way, self.done))
            number = len(self.begun)
        time.sleep(self.seconds)
        with self.lock:
            self.under_way -= 1
            failing = self.failing(number)
            self.done += not failing
        if failing:
            side.send_error("too many clients already", sqlstate="53300")
            return
        side.welcome()
        side.serve(answer)


def answer(side, sql):
    if sql.startswith("sleep"):
        time.sleep(0.5)
    return fake.answer(side.number, "T" if sql == "BEGIN" else "I")


def start(start_pooler, server, **settings):
    return start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction", **settings)


def waiting_clients(pooler, count, sql="BEGIN"):
    """Clients of a pool that had a server once; each has sent something."""
    clients = [pooler.client() for _ in range(count)]
    for client in clients:
        client.send_raw(wire.query(sql))
    return clients


def test_cold_pool_fills_in_steps(start_pooler, fake_server):
    """50 clients wait for 20 servers: the first login alone, then up to 16 at once."""
    logins = SlowLogins(0)
    server = fake_server(logins.script)
    pooler = start(start_pooler, server, default_pool_size="20")
    pooler.client().query("SELECT 1")
    pooler.admin("SET server_idle_timeout = '0.05'")
    wait_for(lambda: not pooler.show("SERVERS"), "it is cold again")
    pooler.admin("SET server_idle_timeout = 600")
    logins.__init__(0.2)
    began = time.monotonic()
    clients = waiting_clients(pooler, 50)
    pooler.wait_pool(sv_active=20, cl_waiting=30)
    took = time.monotonic() - began
    assert len(logins.begun) == 20
    assert logins.begun[0][1:] == (1, 0) and logins.begun[1][2] == 1, "the first one was not alone"
    assert all(under_way <= 2 ** done for _, under_way, done in logins.begun[:8]), logins.begun
    assert 8 <= logins.peak <= 16
    assert took < 2 * SLACK, "one by one it takes four seconds"
    for client in clients[:20]:
        assert client.result().tags


def test_never_more_than_wait(start_pooler, fake_server):
    logins = SlowLogins(0.1)
    pooler = start(start_pooler, fake_server(logins.script), default_pool_size="20")
    holders = waiting_clients(pooler, 8)
    for client in holders:
        client.result()
    before = len(logins.begun)
    for client in waiting_clients(pooler, 3):
        client.result()
    assert len(logins.begun) == before + 3 == 11


def test_server_that_nobody_waits_for_any_more(start_pooler, fake_server):
    """Becomes idle."""
    logins = SlowLogins(0.3)
    pooler = start(start_pooler, fake_server(logins.script), default_pool_size="20")
    (holder,) = waiting_clients(pooler, 1)
    holder.result()
    leaving = waiting_clients(pooler, 2)
    pooler.wait_pool(sv_login=2)
    for client in leaving:
        client.close()
    pooler.wait_pool(cl_waiting=0, sv_login=2)
    pooler.wait_pool(sv_login=0, sv_idle=2, sv_active=1)


def test_failure_ends_the_rush(start_pooler, fake_server):
    """PostgreSQL has no more room: one attempt at a time, and not too often."""
    logins = SlowLogins(0.05)
    logins.failing = lambda number: number > 8
    pooler = start(start_pooler, fake_server(logins.script), default_pool_size="50",
                   server_login_retry="0.3")
    waiting_clients(pooler, 8)
    pooler.wait_pool(sv_active=8)
    waiting_clients(pooler, 30)
    wait_for(lambda: len(logins.begun) >= 8 + 16 + 3, "it is tried again", timeout=10)
    failed = [(when, under_way) for when, under_way, _ in logins.begun[8:]]
    later = [(when, under_way) for when, under_way in failed if when > failed[0][0] + 0.2]
    assert later and all(under_way == 1 for _, under_way in later), failed
    gaps = [b - a for (a, _), (b, _) in zip(later, later[1:])]
    assert min(gaps) >= 0.2, gaps
    pooler.wait_pool(sv_active=8, cl_waiting=30)


def test_outage_begins_with_one_attempt(start_pooler, fake_server):
    """All servers are lost: whoever asks, one attempt is made at a time until one succeeds."""
    logins = SlowLogins(0.1)
    server = fake_server(logins.script)
    pooler = start(start_pooler, server, default_pool_size="20", server_login_retry="0.2")
    for client in waiting_clients(pooler, 20, "SELECT 1"):
        client.result()
    pooler.wait_pool(sv_login=0)
    clients = [pooler.client() for _ in range(10)]
    logins.__init__(0.1)
    logins.failing = lambda number: number <= 2
    for side in server.sides:
        with contextlib.suppress(OSError):
            side.sock.shutdown(socket.SHUT_RDWR)
    pooler.wait_pool(sv_idle=0)
    for client in clients:
        client.send_raw(wire.query("BEGIN"))
    for client in clients:
        assert client.expect_any_error()["M"] == "too many clients already"
    assert len(logins.begun) == logins.peak == 1
    welcome = [pooler.client() for _ in range(10)]

    def refused_until_it_is_back():
        asking = pooler.client()
        asking.send_raw(wire.query("SELECT 1"))
        return asking.has_data(1) and asking.peek_type() == "T"
    wait_for(refused_until_it_is_back, "it is back", pause=0.05)
    assert len(logins.begun) == 3 and logins.peak == 1
    for client in welcome:
        client.send_raw(wire.query("BEGIN"))
    for client in welcome:
        assert client.result().status == "T"
    assert 1 < logins.peak <= 10


def test_reserve_is_opened_one_by_one(start_pooler, fake_server):
    """Each needs a client that has waited long enough itself."""
    logins = SlowLogins(0.1)
    pooler = start(start_pooler, fake_server(logins.script), default_pool_size="8",
                   reserve_pool_size="4", reserve_pool_timeout="0.3")
    waiting_clients(pooler, 8)
    pooler.wait_pool(sv_active=8)
    before = logins.peak
    assert before > 1
    logins.peak = 0
    waiting_clients(pooler, 6)
    pooler.wait_pool(sv_active=12, cl_waiting=2)
    assert logins.peak == 1


# Hosts

def test_dead_host_of_a_list_costs_no_pause(start_pooler, fake_server):
    """The next one is tried at once, by round robin and by `disable`."""
    server = fake_server()
    for balance in ("round-robin", "disable"):
        pooler = start_pooler(pool_mode="transaction", server_login_retry="30", databases={
            "p0": "host=127.0.0.2,127.0.0.1 port=%d load_balance_hosts=%s"
                  % (server.port, balance)})
        clients = [pooler.client() for _ in range(4)]
        for client in clients:
            client.query("SELECT 1")
        assert pooler.log().count("sbuf_connect failed") == 1, "the dead one is left alone"
        pooler.stop()


def test_failed_host_is_tried_again_soon(start_pooler, fake_server):
    """After a sixteenth of server_login_retry, then twice as long, and so on."""
    starting = FakeServer(refusing("57P03"), host="127.0.0.2")
    with contextlib.closing(starting):
        server = fake_server(refusing("57P03"), starting.port)
        pooler = start_pooler(pool_mode="transaction", server_login_retry="4", databases={
            "p0": "host=127.0.0.2,127.0.0.1 port=%d" % server.port})
        client = pooler.wire()
        client.startup("bob", "p0")
        wait_for(lambda: len(server.sides) >= 3, "three attempts")
        began = time.monotonic()
        server.script = fake.serve_number
        client.authenticate()
        client.welcome()
        assert time.monotonic() - began < 2.5 * SLACK
        assert len(starting.sides) >= 2


def refusing(sqlstate):
    def refuse(side):
        side.read_startup()
        side.send_error("refused", sqlstate=sqlstate)
    return refuse


def test_all_hosts_are_asked_before_clients_are_refused(start_pooler, fake_server):
    """One that is full or shutting down is no answer while another has not been asked."""
    full = FakeServer(refusing("53300"), host="127.0.0.2")
    with contextlib.closing(full):
        server = fake_server(port=full.port)
        pooler = start_pooler(pool_mode="transaction", server_login_retry="30", databases={
            "p0": "host=127.0.0.2,127.0.0.1 port=%d" % server.port})
        client = pooler.client()
        assert client.value("SELECT 1") == "1"
        assert len(full.sides) == 1
        server.script = refusing("57P01")
        pooler.admin("RECONNECT")
        client.send_raw(wire.query("SELECT 1"))
        client.expect_error("refused", sqlstate="57P01")


def test_wrong_password_pauses_all_hosts(start_pooler, fake_server):
    """It is no better elsewhere: server_login_retry counts."""
    other = FakeServer(refusing("28P01"), host="127.0.0.2")
    with contextlib.closing(other):
        server = fake_server(refusing("28P01"), other.port)
        pooler = start_pooler(pool_mode="transaction", server_login_retry="0.5", databases={
            "p0": "host=127.0.0.2,127.0.0.1 port=%d" % server.port})
        for _ in range(3):
            client = pooler.wire()
            client.startup("bob", "p0")
            client.expect_error("refused", sqlstate="28P01")
        assert len(server.sides) + len(other.sides) == 3
        wait_for(lambda: all(hasattr(side, "ended") for side in server.sides + other.sides),
                 "the last one has ended")
        times = sorted(side.ended for side in server.sides + other.sides)
        assert min(b - a for a, b in zip(times, times[1:])) > 0.4
