"""Cancel requests: they reach the query they were meant for, and nothing else."""

import os
import signal
import threading
import time

import psycopg
import pytest

from support import wire
from support.fake_server import FakeServer, answer
from support.process import SLACK, free_port, open_descriptors, wait_for

SLEEP = "DO $$BEGIN RAISE NOTICE 'it runs'; PERFORM pg_sleep(10); END$$"


def start_sleep(client):
    """PostgreSQL ignores a request that comes before it has begun with the query."""
    client.send_raw(wire.query(SLEEP))
    client.expect("N")


def cancel(pooler, key, host=None):
    """Sends a request and waits for the end, which comes without a byte."""
    with wire.Client(host or pooler.host, pooler.port) as requester:
        requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, key))
        requester.expect_eof()


def expect_cancelled(client):
    with pytest.raises(wire.ServerError) as caught:
        client.result().check()
    assert (caught.value.severity, caught.value.sqlstate) == ("ERROR", "57014")


@pytest.mark.parametrize("host", ["tcp", "unix"])
def test_running_query(pooler, host):
    client = pooler.client()
    start_sleep(client)
    cancel(pooler, client.key, pooler.socket_dir if host == "unix" else None)
    expect_cancelled(client)
    assert client.value("SELECT 1") == "1"
    pooler.wait_pool(sv_active=0, sv_idle=1, cl_active_cancel_req=0, cl_waiting_cancel_req=0)


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_psycopg_cancel(start_pooler, mode):
    pooler = start_pooler(pool_mode=mode)
    with pooler.connect() as connection:
        timer = threading.Timer(0.2, connection.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(SLEEP)
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_running_query_with_a_full_pool(start_pooler):
    """The request needs no server of the pool."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    client, waiting = pooler.client(), pooler.client()
    start_sleep(client)
    waiting.send_raw(wire.query("SELECT 2"))
    pooler.wait_pool(cl_waiting=1)
    cancel(pooler, client.key)
    expect_cancelled(client)
    assert waiting.result().value == "2"


def test_wrong_key(pooler):
    client = pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(0.5), 7"))
    for key in (os.urandom(8), bytes(8), client.key[:4] + b"\0\0\0\0"):
        cancel(pooler, key)
    assert client.result().rows[0][1] == "7"
    assert "failed cancel request" in pooler.log()


@pytest.mark.parametrize("extra", [b"", b"1234", b"1234567", b"123456789", b"x" * 1000])
def test_wrong_length(pooler, extra):
    with wire.Client(pooler.host, pooler.port) as requester:
        requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, extra))
        requester.wait_closed()
    assert pooler.value("SELECT 1") == 1


def test_idle_client(pooler):
    client = pooler.client()
    client.query("SELECT 1")
    cancel(pooler, client.key)
    assert client.value("SELECT 2") == "2"


def test_client_in_an_idle_transaction(pooler):
    client = pooler.client()
    client.query("BEGIN")
    cancel(pooler, client.key)
    assert client.value("SELECT 2") == "2"


def test_waiting_query(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    holder, waiting = pooler.client(), pooler.client()
    holder.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=1)
    cancel(pooler, waiting.key)
    expect_cancelled(waiting)
    pooler.wait_pool(cl_waiting=0)
    holder.query("COMMIT")
    assert waiting.value("SELECT 3") == "3"


def test_waiting_pipeline(start_pooler):
    """It cannot be answered without a server, so it ends."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    holder, waiting = pooler.client(), pooler.client()
    holder.query("BEGIN")
    waiting.send_raw(wire.extended("SELECT 1") + wire.sync())
    pooler.wait_pool(cl_waiting=1)
    cancel(pooler, waiting.key)
    waiting.expect_error("canceling statement due to user request")
    holder.query("COMMIT")


def test_console_client(pooler):
    admin = pooler.console()
    cancel(pooler, admin.key)
    assert admin.query("SHOW VERSION").rows


def test_paused(pooler):
    client = pooler.client()
    start_sleep(client)
    admin = pooler.console()
    admin.send_raw(wire.query("PAUSE"))
    cancel(pooler, client.key)
    expect_cancelled(client)
    assert admin.result().tags == ["PAUSE"]
    pooler.admin("RESUME")


def test_never_the_next_client(start_pooler):
    """Requests for one client's quick queries race with another client on the same server."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    victim, innocent = pooler.client(), pooler.client()
    stop = threading.Event()

    def fire():
        while not stop.is_set():
            cancel(pooler, victim.key)
    threads = [threading.Thread(target=fire) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        cancelled = 0
        for n in range(150):
            victim.send_raw(wire.query("SELECT pg_sleep(0.002)"))
            innocent.send_raw(wire.query("SELECT pg_sleep(0.004), %d" % n))
            cancelled += bool(victim.result().errors)
            assert innocent.result().check().rows[0][1] == str(n)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert cancelled > 0
    pooler.wait_pool(sv_being_canceled=0, cl_active_cancel_req=0, cl_waiting_cancel_req=0)


def test_flood(pooler):
    client = pooler.client()
    start_sleep(client)
    before = open_descriptors(pooler.pid)
    requesters = [wire.Client(pooler.host, pooler.port) for _ in range(90)]
    for requester in requesters:
        requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, client.key))
    for requester in requesters:
        requester.expect_eof()
        requester.close()
    expect_cancelled(client)
    assert client.value("SELECT 1") == "1"
    wait_for(lambda: open_descriptors(pooler.pid) <= before + 2, "nothing is left")
    pooler.wait_pool(sv_active=0, sv_active_cancel=0, cl_active_cancel_req=0)


def test_requester_that_leaves(pooler):
    client = pooler.client()
    start_sleep(client)
    requester = wire.Client(pooler.host, pooler.port)
    requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, client.key))
    requester.reset()
    expect_cancelled(client)


def test_waiting_client_that_was_reset(start_pooler):
    """The answer to its cancelled query tells that it is gone."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    holder, client = pooler.client(), pooler.client()
    holder.query("BEGIN")
    pooler.signal(signal.SIGSTOP)
    client.send_raw(wire.query("SELECT 1"))
    client.reset()
    time.sleep(0.1)
    pooler.signal(signal.SIGCONT)
    pooler.wait_pool(cl_waiting=1)
    client.cancel()
    pooler.wait_pool(cl_active=1, cl_waiting=0)


def test_key_of_the_server_is_sent(start_pooler, fake_server):
    """With its own address and its own key; the connection's end is the receipt."""
    running = threading.Event()

    def script(side):
        if side.log_in():
            while side.read().type != "X":
                running.set()
                wait_for(lambda: server.cancels, "the request")
                side.send_raw(answer("done"))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction")
    client = pooler.client()
    client.send_raw(wire.query("SELECT 1"))
    running.wait(5)
    cancel(pooler, client.key)
    assert client.result().value == "done"
    assert server.cancels == [server.logged_in[0].key]


def test_server_that_does_not_take_it(start_pooler, fake_server):
    """The requester is let go after cancel_wait_timeout, and the server is not used again."""
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: answer("done"))
        else:
            side.read_bytes(1)
    server = fake_server(script)
    hold = threading.Event()

    def slow(side):
        if side.log_in():
            while side.read().type == "Q":
                hold.wait(5)
                side.send_raw(answer(side.number))
        else:
            side.read_bytes(1)
    server.script = slow
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          cancel_wait_timeout="0.3")
    client = pooler.client()
    client.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(sv_active=1)
    cancel(pooler, client.key)
    hold.set()
    assert client.result().value == "1"
    assert client.value("SELECT 1") != "1"


