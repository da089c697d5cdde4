"""Sizes, limits and time limits: settings, per database and per user."""

import time

import pytest

from support import fake_server as fake
from support import wire
from support.process import wait_for


def transactions(pooler, count, database="p0", user="bob"):
    """Clients, each in an open transaction."""
    clients = [pooler.client(database, user) for _ in range(count)]
    for client in clients:
        client.query("BEGIN")
    return clients


def waiter(pooler, database="p0", user="bob", waiting=1):
    """A client that waits for a server."""
    client = pooler.client(database, user)
    client.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(database, user, cl_waiting=waiting)
    return client


def login_waiter(pooler, database, user):
    """A client whose login waits for the first server of its pool."""
    client = pooler.wire()
    client.startup(user, database)
    pooler.wait_pool(database, user, cl_waiting=1)
    return client


# Sizes

@pytest.mark.parametrize("where", ["setting", "database", "user"])
def test_pool_size(start_pooler, where):
    arguments = {"setting": {"default_pool_size": "2"},
                 "database": {"databases": {"p0": "pool_size=2"}},
                 "user": {"users": {"bob": "pool_size=2"}, "databases": {"p0": "pool_size=7"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    clients = transactions(pooler, 2)
    third = waiter(pooler)
    assert pooler.servers() == 2
    clients[0].query("COMMIT")
    assert third.result().value == "1"
    assert pooler.servers() == 2


def test_pool_size_zero_is_no_limit(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="0")
    transactions(pooler, 25)
    assert pooler.servers() == 25


def test_pools_are_by_database_and_user(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    transactions(pooler, 1, "p0", "bob")
    transactions(pooler, 1, "p0", "alice")
    transactions(pooler, 1, "p1", "bob")
    assert (pooler.servers("p0", "bob"), pooler.servers("p0", "alice"),
            pooler.servers("p1", "bob")) == (1, 1, 1)


def test_forced_user_makes_one_pool(start_pooler):
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "user=carol pool_size=1"})
    for user in ("bob", "alice"):
        assert pooler.value("SELECT current_user", user=user) == "carol"
    assert pooler.servers("p0", "carol") == 1


@pytest.mark.parametrize("where", ["setting", "database", "user"])
def test_reserve_pool(start_pooler, where):
    arguments = {"setting": {"reserve_pool_size": "1"},
                 "database": {"databases": {"p0": "reserve_pool_size=1"}},
                 "user": {"users": {"bob": "reserve_pool_size=1"}}}
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          reserve_pool_timeout="0.3", **arguments[where])
    transactions(pooler, 1)
    client = pooler.client()
    start = time.monotonic()
    assert client.value("SELECT 1") == "1"
    assert time.monotonic() - start >= 0.25
    assert "taking connection from reserve_pool" in pooler.log()


def test_reserve_of_the_user_beats_that_of_the_database(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", reserve_pool_size="3",
                          reserve_pool_timeout="0.1", users={"bob": "reserve_pool_size=0"},
                          databases={"p0": "reserve_pool_size=1"})
    transactions(pooler, 1)
    transactions(pooler, 2, user="alice")
    waiter(pooler, user="alice").expect_silence(0.4)
    waiter(pooler).expect_silence(0.1)
    assert (pooler.servers(), pooler.servers("p0", "alice")) == (1, 2)


def test_reserve_pool_timeout_zero_means_no_reserve(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", reserve_pool_size="1",
                          reserve_pool_timeout="0")
    transactions(pooler, 1)
    waiter(pooler).expect_silence(0.4)


def test_min_pool_size(start_pooler):
    pooler = start_pooler(pool_mode="transaction", min_pool_size="3")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.wait_pool(sv_idle=3)


def test_min_pool_size_without_clients(start_pooler):
    """A forced user makes the pool stand by itself."""
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "user=bob min_pool_size=2"})
    pooler.wait_pool(sv_idle=2)


def test_min_pool_size_set_later(start_pooler):
    pooler = start_pooler(databases={"p0": "user=bob"})
    pooler.admin("SET min_pool_size = 2")
    pooler.wait_pool(sv_idle=2)


