"""Cancel requests that are wrong, late, too many, or stuck."""

import contextlib
import os
import random
import socket
import struct
import threading
import time

import pytest

from support import wire
from support.fake_server import answer, command_complete, parameter_status, ready
from support.process import SLACK, wait_for
from support.truth import check_counters, unharmed

SLEEP = "SELECT pg_sleep(20)"


def request(key):
    return wire.special_packet(wire.CANCEL_REQUEST, key)


def sleeping(pg, count=1):
    """The query runs: a request that is earlier than its query hits nothing."""
    wait_for(lambda: len(pg.backends("query = '%s' AND state = 'active'" % SLEEP)) == count,
             "the query runs")


def send(pooler, data):
    """Sends it, and expects the end without a byte."""
    with wire.Client(pooler.host, pooler.port) as requester:
        requester.send_raw(data)
        requester.expect_eof()


# CA01

def test_keys_that_name_nobody(pooler):
    """Ended without a word, also when only a bit is wrong; nobody's query suffers."""
    victim = pooler.client()
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler):
        victim.send_raw(wire.query("SELECT pg_sleep(0.7), 'whole'"))
        key = int.from_bytes(victim.key, "big")
        for bit in range(64):
            send(pooler, request((key ^ (1 << bit)).to_bytes(8, "big")))
        for wrong in (bytes(8), b"\xff" * 8, victim.key[::-1], victim.key[:4] + bytes(4)):
            send(pooler, request(wrong))
        assert victim.result().rows[0][1] == "whole"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 9, 16, 32, 256, 257, 1000])
def test_keys_of_other_sizes(pooler, size):
    """The end, or the error for a packet that is none; never a cancel."""
    victim = pooler.client()
    victim.send_raw(wire.query("SELECT pg_sleep(0.2), 'whole'"))
    with wire.Client(pooler.host, pooler.port) as requester:
        requester.send_raw(request((victim.key * 130)[:size]))
        got = requester.wait_closed()
    assert [wire.parse_fields(m.body)["C"] for m in got] in ([], ["08P01"])
    assert victim.result().rows[0][1] == "whole"


# CA02

def guess(pooler, source, *keys):
    """Sends all keys at once, each on a connection of its own."""
    with contextlib.ExitStack() as stack:
        requesters = [stack.enter_context(socket.socket()) for _ in keys]
        for requester in requesters:
            requester.bind((source, 0))
            requester.settimeout(10)
            requester.connect((pooler.host, pooler.port))
        for requester, key in zip(requesters, keys):
            requester.sendall(request(key))
        for requester in requesters:
            assert requester.recv(1) == b""


def test_who_guesses_is_soon_not_listened_to(pooler, pg):
    """Nor is a right key of that address, for a moment; nobody else notices anything."""
    victim = pooler.client()
    wrong = bytes(8)
    began = time.monotonic()
    for _ in range(1000):
        guess(pooler, "127.0.0.2", wrong)
    for _ in range(int((time.monotonic() - began) * 10) + 50):
        guess(pooler, "127.0.0.2", wrong)
    victim.send_raw(wire.query(SLEEP))
    sleeping(pg)
    guess(pooler, "127.0.0.2", *[wrong] * 60, victim.key)
    victim.expect_silence(0.05)
    guess(pooler, "127.0.0.3", victim.key)
    assert victim.result().errors[0]["C"] == "57014"
    victim.send_raw(wire.query(SLEEP))
    sleeping(pg)
    time.sleep(0.2)
    guess(pooler, "127.0.0.2", victim.key)
    assert victim.result().errors[0]["C"] == "57014"


# CA02, CA10