def test_requests_while_the_database_is_removed(pooler):
    client = pooler.client("p1")
    start_sleep(client)
    requesters = [wire.Client(pooler.host, pooler.port) for _ in range(5)]
    for requester in requesters:
        requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, client.key))
    del pooler.databases["p1"]
    pooler.reload()
    client.wait_closed()
    for requester in requesters:
        requester.expect_eof()
        requester.close()
    assert pooler.value("SELECT 1") == 1


# Requests that wait

class Held:
    """A server whose queries and cancel requests end when they are told to."""

    def __init__(self, fake_server):
        self.queries = {}  # by number of the connection: lets the running query end
        self.let_go = threading.Semaphore(0)  # once for each cancel request
        self.server = fake_server(self.script)

    def script(self, side):
        side.sock.settimeout(None)
        if not side.log_in():
            self.let_go.acquire(timeout=20 * SLACK)
            return
        while side.read().type == "Q":
            gate = self.queries[side.number] = threading.Semaphore(0)
            gate.acquire(timeout=20 * SLACK)
            side.send_raw(answer(side.number))

    def run(self, client, number):
        before = self.queries.get(number)
        client.send_raw(wire.query("SELECT 1"))
        wait_for(lambda: self.queries.get(number) is not before, "the query runs")

    def finish(self, client, number):
        self.queries[number].release()
        return client.result().value

    def wait_requests(self, count):
        wait_for(lambda: len(self.server.cancels) == count, "%d requests have arrived" % count)


