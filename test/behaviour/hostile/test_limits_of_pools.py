"""Limits, queues and fairness of pools under pressure: section 13 of the catalogue."""

import random
import time

import pytest

from support import wire
from support.process import SLACK, wait_for

TOO_MANY_WAIT = "too many clients wait for a server (max_waiting_clients)"


def asking(pooler, count, database="p2", user="bob"):
    """Clients that have logged in and sent a query."""
    clients = [pooler.client(database, user, host=pooler.socket_dir) for _ in range(count)]
    for client in clients:
        client.send_raw(wire.query("SELECT 1"))
    return clients


def held(pooler, database="p2", user="bob"):
    """A client that keeps the only server of its pool."""
    client = pooler.client(database, user)
    client.query("BEGIN")
    return client


def test_lm03_one_limit_for_all(field):
    """max_server_connections beside every other reason to open a server, and beside leavers."""
    limit = 5
    pooler = field(databases={
        "p0": "pool_size=4 min_pool_size=2 reserve_pool=2", "p1": "", "p2": "user=carol min_pool_size=2",
        "p3": "dbname=p2"}, max_server_connections=str(limit), reserve_pool_timeout="0.01",
        server_idle_timeout="0.05", max_client_conn="300")
    draw = random.Random(3)
    pools = [("p0", "bob"), ("p0", "alice"), ("p1", "bob"), ("p2", "bob"), ("p3", "carol")]
    done = dict.fromkeys(pools, 0)
    clients = [(pool, pooler.client(*pool, host=pooler.socket_dir)) for pool in pools * 6]
    field.watch.events += 200
    for _, client in clients:
        client.send_raw(wire.query("SELECT pg_sleep(0.002)"))
    deadline = time.monotonic() + 20 * SLACK
    while min(done.values()) < 40:
        assert time.monotonic() < deadline, done
        assert len(pooler.show("SERVERS")) <= limit
        for place, (pool, client) in enumerate(clients):
            if not client.has_data():
                continue
            assert not client.result().errors
            done[pool] += 1
            if draw.random() < 0.02:
                draw.choice([client.close, client.reset])()
                client = wire.Client(pooler.socket_dir, pooler.port).login(pool[1], pool[0])
                pooler.clients.append(client)
                clients[place] = (pool, client)
            client.send_raw(wire.query("SELECT pg_sleep(0.002)"))


def test_lm05_notices_to_all_who_wait(field):
    """Each has one and then its end; nobody has two."""
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"}, max_client_conn="700",
                   query_wait_notify="1", query_wait_timeout=str(1 + 1.5 * SLACK))
    holder = held(pooler)
    clients = asking(pooler, 500)
    pooler.wait_pool("p2", cl_waiting=500)
    for client in clients:
        fields = wire.parse_fields(client.expect("N").body)
        assert (fields["S"], fields["M"]) == (
            "NOTICE", "No server connection available in postgres backend, client being queued")
    for client in clients:
        client.expect_error("query_wait_timeout")
    holder.query("COMMIT")
    field.watch.memory_kib += 2048


@pytest.mark.parametrize("limit", [1, 10])
def test_queue_that_is_flooded(field, limit):
    """No more than allowed ever wait; who is refused costs nothing, and who waits is served."""
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"},
                   max_waiting_clients=str(limit), max_client_conn="300")
    holder = held(pooler)
    draw = random.Random(limit)
    waiting = asking(pooler, limit)
    pooler.wait_pool("p2", cl_waiting=limit)
    field.watch.events += 150
    for _ in range(150):
        client = asking(pooler, 1)[0]
        client.expect_error(TOO_MANY_WAIT, sqlstate="53300")
        if draw.random() < 0.2:  # one of those who wait leaves, another takes his place
            leaver = waiting.pop(draw.randrange(limit))
            draw.choice([leaver.close, leaver.reset])()
            pooler.wait_pool("p2", cl_waiting=limit - 1)
            waiting += asking(pooler, 1)
            pooler.wait_pool("p2", cl_waiting=limit)
    holder.query("COMMIT")
    for client in waiting:
        assert client.result().value == "1"
    assert all(client.value("SELECT 2") == "2" for client in waiting)
    pooler.wait_pool("p2", cl_waiting=0, sv_active=0)


def test_pools_that_come_and_go_at_the_limit(field):
    """Many small pools beside a greedy one; clients leave while they wait. Nobody hangs."""
    pooler = field(databases={"*": "dbname=p2", "p0": "", "p1": "", "p2": ""}, max_client_conn="300",
                   max_server_connections="4", pool_idle_timeout="0.2", autodb_idle_timeout="0.5",
                   server_idle_timeout="0.3")
    field.watch.events += 300
    greedy = asking(pooler, 20)
    draw = random.Random(5)
    served = 0
    deadline = time.monotonic() + 30 * SLACK
    for number in range(30):
        assert time.monotonic() < deadline
        client = wire.Client(pooler.socket_dir, pooler.port)
        client.startup("bob", "auto%d" % draw.randrange(15))
        if draw.random() < 0.4:
            time.sleep(0.01)
            draw.choice([client.close, client.reset])()
        else:
            client.authenticate()
            client.welcome()
            assert client.value("SELECT %d" % number) == str(number)
            client.close()
            served += 1
        for one in greedy:
            if one.has_data():
                one.result()
                one.send_raw(wire.query("SELECT pg_sleep(0.01)"))
    assert served > 5
    for one in greedy:
        one.result()
    wait_for(lambda: not [row for row in pooler.show("POOLS") if row["database"].startswith("auto")],
             "they are all gone", timeout=10)
