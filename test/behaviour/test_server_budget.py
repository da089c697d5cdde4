"""max_server_connections: one limit on all server connections, shared out fairly among the pools."""

import contextlib
import threading
import time

import pytest

from support import wire
from support.process import SLACK, wait_for

LIMIT = 6


class Load:
    """Clients that ask one thing after the other, each in a thread, until the end of the block."""

    def __init__(self, pooler, database, user, clients, sql="SELECT pg_sleep(0.005)", pause=0):
        self.clients = [pooler.wire().login(user, database) for _ in range(clients)]
        self.counts = [0] * clients
        self.sql, self.pause = sql, pause
        self.stopping = threading.Event()
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True)
                        for number in range(clients)]

    def run(self, number):
        try:
            while not self.stopping.wait(self.pause):
                self.clients[number].query(self.sql)
                self.counts[number] += 1
        except Exception as failure:
            self.failures.append(failure)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)
        for client in self.clients:
            client.close()
        assert not self.failures, self.failures


@contextlib.contextmanager
def counted(pg, pooler, limit):
    """
    Never more servers than the limit, at any time. A backend that was told to end needs a moment:
    in PostgreSQL there may be more for that long.
    """
    peaks, stopping = [0, 0], threading.Event()

    def count():
        fits_until = time.monotonic()
        with pg.connect() as connection:
            while not stopping.wait(0.01):
                (there,), = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid()").fetchall()
                if there <= limit:
                    fits_until = time.monotonic()
                peaks[0] = max(peaks[0], time.monotonic() - fits_until)
                peaks[1] = max(peaks[1], pooler.list_items()["used_servers"])
    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    yield
    stopping.set()
    thread.join(20)
    assert peaks[1] == limit, "the limit is reached, and kept"
    assert peaks[0] < 0.3 * SLACK, "more in PostgreSQL for %.3f s" % peaks[0]


def start(start_pooler, limit=LIMIT, **settings):
    return start_pooler(pool_mode="transaction", max_server_connections=str(limit),
                        max_client_conn="200", **settings)


def logins(pooler, database, user):
    return sum("%s/%s" % (database, user) in line and "new connection to server" in line
               for line in pooler.log().splitlines())


def test_idle_servers_of_others_make_room(start_pooler, pg):
    """Whoever's they are; those that are unused for longest first."""
    pooler = start(start_pooler, 3)
    pools = [("p0", "bob"), ("p1", "bob"), ("p1", "alice"), ("p2", "carol"), ("p3", "plainuser")]
    with counted(pg, pooler, 3):
        for number, (database, user) in enumerate(pools):
            assert pooler.client(database, user).value("SELECT 1") == "1"
            there = {(row["database"], row["user"]) for row in pooler.show("SERVERS")}
            assert there == set(pools[max(0, number - 2):number + 1])
    assert pooler.log().count("closing because: evicted") == 2


def test_pool_above_its_share_gives_up_idle_servers_at_once(start_pooler):
    pooler = start(start_pooler, 4)
    clients = [pooler.client() for _ in range(4)]
    for client in clients:
        client.query("BEGIN")
    for client in clients:
        client.query("COMMIT")
    began = time.monotonic()
    other = pooler.wire()
    other.login("alice", "p1")
    other.query("SELECT 1")
    assert "closing because: evicted" in pooler.log()
    assert time.monotonic() - began < 0.9


def test_busy_pool_gives_up_its_surplus(start_pooler, pg):
    """Half for each, although the first pool alone could use all."""
    pooler = start(start_pooler)
    with counted(pg, pooler, LIMIT), Load(pooler, "p0", "bob", 20):
        wait_for(lambda: pooler.servers() == LIMIT, "the first pool has all")
        with Load(pooler, "p1", "alice", 20) as second:
            wait_for(lambda: pooler.servers("p1", "alice") == LIMIT // 2 == pooler.servers(),
                     "half for each")
            before = logins(pooler, "p1", "alice")
            done = sum(second.counts)
            wait_for(lambda: sum(second.counts) > done + 200, "work goes on")
            assert logins(pooler, "p1", "alice") == before, "servers change hands for nothing"
        wait_for(lambda: pooler.servers() == LIMIT, "all for the first again")