@pytest.fixture
def held(fake_server):
    return Held(fake_server)


def start_held(start_pooler, held, **settings):
    settings.setdefault("pool_mode", "session")
    return start_pooler(server=held.server, databases={"p0": ""}, server_reset_query="", **settings)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_never_the_next_query_of_the_same_client(start_pooler, held, mode):
    """A request that had to wait does not outlive the query that it was for."""
    pooler = start_held(start_pooler, held, pool_mode=mode)
    client = pooler.client()
    held.run(client, 1)
    first = client.cancel(wait=False)
    held.wait_requests(1)
    second = client.cancel(wait=False)
    pooler.wait_pool(cl_active_cancel_req=1, cl_waiting_cancel_req=1)
    assert held.finish(client, 1) == "1"
    number = 1 if mode == "session" else 3  # nobody gets the server that is held back
    held.run(client, number)
    third = client.cancel(wait=False)  # this one is for the query that runs now
    held.let_go.release()
    for requester in (first, second):
        requester.expect_eof()
    held.wait_requests(2)
    held.let_go.release()
    third.expect_eof()
    assert held.finish(client, number) == str(number)
    keys = {side.number: side.key for side in held.server.logged_in}
    assert held.server.cancels == [keys[1], keys[number]]
    pooler.wait_pool(cl_active_cancel_req=0, cl_waiting_cancel_req=0, sv_active_cancel=0,
                     sv_being_canceled=0)


def test_requests_for_the_same_query_are_one(start_pooler, held):
    """While one is under way, all that come after it are served by one more."""
    pooler = start_held(start_pooler, held, max_client_conn="500")
    client = pooler.client()
    held.run(client, 1)
    requesters = [client.cancel(wait=False)]
    held.wait_requests(1)
    requesters += [client.cancel(wait=False) for _ in range(60)]
    wait_for(lambda: len(pooler.show("CLIENTS", state="waiting_cancel_req")) == 61, "all are there")
    pooler.wait_pool(cl_active_cancel_req=1, cl_waiting_cancel_req=1)
    held.let_go.release()
    requesters[0].expect_eof()
    held.wait_requests(2)
    requesters[1].expect_silence(0.05)
    held.let_go.release()
    for requester in requesters[1:]:
        requester.expect_eof()
    assert held.finish(client, 1) == "1"
    assert len(held.server.cancels) == 2
    pooler.wait_pool(cl_active_cancel_req=0, cl_waiting_cancel_req=0, sv_active_cancel=0)


def test_their_number_is_bounded(start_pooler, held):
    """Sockets, too: who comes late is let go, as his request is on its way already."""
    pooler = start_held(start_pooler, held, max_client_conn="500")
    client = pooler.client()
    held.run(client, 1)
    before = open_descriptors(pooler.pid)
    requesters = [client.cancel(wait=False)]
    held.wait_requests(1)
    requesters += [client.cancel(wait=False) for _ in range(150)]
    for requester in requesters[101:]:
        requester.expect_eof()
    assert open_descriptors(pooler.pid) <= before + 102
    requesters[100].expect_silence(0.05)
    for requester in requesters[50:100]:
        requester.reset()  # those who leave make room
    wait_for(lambda: len(pooler.show("CLIENTS", state="waiting_cancel_req")) == 51, "they left")
    requesters.append(client.cancel(wait=False))
    requesters[-1].expect_silence(0.05)
    for _ in range(2):
        held.let_go.release()
    for requester in requesters[:50] + requesters[-1:]:
        requester.expect_eof()
    assert held.finish(client, 1) == "1" and len(held.server.cancels) == 2