def test_min_pool_size_after_kill(start_pooler):
    pooler = start_pooler(databases={"p0": "user=bob min_pool_size=2"})
    pooler.wait_pool(sv_idle=2)
    pooler.admin("KILL p0")
    pooler.wait_pool(sv_idle=0)
    pooler.admin("RESUME p0")
    pooler.wait_pool(sv_idle=2)


@pytest.mark.parametrize("where", ["setting", "database"])
def test_max_db_connections(start_pooler, where):
    arguments = {"setting": {"max_db_connections": "2"},
                 "database": {"databases": {"p0": "max_db_connections=2"},
                              "max_db_connections": "1"}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    transactions(pooler, 1, user="bob")
    (second,) = transactions(pooler, 1, user="alice")
    third = login_waiter(pooler, "p0", "carol")
    second.query("COMMIT")
    third.authenticate()
    third.welcome()
    assert third.value("SELECT 1") == "1"
    assert "evicted" in pooler.log()
    assert pooler.show("DATABASES", name="p0")[0]["current_connections"] == 2


@pytest.mark.parametrize("where", ["setting", "user"])
def test_max_user_connections(start_pooler, where):
    arguments = {"setting": {"max_user_connections": "2"},
                 "user": {"users": {"bob": "max_user_connections=2"},
                          "max_user_connections": "1"}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    transactions(pooler, 1, "p0")
    (second,) = transactions(pooler, 1, "p1")
    third = login_waiter(pooler, "p2", "bob")
    transactions(pooler, 1, "p2", "alice")
    second.query("COMMIT")
    third.authenticate()
    third.welcome()
    assert third.value("SELECT 1") == "1"
    assert pooler.show("USERS", name="bob")[0]["current_connections"] == 2


def test_shared_limit_passes_a_pool_whose_clients_left(start_pooler):
    """The room goes to the next pool in the queue."""
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "max_db_connections=1"})
    (holder,) = transactions(pooler, 1)
    leaving, staying = (login_waiter(pooler, "p0", user) for user in ("alice", "carol"))
    leaving.close()
    pooler.wait_pool("p0", "alice", cl_waiting=0)
    holder.query("COMMIT")
    staying.authenticate()
    staying.welcome()


def test_lowered_shared_limit(start_pooler):
    """As many are evicted as are too many."""
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "max_db_connections=3"})
    for user in ("bob", "alice", "carol"):
        pooler.value("SELECT 1", user=user)
    pooler.databases["p0"] = "max_db_connections=1"
    pooler.reload()
    assert pooler.client(user="plainuser").value("SELECT 1") == "1"
    assert [row["user"] for row in pooler.show("SERVERS", database="p0")] == ["plainuser"]


@pytest.mark.parametrize("round_robin", ["0", "1"])
def test_eviction_takes_the_longest_unused(start_pooler, round_robin):
    """Of all pools of the database, whatever the order in which each uses its own."""
    pooler = start_pooler(pool_mode="transaction", server_round_robin=round_robin,
                          databases={"p0": "max_db_connections=4"})
    bobs = transactions(pooler, 2)
    (other,) = transactions(pooler, 1, user="alice")
    (third,) = transactions(pooler, 1, user="carol")
    pids = {}
    for name, client in (("bob1", bobs[0]), ("alice", other), ("bob2", bobs[1]), ("carol", third)):
        pids[name] = client.value("SELECT pg_backend_pid()")
        client.query("COMMIT")
    for evicted, user in (("bob1", "plainuser"), ("alice", "md5user"), ("bob2", "scramuser")):
        transactions(pooler, 1, user=user)
        left = {row["remote_pid"] for row in pooler.show("SERVERS", database="p0")}
        del pids[evicted]
        assert left.issuperset(int(pid) for pid in pids.values())
        assert len(left) == 4


