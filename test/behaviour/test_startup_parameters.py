"""track_startup_parameters: parameters that servers do not report follow the client."""

import psycopg
import pytest

from support import wire

pytestmark = pytest.mark.pgweir_only("a setting of its own")

TRACKED = "search_path, statement_timeout, extra_float_digits, my.own"


@pytest.fixture
def one_server(start_pooler):
    """Clients that share one server connection."""
    def start(**settings):
        return start_pooler(default_pool_size="1", track_startup_parameters=TRACKED,
                            **{"pool_mode": "transaction", **settings})
    return start


def setting(client, name):
    return client.value("SELECT current_setting('%s', true)" % name)


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("reset", ["DISCARD ALL", "SELECT 1", ""])
def test_values_follow_the_client(one_server, mode, reset):
    pooler = one_server(pool_mode=mode, server_reset_query=reset)

    def check(client, path, timeout):
        assert setting(client, "search_path") == path
        assert setting(client, "statement_timeout") == timeout
        if mode == "session":
            client.terminate()
            pooler.wait_pool(sv_active=0)

    for _ in range(2):
        check(pooler.client(search_path="a, \"B c\", 'd'", statement_timeout="5s"),
              "a, \"B c\", 'd'", "5s")
        check(pooler.client(), '"$user", public', "0")
        check(pooler.client(search_path="a", options="-c statement_timeout=7000"), "a", "7s")


def test_what_a_client_changes_itself_does_not_reach_the_next(one_server):
    pooler = one_server()
    first, second = pooler.client(search_path="a"), pooler.client()
    for change in ("SET search_path = b", "SET LOCAL search_path = b", "RESET search_path",
                   "DISCARD ALL", "SET my.own = 'x'", "RESET ALL"):
        first.query(change)
        assert setting(second, "search_path") == '"$user", public', change
        assert setting(second, "my.own") in (None, ""), change
        assert setting(first, "search_path") == "a", change


def test_tag_that_comes_in_pieces(start_pooler, fake_server):
    """The end of the answer is cut at every byte."""
    def script(side):
        if not side.log_in():
            return
        tag = wire.message("C", b"SET\0")
        while True:
            got = side.read()
            if got.type == "X":
                return
            for byte in [tag[i:i + 1] for i in range(len(tag))] + [wire.message("Z", b"I")]:
                side.send_raw(byte)
    server = fake_server(script)
    pooler = start_pooler(server=server, track_startup_parameters="search_path",
                          pool_mode="transaction", default_pool_size="1")
    client = pooler.client()
    assert client.query("SET x = 1").tags == ["SET"]
    assert client.query("SET x = 2").tags == ["SET"]
    side, = server.logged_in
    assert side.queries() == ["SET x = 1", 'RESET "search_path";', "SET x = 2"]


def test_no_extra_query_while_nothing_changes(start_pooler, fake_server):
    server = fake_server()
    pooler = start_pooler(server=server, track_startup_parameters="search_path",
                          pool_mode="transaction", default_pool_size="1")
    client = pooler.client(search_path="a")
    for _ in range(3):
        client.query("SELECT 1")
    side, = server.logged_in
    assert side.queries() == ["SELECT pg_catalog.set_config('search_path','a',false);"] + ["SELECT 1"] * 3


def test_bad_value_is_told_at_the_first_query(one_server):
    pooler = one_server()
    client = pooler.client(statement_timeout="soon")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("invalid server parameter")
    assert setting(pooler.client(), "statement_timeout") == "0"


@pytest.mark.parametrize("value", ["a'; DROP TABLE x; --", "\\'; SELECT 1; --", "a\\", "'"])
def test_value_is_never_code(one_server, value):
    pooler = one_server()
    client = pooler.client(**{"my.own": value})
    assert setting(client, "my.own") == value


def test_drivers_that_send_extra_float_digits(one_server):
    pooler = one_server()
    with psycopg.connect(host=pooler.host,
                         port=pooler.port, user="bob", password="bob-pw", dbname="p0",
                         options="-c extra_float_digits=3 -c search_path=a") as connection:
        assert connection.execute("SHOW extra_float_digits").fetchone() == ("3",)
        assert connection.execute("SHOW search_path").fetchone() == ("a",)