def test_keys_are_random_and_many_guesses_fail(pooler):
    clients = [pooler.client() for _ in range(80)]
    keys = {client.key for client in clients}
    assert len(keys) == len(clients) and all(len(key) == 8 for key in keys)
    ones = sum(bin(int.from_bytes(key, "big")).count("1") for key in keys)
    assert 0.4 < ones / (64 * len(keys)) < 0.6
    places = [{key[n] for key in keys} for n in range(8)]
    assert all(len(values) > 30 for values in places)
    victim = clients[0]
    victim.send_raw(wire.query("SELECT pg_sleep(1), pg_backend_pid()"))
    draw = random.Random(1)
    with unharmed(pooler, canary=None, log_bytes=1 << 20):
        for _ in range(300):
            send(pooler, request(draw.randbytes(8)))
        # Not the key that PostgreSQL gave to the pooler: its first half is the process's number.
        pid = int(victim.result().rows[0][1])
    assert pid not in {struct.unpack("!i", key[:4])[0] for key in keys}


# CA03

class SlowCancels:
    """Between pooler and PostgreSQL: ordinary connections pass, cancel requests come late."""

    def __init__(self, port, delay):
        self.target, self.delay, self.count = port, delay, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, near):
        with near, socket.create_connection(("127.0.0.1", self.target)) as far:
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = near.recv(65536)
            if first[4:8] == struct.pack("!i", wire.CANCEL_REQUEST):
                self.count += 1
                time.sleep(self.delay())
            far.sendall(first)
            back = threading.Thread(target=self.pass_on, args=(far, near), daemon=True)
            back.start()
            self.pass_on(near, far)
            back.join()

    @staticmethod
    def pass_on(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_late_cancel_never_hits_the_next_client(start_pooler, pg):
    """The request is under way for up to 100 ms, while its query ends and others get the server."""
    draw = random.Random(3)
    proxy = SlowCancels(pg.port, lambda: draw.random() * 0.1)
    try:
        pooler = start_pooler(pool_mode="transaction", max_client_conn="500", databases={
            "p0": "host=127.0.0.1 port=%d pool_size=2" % proxy.port})
        victims = [pooler.client() for _ in range(4)]
        others = [pooler.client() for _ in range(4)]
        stop, wrong, answered = threading.Event(), [], []

        def innocent(client, n):
            while not stop.is_set():
                client.send_raw(wire.query("SELECT pg_sleep(0.003), %d" % n))
                result = client.result()
                if result.errors or result.rows[0][1] != str(n):
                    wrong.append((result.errors, result.rows))
                answered.append(n)
        threads = [threading.Thread(target=innocent, args=(client, n))
                   for n, client in enumerate(others)]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + 15 * SLACK
            while proxy.count < 40 and time.monotonic() < end:
                for victim in victims:
                    victim.send_raw(wire.query("SELECT pg_sleep(0.004)"))
                for victim in victims:
                    time.sleep(draw.random() * 0.006)
                    victim.cancel(wait=False).close()
                for victim in victims:
                    result = victim.result()
                    assert not result.errors or result.errors[0]["C"] == "57014"
        finally:
            stop.set()
            for thread in threads:
                thread.join(30 * SLACK)
        assert wrong == []
        assert proxy.count > 5 and len(answered) > 20
        pooler.wait_pool(cl_active=8, sv_active=0, sv_being_canceled=0, cl_active_cancel_req=0,
                         cl_waiting_cancel_req=0, sv_active_cancel=0)
        check_counters(pooler, pg)
    finally:
        proxy.close()


def test_hundred_requests_for_one_query(start_pooler, pg):
    """However many, the query after that one runs."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", max_client_conn="300")
    client, other = pooler.client(), pooler.client()
    for n in range(3):
        client.send_raw(wire.query(SLEEP))
        sleeping(pg)
        other.send_raw(wire.query("SELECT %d" % n))
        requesters = [client.cancel(wait=False) for _ in range(100)]
        assert client.result().errors[0]["C"] == "57014"
        result = other.result()
        assert not result.errors and result.value == str(n)
        for requester in requesters:
            requester.expect_eof()
            requester.close()
        assert client.value("SELECT %d" % n) == str(n)
    check_counters(pooler, pg)


# CA04

def test_stuck_request_does_not_shrink_the_pool(start_pooler, fake_server):
    """The server is held back for cancel_wait_timeout, then replaced; again and again."""
    hold = {}

    def script(side):
        if not side.log_in():
            side.sock.settimeout(None)
            side.read_bytes(1)  # takes the request and says nothing
            return
        while side.read().type == "Q":
            hold.setdefault(side.number, threading.Event()).wait(10 * SLACK)
            side.send_raw(answer(side.number))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          default_pool_size="1", cancel_wait_timeout="0.4", query_wait_timeout="0")
    client, other = pooler.client(), pooler.client()
    for _ in range(3):
        client.send_raw(wire.query("SELECT 1"))
        pooler.wait_pool(sv_active=1)
        number = max(hold, default=0)
        wait_for(lambda: max(hold, default=0) > number or number and not hold[number].is_set(),
                 "the query has arrived")
        number = max(hold)
        count = len(server.cancels)
        requester = client.cancel(wait=False)
        wait_for(lambda: len(server.cancels) > count, "the request has arrived")
        hold[number].set()
        assert client.result().value == str(number)
        pooler.wait_pool(sv_being_canceled=1)
        other.send_raw(wire.query("SELECT 2"))
        requester.expect_eof()
        requester.close()
        wait_for(lambda: max(hold) > number, "a new server")
        hold[max(hold)].set()
        assert int(other.result().value) > number
        hold[max(hold)].clear()
    pooler.wait_pool(sv_being_canceled=0, sv_active_cancel=0, cl_active_cancel_req=0, sv_idle=1)


# CA05

def test_client_that_is_logging_in(start_pooler, pg):
    """Nobody knows its key, not even itself; a guess harms nobody."""
    pooler = start_pooler(pool_mode="transaction")
    pg.stop()
    try:
        waiting = pooler.wire()
        waiting.startup("bob", "p0")
        pooler.wait_pool(cl_waiting=1)
        send(pooler, request(bytes(8)))
        send(pooler, request(os.urandom(8)))
    finally:
        pg.start()
    waiting.authenticate()
    waiting.welcome()
    assert waiting.value("SELECT 1") == "1"


def slow_set(side, started, go):
    """A server whose SET takes until it is told to go on."""
    def reply(side, sql):
        if "SET" in sql:
            started.set()
            go.wait(10 * SLACK)
            return parameter_status("TimeZone", "Asia/Tokyo") + command_complete("SET") + ready()
        return answer("own")
    if side.log_in():
        side.serve(reply)


def test_while_our_own_set_runs(start_pooler, fake_server):
    """Ignored: it would hit a statement that is not the client's."""
    started, go = threading.Event(), threading.Event()
    server = fake_server(lambda side: slow_set(side, started, go))
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction")
    client = pooler.client(TimeZone="Asia/Tokyo")
    client.send_raw(wire.query("SELECT 1"))
    assert started.wait(5 * SLACK)
    client.cancel()
    go.set()
    result = client.result()
    assert (result.types, result.value) == ("TDCZ", "own")
    assert server.cancels == []
    assert "server that is setting vars" in pooler.log()


def test_while_the_reset_query_runs(start_pooler, fake_server):
    """The key died with its client: the reset is not cancelled."""
    started, go = threading.Event(), threading.Event()

    def reply(side, sql):
        if sql == "RESET IT":
            started.set()
            go.wait(10 * SLACK)
            return command_complete("RESET") + ready()
        return answer(side.number)

    def script(side):
        if side.log_in():
            side.serve(reply)
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, default_pool_size="1",
                          server_reset_query="RESET IT")
    client = pooler.client()
    client.query("SELECT 1")
    client.terminate()
    assert started.wait(5 * SLACK)
    send(pooler, request(client.key))
    go.set()
    assert pooler.client().value("SELECT 1") == "1"
    assert server.cancels == []


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_client_that_does_nothing(start_pooler, mode):
    """Idle, just served, in an idle transaction: no error, and no ReadyForQuery too many."""
    pooler = start_pooler(pool_mode=mode)
    client = pooler.client()
    for n in range(20):
        assert client.value("SELECT %d" % n) == str(n)
        client.cancel(wait=n % 2 == 0)
    client.expect_silence(0.05)
    client.query("BEGIN")
    client.cancel()
    client.expect_silence(0.05)
    client.query("COMMIT")
    client.cancel()
    assert client.query("SELECT 'end'").types == "TDCZ"