def test_queue_of_a_pool(start_pooler, held):
    """As many connections as pool_size; the others wait in order, at most cancel_wait_timeout."""
    pooler = start_held(start_pooler, held, default_pool_size="2", reserve_pool_size="2",
                        reserve_pool_timeout="0.1", cancel_wait_timeout="1.5")
    clients = [pooler.client() for _ in range(4)]
    for number, client in enumerate(clients, 1):
        held.run(client, number)
    requesters = []
    for client in clients:
        requesters.append(client.cancel(wait=False))
        pooler.wait_pool(cl_waiting_cancel_req=max(0, len(requesters) - 2))
    held.wait_requests(2)
    pooler.wait_pool(cl_active_cancel_req=2, cl_waiting_cancel_req=2, sv_active_cancel=2)
    assert held.finish(clients[2], 3) == "3"  # nothing runs there any more
    held.let_go.release()
    held.wait_requests(3)
    requesters[2].expect_eof()
    keys = {side.key: side.number for side in held.server.logged_in}
    assert [keys[key] for key in held.server.cancels[2:]] == [4]
    for requester in requesters:
        requester.expect_eof()  # two are not taken in time
    assert pooler.log().count("closing because: cancel_wait_timeout") == 2
    pooler.wait_pool(cl_active_cancel_req=0, cl_waiting_cancel_req=0, sv_active_cancel=0)


def test_request_in_the_queue_is_given_up_in_time(start_pooler, held):
    pooler = start_held(start_pooler, held, default_pool_size="1", reserve_pool_size="1",
                        reserve_pool_timeout="0.1")
    clients = [pooler.client(), pooler.client()]
    for number, client in enumerate(clients, 1):
        held.run(client, number)
    first = clients[0].cancel(wait=False)
    held.wait_requests(1)
    pooler.admin("SET cancel_wait_timeout = '0.3'")
    queued = clients[1].cancel(wait=False)
    behind = clients[0].cancel(wait=False)
    pooler.wait_pool(cl_waiting_cancel_req=2)
    queued.expect_eof()
    behind.expect_eof()
    pooler.wait_pool(cl_active_cancel_req=1, cl_waiting_cancel_req=0)
    held.let_go.release()
    first.expect_eof()
    assert len(held.server.cancels) == 1
    assert [held.finish(clients[0], 1), held.finish(clients[1], 2)] == ["1", "2"]


def test_guessed_keys_do_not_fill_the_log(pooler):
    before = pooler.log().count("failed cancel request")
    started = time.monotonic()
    for n in range(60):
        cancel(pooler, b"guess%03d" % n)
    seconds = int(time.monotonic() - started) + 2
    assert 10 <= pooler.log().count("failed cancel request") - before <= 11 * seconds


# Where they go

def test_list_of_hosts(start_pooler):
    """To the host that runs the query, which is not the next one of the list."""
    gate = threading.Semaphore(0)

    def script(side):
        if side.log_in():
            while side.read().type == "Q":
                gate.acquire(timeout=20 * SLACK)
                side.send_raw(answer(side.server.host))
    port = free_port()
    hosts = {host: FakeServer(script, port, host) for host in ("127.0.0.2", "127.0.0.3",
                                                               "127.0.0.4")}
    try:
        pooler = start_pooler(pool_mode="transaction", default_pool_size="6", databases={
            "p0": "host=%s port=%d" % (",".join(hosts), port)})
        clients = [pooler.client() for _ in range(6)]
        for count, client in enumerate(clients, 1):
            client.send_raw(wire.query("SELECT 1"))
            pooler.wait_pool(sv_active=count)
        where = {row["ptr"]: row["addr"] for row in pooler.show("SERVERS")}
        links = {row["port"]: where[row["link"]] for row in pooler.show("CLIENTS", database="p0")}
        assert sorted(links.values()) == sorted(list(hosts) * 2)
        for client in clients:
            host = links[client.sock.getsockname()[1]]
            before = {name: len(server.cancels) for name, server in hosts.items()}
            cancel(pooler, client.key)
            after = {name: len(server.cancels) for name, server in hosts.items()}
            assert after == {**before, host: before[host] + 1}
        for _ in clients:
            gate.release()
        for client in clients:
            assert client.result().value == links[client.sock.getsockname()[1]]
        for server in hosts.values():
            assert sorted(server.cancels) == sorted(side.key for side in server.logged_in)
    finally:
        for server in hosts.values():
            server.close()


def test_unix_socket_of_the_server(start_pooler, pg):
    pooler = start_pooler(pool_mode="transaction", databases={
        "p0": "host=%s,127.0.0.1 port=%d" % (pg.socket_dir, pg.port)})
    clients = [pooler.client() for _ in range(2)]
    for client in clients:
        start_sleep(client)
    assert {row["addr"] for row in pooler.show("SERVERS")} == {"unix", "127.0.0.1"}
    for client in clients:
        cancel(pooler, client.key)
        expect_cancelled(client)
    assert [client.value("SELECT 1") for client in clients] == ["1", "1"]