def test_modest_pool_keeps_its_server(start_pooler):
    """A client with pauses beside a greedy pool does not pay a login each time."""
    pooler = start(start_pooler)
    with Load(pooler, "p0", "bob", 20):
        wait_for(lambda: pooler.servers() == LIMIT, "the first pool has all")
        with Load(pooler, "p1", "alice", 1, "SELECT 1", pause=0.05) as modest:
            wait_for(lambda: modest.counts[0] >= 20, "it is served", timeout=10)
            assert logins(pooler, "p1", "alice") == 1


def test_more_pools_than_servers(start_pooler, pg):
    """They take turns: nobody starves."""
    pooler = start(start_pooler, 2)
    pools = [(database, user) for database in ("p0", "p1", "p2") for user in ("bob", "alice")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(counted(pg, pooler, 2))
        # The first login of a pool waits for its server: one pool after the other gets its turn.
        loads = []
        for database, user in pools:
            loads.append(stack.enter_context(Load(pooler, database, user, 3)))
        counts = [list(load.counts) for load in loads]
        wait_for(lambda: all(min(load.counts) > max(old) for load, old in zip(loads, counts)),
                 "every client has been served", timeout=20)


def test_three_pools_do_not_pass_on_a_remainder(start_pooler):
    """Shares that are no whole numbers: whoever has one more keeps it."""
    pooler = start(start_pooler, 4)
    with Load(pooler, "p0", "bob", 6), Load(pooler, "p1", "bob", 6), Load(pooler, "p2", "bob", 6):
        def shared():
            return sorted(pooler.servers(name) for name in ("p0", "p1", "p2")) == [1, 1, 2]
        wait_for(shared, "shared out")
        before = pooler.log().count("new connection to server")
        time.sleep(0.5)
        assert shared() and pooler.log().count("new connection to server") == before


def test_minimum_takes_nothing_from_others(start_pooler, pg):
    pooler = start(start_pooler, 3, databases={"p0": "user=bob min_pool_size=2", "p1": ""})
    with counted(pg, pooler, 3):
        pooler.wait_pool(sv_idle=2)
        clients = [pooler.client("p1") for _ in range(3)]
        for client in clients[:1]:
            client.query("BEGIN")
        time.sleep(0.5)
        assert (pooler.servers(), pooler.servers("p1")) == (2, 1)
        for client in clients[1:]:
            client.query("BEGIN")
        assert pooler.servers("p1") == 3
        time.sleep(0.5)
        for client in clients:
            client.query("COMMIT")
            client.close()
        pooler.admin("KILL p1")
        pooler.wait_pool(sv_idle=2)


def test_limit_changes_while_clients_wait(start_pooler):
    """Raised, taken away, lowered: then as many are closed as are too many, when they are free."""
    pooler = start(start_pooler, 0)
    first, second, third, last = (pooler.client("p%d" % n) for n in range(4))
    pooler.admin("RECONNECT")
    pooler.admin("SET max_server_connections = 1")
    first.query("BEGIN")
    for name, client in (("p1", second), ("p2", third)):
        client.send_raw(wire.query("BEGIN"))
        pooler.wait_pool(name, cl_waiting=1)
    pooler.admin("SET max_server_connections = 2")
    assert second.result().tags == ["BEGIN"]
    third.expect_silence(0.2)
    pooler.admin("SET max_server_connections = 0")
    assert third.result().tags == ["BEGIN"]
    pooler.admin("SET max_server_connections = 2")
    last.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool("p3", cl_waiting=1)
    second.query("COMMIT")
    last.expect_silence(0.2)
    third.query("COMMIT")
    assert last.result().value == "1"
    assert pooler.list_items()["used_servers"] == 2


@pytest.mark.parametrize("inner", ["max_db_connections", "max_user_connections"])
def test_beside_the_other_limits(start_pooler, pg, inner):
    """Who is stopped by one limit does not keep others from the room that another limit has."""
    pooler = start(start_pooler, 3, **{inner: "2"})
    pools = [(database, user) for database in ("p0", "p1", "p2") for user in ("bob", "alice")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(counted(pg, pooler, 3))
        loads = [stack.enter_context(Load(pooler, *pool, 2)) for pool in pools]
        counts = [list(load.counts) for load in loads]
        wait_for(lambda: all(min(load.counts) > max(old) for load, old in zip(loads, counts)),
                 "every client has been served", timeout=20)
        for item, key in (("DATABASES", "max_db_connections"), ("USERS", "max_user_connections")):
            if key == inner:
                assert max(row["current_connections"] for row in pooler.show(item)) <= 2