def test_min_pool_size_at_a_shared_limit(start_pooler):
    """Reached when there is room, although nobody waits."""
    pooler = start_pooler(
        pool_mode="transaction",
        databases={"p0": "pool_size=5 min_pool_size=2 max_db_connections=2"})
    holders = transactions(pooler, 2)
    late = login_waiter(pooler, "p0", "alice")
    holders[0].query("COMMIT")
    late.authenticate()
    late.welcome()
    pooler.wait_pool("p0", "alice", sv_idle=1)
    for holder in holders:
        holder.close()
    pooler.wait_pool("p0", "alice", sv_idle=2)


def test_max_client_conn(start_pooler):
    pooler = start_pooler(max_client_conn="2")
    clients = [pooler.client(), pooler.client()]
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("no more connections allowed (max_client_conn)")
    assert pooler.show("VERSION")
    clients[0].terminate()
    wait_for(lambda: pooler.list_items()["used_clients"] == 2, "one has left")
    assert pooler.client().value("SELECT 1") == "1"


def test_lowered_limit_of_clients_closes_nobody(start_pooler):
    pooler = start_pooler(max_client_conn="5")
    clients = [pooler.client() for _ in range(4)]
    for setting in ("max_client_conn", "max_db_client_connections", "max_user_client_connections"):
        pooler.admin("SET %s = 1" % setting)
    for client in clients:
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("where", ["setting", "user"])
def test_max_user_client_connections(start_pooler, where):
    arguments = {"setting": {"max_user_client_connections": "1"},
                 "user": {"users": {"bob": "max_user_client_connections=1"}}}
    pooler = start_pooler(**arguments[where])
    pooler.client()
    refused = pooler.wire()
    refused.startup("bob", "p1")
    refused.expect_error("client connections exceeded (max_user_client_connections)")
    assert pooler.client(user="alice").value("SELECT 1") == "1"


def test_pool_mode_by_user_beats_database(start_pooler):
    pooler = start_pooler(pool_mode="statement", databases={"p0": "pool_mode=session"},
                          users={"bob": "pool_mode=transaction"})
    pooler.client().query("SELECT 1")
    pooler.client(user="alice").query("SELECT 1")
    assert pooler.pool(user="bob")["pool_mode"] == "transaction"
    assert pooler.pool(user="alice")["pool_mode"] == "session"
    pooler.wait_pool(user="bob", sv_active=0)
    assert pooler.pool(user="alice")["sv_active"] == 1


# Time limits of waiting

@pytest.mark.parametrize("where,least", [("setting", 0.3), ("database", 1), ("user", 1)])
def test_query_wait_timeout(start_pooler, where, least):
    arguments = {"setting": {"query_wait_timeout": "0.3"},
                 "database": {"databases": {"p0": "query_wait_timeout=1"}},
                 "user": {"users": {"bob": "query_wait_timeout=1"}}}
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", **arguments[where])
    (holder,) = transactions(pooler, 1)
    start = time.monotonic()
    client = waiter(pooler)
    client.expect_error("query_wait_timeout")
    assert time.monotonic() - start >= least * 0.9
    pooler.wait_pool(cl_waiting=0, cl_active=1)
    holder.query("COMMIT")