def test_paused_client(pooler):
    """It waits for RESUME; the request answers it instead, once."""
    client = pooler.client()
    client.query("SELECT 1")
    pooler.admin("PAUSE")
    client.send_raw(wire.query("SELECT 2"))
    pooler.wait_pool(cl_waiting=1)
    client.cancel()
    assert client.result().errors[0]["C"] == "57014"
    pooler.admin("RESUME")
    client.expect_silence(0.05)
    assert client.value("SELECT 3") == "3"


# CA06

def test_flood_with_a_full_pool(start_pooler, pg):
    """Requests for running, waiting and idle clients at once; queries go on, nothing is left."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="2", max_client_conn="2000",
                          log_connections="0", log_disconnections="0", log_pooler_errors="0")
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler, memory_kib=2048, log_bytes=1 << 20):
        clients = [pooler.client() for _ in range(6)]
        for client in clients[:4]:
            client.send_raw(wire.query(SLEEP))
        pooler.wait_pool(cl_waiting=2, sv_active=2)
        sleeping(pg, 2)
        requesters = []
        for _ in range(100):
            for client in clients:
                requesters.append(wire.Client(pooler.host, pooler.port))
                requesters[-1].send_raw(request(client.key))
        for client in clients[:4]:
            assert client.result().errors[0]["C"] == "57014"
        for requester in requesters:
            requester.expect_eof()
            requester.close()
        for n, client in enumerate(clients):
            assert client.value("SELECT %d" % n) == str(n)
            client.terminate()
        pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0, sv_active_cancel=0,
                         sv_being_canceled=0, cl_active_cancel_req=0, cl_waiting_cancel_req=0)
        check_counters(pooler, pg)
        pooler.admin("RECONNECT p0")
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its servers are gone")


@pytest.mark.parametrize("how", ["requester", "server"])
def test_talk_where_nothing_is_to_be_said(start_pooler, pg, fake_server, how):
    """Bytes without end behind a request, or in place of its receipt: others are served meanwhile."""
    block = b"x" * (1 << 18)

    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: None)
        elif how == "server":
            while True:
                side.sock.sendall(block)
        else:
            side.read_bytes(1)
    server = fake_server(script)
    pooler = start_pooler(pool_mode="transaction", cancel_wait_timeout="1", databases={
        "p0": "host=127.0.0.1 port=%d" % server.port,
        "p1": "host=127.0.0.1 port=%d" % pg.port})
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler):
        client = pooler.client()
        client.send_raw(wire.query("SELECT 1"))
        pooler.wait_pool(sv_active=1)
        requester = client.cancel(wait=False)
        if how == "requester":
            with pytest.raises(OSError):
                for _ in range(4000):
                    requester.sock.sendall(block)
        else:
            requester.expect_eof()
        requester.close()
        pooler.wait_pool(cl_active_cancel_req=0, cl_waiting_cancel_req=0, sv_active_cancel=0)
        client.close()
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its server is gone")


# CA07

@pytest.mark.parametrize("how", ["close", "reset"])
def test_requesters_that_leave_at_every_byte(start_pooler, pg, how):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    client = pooler.client()
    data = request(client.key)
    pooler.value("SELECT 1", dbname="p1", user="alice")
    client.query("SELECT 1")
    with unharmed(pooler):
        for size in range(len(data)):
            requester = wire.Client(pooler.host, pooler.port)
            requester.send_raw(data[:size])
            getattr(requester, how)()
        client.send_raw(wire.query(SLEEP))
        sleeping(pg)
        requester = wire.Client(pooler.host, pooler.port)
        requester.send_raw(data)
        getattr(requester, how)()
        assert client.result().errors[0]["C"] == "57014"
        assert client.value("SELECT 2") == "2"
