"""Cancel requests: they reach the query they were meant for, and nothing else."""

import os
import signal
import threading
import time

import psycopg
import pytest

from support import wire
from support.fake_server import answer
from support.process import open_descriptors, wait_for

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