def test_query_timeout_of_a_waiting_client(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", query_timeout="0.4")
    transactions(pooler, 1)
    waiter(pooler).expect_error("query_timeout")


def test_query_wait_notify(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", query_wait_notify="1")
    (holder,) = transactions(pooler, 1)
    client = waiter(pooler)
    notice = wire.parse_fields(client.expect("N").body)
    assert (notice["S"], notice["C"], notice["M"]) == (
        "NOTICE", "00000",
        "No server connection available in postgres backend, client being queued")
    client.expect_silence(1.2)
    holder.query("COMMIT")
    assert client.result().value == "1"


def test_query_wait_notify_once_for_each_wait(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", query_wait_notify="1")
    (holder,) = transactions(pooler, 1)
    client = pooler.client()
    for _ in range(2):
        client.send_raw(wire.query("SELECT 1"))
        assert wire.parse_fields(client.expect("N").body)["M"].endswith("being queued")
        holder.query("COMMIT")
        result = client.result()
        assert result.value == "1" and not result.notices
        holder.query("BEGIN")


def test_query_wait_notify_zero_is_never(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", query_wait_notify="0")
    transactions(pooler, 1)
    waiter(pooler).expect_silence(1.2)


def test_no_notice_during_the_login(start_pooler, pg):
    pg.stop()
    pooler = start_pooler(query_wait_notify="1")
    login_waiter(pooler, "p0", "bob").expect_silence(1.3)


TOO_MANY_WAIT = "too many clients wait for a server (max_waiting_clients)"


def test_max_waiting_clients(start_pooler):
    """As many wait; the next one is refused at once, and others take his place later."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", max_waiting_clients="2")
    (holder,) = transactions(pooler, 1)
    waiting = [waiter(pooler, waiting=number) for number in (1, 2)]
    refused = pooler.client()
    refused.send_raw(wire.query("SELECT 1"))
    refused.expect_error(TOO_MANY_WAIT, sqlstate="53300")
    assert "pooler error: " + TOO_MANY_WAIT in pooler.log()
    assert "closing because: " + TOO_MANY_WAIT in pooler.log()
    pooler.wait_pool(cl_waiting=2, cl_active=1)
    waiting.pop().close()
    pooler.wait_pool(cl_waiting=1)
    waiting.append(waiter(pooler, waiting=2))
    transactions(pooler, 1, "p1")
    transactions(pooler, 1, user="alice")
    holder.query("COMMIT")
    for client in waiting:
        assert client.result().value == "1"


def test_max_waiting_clients_at_the_first_login(start_pooler, pg):
    """Who waits for the first server of a pool stands in the same queue."""
    pooler = start_pooler(max_waiting_clients="1")
    pg.stop()
    login_waiter(pooler, "p0", "bob")
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error(TOO_MANY_WAIT, sqlstate="53300")
    pooler.wait_pool(cl_waiting=1)
    login_waiter(pooler, "p0", "alice")


def test_max_waiting_clients_during_pause(start_pooler):
    pooler = start_pooler(pool_mode="transaction", max_waiting_clients="1")
    clients = [pooler.client() for _ in range(3)]
    clients[0].query("SELECT 1")
    pooler.admin("PAUSE")
    clients[0].send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=1)
    clients[1].send_raw(wire.query("SELECT 1"))
    clients[1].expect_error(TOO_MANY_WAIT, sqlstate="53300")
    pooler.admin("SET max_waiting_clients = 2")
    clients[2].send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=2)
    pooler.admin("RESUME")
    assert clients[0].result().value == clients[2].result().value == "1"


def test_client_login_timeout(start_pooler):
    pooler = start_pooler(client_login_timeout="0.3", auth_type="md5")
    silent = pooler.wire(pooler.socket_dir)
    silent.expect_error("client_login_timeout")
    halfway = pooler.wire()
    halfway.startup("bob", "p0")
    halfway.expect("R")
    halfway.expect_error("client_login_timeout")


def test_client_login_timeout_without_server(start_pooler, pg):
    pg.stop()
    pooler = start_pooler(client_login_timeout="0.4")
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_error("client_login_timeout (server down)")


# Time limits of clients and queries

@pytest.mark.parametrize("where", ["setting", "user"])
def test_client_idle_timeout(start_pooler, where):
    arguments = {"setting": {"client_idle_timeout": "0.4"},
                 "user": {"users": {"bob": "client_idle_timeout=1"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    idle, busy, fresh = pooler.client(), pooler.client(), pooler.client(user="alice")
    busy.query("BEGIN")
    idle.query("SELECT 1")
    idle.expect_error("client_idle_timeout")
    assert busy.value("SELECT 1") == "1"
    if where == "user":
        assert fresh.value("SELECT 1") == "1"


def test_client_idle_timeout_starts_anew_with_each_query(start_pooler):
    pooler = start_pooler(pool_mode="transaction", client_idle_timeout="0.6")
    client = pooler.client()
    for _ in range(5):
        time.sleep(0.3)
        assert client.value("SELECT 1") == "1"


def test_client_idle_timeout_spares_linked_clients(start_pooler):
    pooler = start_pooler(client_idle_timeout="0.3")
    client = pooler.client()
    client.query("SELECT 1")
    time.sleep(0.8)
    assert client.value("SELECT 2") == "2"


@pytest.mark.parametrize("where", ["setting", "user"])
def test_query_timeout(start_pooler, where):
    arguments = {"setting": {"query_timeout": "0.4"}, "user": {"users": {"bob": "query_timeout=1"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    client, other = pooler.client(), pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(10)"))
    assert other.value("SELECT 1") == "1"
    client.expect_error("query timeout")
    assert other.value("SELECT 2") == "2"
    pooler.wait_log("closing because: query timeout")


def test_query_timeout_is_not_of_transactions(start_pooler):
    """Between the statements of a transaction it does not count."""
    pooler = start_pooler(pool_mode="transaction", query_timeout="0.4")
    (client,) = transactions(pooler, 1)
    for _ in range(3):
        time.sleep(0.25)
        client.query("SELECT pg_sleep(0.05)")
    client.query("COMMIT")


def test_query_timeout_of_a_user_is_not_of_waiting(start_pooler):
    """The queue knows the global one only."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          users={"bob": "query_timeout=1"})
    transactions(pooler, 1)
    waiter(pooler).expect_silence(1.3)


def test_limits_of_the_right_user(start_pooler):
    """Those of servers are the server-side user's, those of clients the login user's."""
    pooler = start_pooler(
        pool_mode="session", databases={"p0": "user=carol"}, query_wait_timeout="30",
        users={"carol": "query_timeout=1 pool_size=1 pool_mode=transaction query_wait_timeout=30",
               "bob": "client_idle_timeout=1 query_wait_timeout=2 query_timeout=30 pool_size=9"})
    idle, running, waiting, alices = (pooler.client(user=user)
                                      for user in ("bob", "bob", "bob", "alice"))
    running.query("BEGIN")
    began = time.monotonic()
    for client in (waiting, alices):
        client.send_raw(wire.query("SELECT 1"))
    idle.expect_error("client_idle_timeout")
    waiting.expect_error("query_wait_timeout")
    assert time.monotonic() - began >= 1.9 and not alices.has_data()
    running.send_raw(wire.query("SELECT pg_sleep(20)"))
    running.expect_error("query timeout")


def test_query_goes_before_transaction(start_pooler):
    """Both are due at once: the client is told of the query."""
    pooler = start_pooler(pool_mode="transaction", query_timeout="0.4", transaction_timeout="0.4")
    client = pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(20)"))
    client.expect_error("query timeout")


@pytest.mark.parametrize("where", ["setting", "user"])
def test_idle_transaction_timeout(start_pooler, where):
    arguments = {"setting": {"idle_transaction_timeout": "0.4"},
                 "user": {"users": {"bob": "idle_transaction_timeout=1"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    client, idle = pooler.client(), pooler.client()
    idle.query("SELECT 1")
    client.query("BEGIN")
    client.expect_error("idle transaction timeout")
    assert idle.value("SELECT 1") == "1"


def test_idle_transaction_timeout_of_a_failed_transaction(start_pooler):
    pooler = start_pooler(pool_mode="transaction", idle_transaction_timeout="0.4")
    (client,) = transactions(pooler, 1)
    client.send_raw(wire.query("SELECT 1/0"))
    assert client.result().status == "E"
    client.expect_error("idle transaction timeout")


def test_idle_transaction_timeout_spares_long_queries(start_pooler):
    pooler = start_pooler(pool_mode="transaction", idle_transaction_timeout="0.3")
    client = pooler.client()
    client.query("BEGIN")
    client.query("SELECT pg_sleep(0.8)")
    client.query("COMMIT")


@pytest.mark.parametrize("where", ["setting", "user"])
def test_transaction_timeout(start_pooler, where):
    arguments = {"setting": {"transaction_timeout": "0.5"},
                 "user": {"users": {"bob": "transaction_timeout=1"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    client = pooler.client()
    client.query("BEGIN")
    with pytest.raises((wire.ServerError, EOFError, OSError)) as caught:
        for _ in range(40):
            client.query("SELECT pg_sleep(0.1)")
    assert "transaction timeout" in str(caught.value) or "transaction timeout" in pooler.log()
    fresh = pooler.client()
    for _ in range(8):
        fresh.query("SELECT pg_sleep(0.1)")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_transaction_timeout_counts_from_the_first_query(start_pooler, busy):
    """However often the client says something; and the next transaction begins anew."""
    pooler = start_pooler(pool_mode="transaction", transaction_timeout="0.6")
    client = pooler.client()
    for _ in range(2):
        time.sleep(0.35)
        client.query("BEGIN; SELECT pg_sleep(0.2)")
        client.query("COMMIT")
    began = time.monotonic()
    client.query("BEGIN")
    if busy:
        client.send_raw(wire.query("SELECT pg_sleep(20)"))
    else:
        time.sleep(0.4)
        client.query("SELECT 1")
    client.expect_error("transaction timeout")
    assert 0.55 <= time.monotonic() - began
    pooler.wait_log("closing because: transaction timeout", 2)


# Time limits of servers

def test_server_idle_timeout(start_pooler):
    pooler = start_pooler(pool_mode="transaction", server_idle_timeout="0.4")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.wait_pool(sv_idle=0)
    assert "closing because: server idle timeout" in pooler.log()
    assert client.value("SELECT 2") == "2"


def test_server_idle_timeout_keeps_the_minimum(start_pooler):
    pooler = start_pooler(pool_mode="transaction", server_idle_timeout="0.3", min_pool_size="2")
    clients = transactions(pooler, 4)
    for client in clients:
        client.query("COMMIT")
    pooler.wait_pool(sv_idle=2)
    time.sleep(0.7)
    assert pooler.servers() == 2


def test_server_check_delay(start_pooler):
    """A server that was idle for longer is set aside, and checked before it is used again."""
    pooler = start_pooler(pool_mode="transaction", server_check_delay="0.2",
                          server_check_query="SELECT 'checked'", log_disconnections="1")
    client = pooler.client()
    first = client.value("SELECT pg_backend_pid()")
    pooler.wait_pool(sv_used=1, sv_idle=0)
    assert client.value("SELECT pg_backend_pid()") == first
    pooler.wait_pool(sv_used=1, sv_idle=0)
    pooler.admin("SET server_check_query = ''")
    assert client.value("SELECT pg_backend_pid()") == first
    time.sleep(0.5)
    pooler.wait_pool(sv_used=0, sv_idle=1)


def pools_of(pooler):
    return [(row["database"], row["user"]) for row in pooler.show("POOLS", user="bob")]


def test_pool_idle_timeout(start_pooler):
    """The pool goes with its statistics; not while it has clients or servers."""
    pooler = start_pooler(pool_mode="transaction", pool_idle_timeout="0.3",
                          server_idle_timeout="0.2", databases={
                              "p0": "", "p1": "", "p2": "", "p3": "user=bob min_pool_size=1"})
    held, _ = pooler.client("p1"), pooler.value("SELECT 1")
    holder = pooler.client("p2")
    holder.query("BEGIN")
    assert ("p0", "bob") in pools_of(pooler)
    wait_for(lambda: ("p0", "bob") not in pools_of(pooler), "the pool is dropped")
    pooler.wait_pool("p1", sv_idle=0)
    time.sleep(0.5)
    assert sorted(pools_of(pooler)) == [("p1", "bob"), ("p2", "bob"), ("p3", "bob")]
    assert pooler.stats("p1")["total_xact_count"] == 0 and not pooler.stats("p0")
    assert held.value("SELECT 1") == "1" and pooler.value("SELECT 1") == 1
    held.close()
    holder.close()
    wait_for(lambda: pools_of(pooler) == [("p3", "bob")], "all are dropped")
    assert pooler.value("SELECT 1", dbname="p1") == 1


def test_pool_idle_timeout_zero_is_never(start_pooler):
    pooler = start_pooler(server_idle_timeout="0.1")
    pooler.value("SELECT 1")
    pooler.wait_pool(sv_idle=0)
    time.sleep(0.3)
    assert pools_of(pooler) == [("p0", "bob")]
    pooler.admin("SET pool_idle_timeout = '0.2'")
    began = time.monotonic()
    while pools_of(pooler):
        pooler.admin("SET verbose = 0")  # nothing changes, and nothing begins anew
        assert time.monotonic() - began < 5
    pooler.admin("SET pool_idle_timeout = 0")


@pytest.mark.parametrize("where", ["setting", "database"])
def test_lifetimes_end_one_by_one(start_pooler, where):
    """Servers that began together do not end together: one in each lifetime / pool_size."""
    arguments = {"setting": {"server_lifetime": "1", "databases": {"p0": "pool_size=5"}},
                 "database": {"databases": {"p0": "pool_size=5 server_lifetime=1"}}}
    pooler = start_pooler(pool_mode="transaction", **arguments[where])
    for client in transactions(pooler, 5):
        client.query("COMMIT")
    pooler.wait_pool(sv_idle=5)
    left, seen = 5, {}
    while left > 0:
        left = pooler.pool()["sv_idle"]
        seen.setdefault(left, time.monotonic())
    assert sorted(seen) == [0, 1, 2, 3, 4, 5], "two have ended at once"
    ends = [seen[left] for left in (4, 3, 2, 1, 0)]
    assert ends[-1] - ends[0] >= 0.75, "0.2 s between one and the next"


def test_lifetimes_of_busy_servers_end_one_by_one(start_pooler):
    """The same when they are over while the servers are in use."""
    pooler = start_pooler(pool_mode="transaction", server_lifetime="0.5", default_pool_size="2",
                          databases={"p0": "pool_size=4"})
    clients = transactions(pooler, 4)
    time.sleep(0.7)
    for client in clients:
        client.query("COMMIT")
    assert pooler.servers() >= 3
    pooler.wait_pool(sv_idle=0)


def test_server_lifetime(start_pooler):
    pooler = start_pooler(pool_mode="transaction", server_lifetime="0.5", default_pool_size="1")
    client = pooler.client()
    first = client.value("SELECT pg_backend_pid()")
    wait_for(lambda: client.value("SELECT pg_backend_pid()") != first, "a new server")
    assert "closing because: server lifetime over" in pooler.log()


def test_server_lifetime_ends_during_the_reset(start_pooler, fake_server):
    def script(side):
        if side.log_in():
            def answer(side, sql):
                time.sleep(1.2 if sql == "reset" else 0)
                return fake.answer(sql)
            side.serve(answer)
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, server_lifetime="1",
                          server_reset_query="reset")
    client = pooler.client()
    client.query("SELECT 1")
    client.terminate()
    pooler.wait_log("closing because: server lifetime over")


def test_server_lifetime_zero_uses_once(start_pooler):
    pooler = start_pooler(pool_mode="transaction", server_lifetime="0")
    client = pooler.client()
    assert len({client.value("SELECT pg_backend_pid()") for _ in range(3)}) == 3


def test_server_lifetime_spares_transactions(start_pooler):
    pooler = start_pooler(pool_mode="transaction", server_lifetime="0.3")
    (client,) = transactions(pooler, 1)
    time.sleep(0.8)
    client.query("COMMIT")


@pytest.mark.parametrize("setting", ["server_idle_timeout", "server_lifetime"])
def test_server_limit_set_later(start_pooler, setting):
    """Counts for the servers that are there."""
    pooler = start_pooler(pool_mode="transaction")
    pooler.value("SELECT 1")
    pooler.admin("SET %s = 1" % setting)
    pooler.wait_pool(sv_idle=0, timeout=3)
    pooler.wait_log("closing because: " + {"server_idle_timeout": "server idle timeout",
                                           "server_lifetime": "server lifetime over"}[setting])


@pytest.mark.parametrize("setting,text", [
    ("client_idle_timeout", "client_idle_timeout"),
    ("query_wait_timeout", "query_wait_timeout"),
    ("query_timeout", "query timeout"),
    ("idle_transaction_timeout", "idle transaction timeout"),
    ("transaction_timeout", "transaction timeout")])
def test_client_limit_set_later(start_pooler, setting, text):
    """Counts for what has begun already."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    client = pooler.client()
    if setting == "query_timeout":
        client.send_raw(wire.query("SELECT pg_sleep(30)"))
        pooler.wait_pool(sv_active=1)
    elif setting.endswith("transaction_timeout"):
        client.query("BEGIN")
    elif setting == "query_wait_timeout":
        transactions(pooler, 1)
        client.send_raw(wire.query("SELECT 1"))
        pooler.wait_pool(cl_waiting=1)
    pooler.admin("SET %s = 1" % setting)
    client.expect_error(text)


def test_reload_does_not_renew_limits(start_pooler):
    pooler = start_pooler(pool_mode="transaction", client_idle_timeout="1")
    client = pooler.client()
    client.query("SELECT 1")
    began = time.monotonic()
    while not client.has_data(0.2):
        pooler.reload()
        assert time.monotonic() - began < 3
    client.expect_error("client_idle_timeout")


def test_query_timeout_of_a_parameter(start_pooler, fake_server):
    """Our own SET is part of the query that waits for it."""
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: None)
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          pool_mode="transaction", query_timeout="0.5")
    client = pooler.client(application_name="mine")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("query timeout")


def test_server_connect_timeout(start_pooler, fake_server):
    """A server that accepts and says nothing."""
    def script(side):
        side.read_startup()
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_connect_timeout="1", client_login_timeout="3")
    client = pooler.wire()
    client.startup("bob", "p0")
    pooler.wait_log("closing because: connect timeout")
    client.expect_silence(0.1)


def test_server_login_retry(start_pooler, fake_server):
    """No new attempt before its time, then one."""
    attempts = []

    def script(side):
        attempts.append(time.monotonic())
        side.read_startup()
        side.send_error("not now", sqlstate="53300")
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_login_retry="0.6")
    for _ in range(2):
        client = pooler.wire()
        client.startup("bob", "p0")
        client.expect_error("not now", sqlstate="53300")
    assert attempts[1] - attempts[0] >= 0.5


def test_starting_up_is_no_failure(start_pooler, fake_server):
    """57P03 leaves the clients waiting."""
    ready = []

    def script(side):
        if ready:
            if side.log_in():
                side.serve(lambda side, sql: wire.message("Z", b"I"))
        else:
            side.read_startup()
            side.send_error("the database system is starting up", sqlstate="57P03")
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_login_retry="0.2")
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_silence(0.5)
    ready.append(True)
    client.authenticate()
    client.welcome()


# server_fast_close

def test_fast_close_ends_sessions_of_changed_servers(start_pooler):
    """Outside a transaction at once, in a transaction when it ends; others are not touched."""
    pooler = start_pooler(server_fast_close="1", default_pool_size="5",
                          databases={"p0": "", "p1": "pool_mode=transaction", "p2": ""})
    idle, busy, unlinked, other = (pooler.client(), pooler.client(), pooler.client("p1"),
                                   pooler.client("p2"))
    for client in idle, unlinked, other:
        client.query("SELECT 1")
    busy.query("BEGIN")
    pooler.admin("RECONNECT p0")
    pooler.admin("RECONNECT p1")
    idle.expect_error("database configuration changed")
    assert busy.value("SELECT 2") == "2"
    busy.send_raw(wire.query("COMMIT"))
    assert busy.result().tags == ["COMMIT"]
    busy.expect_error("database configuration changed")
    assert (unlinked.value("SELECT 3"), other.value("SELECT 4")) == ("3", "4")
    pooler.wait_pool("p0", sv_active=0, sv_idle=0)


def test_fast_close_can_be_turned_on_later(start_pooler):
    pooler = start_pooler()
    client = pooler.client()
    client.query("SELECT 1")
    pooler.admin("RECONNECT p0")
    assert client.value("SELECT 2") == "2"
    pooler.admin("SET server_fast_close = 1")
    client.expect_error("database configuration changed")
