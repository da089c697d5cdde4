"""prepare_unnamed: statements without a name are prepared once, when their text comes again."""

import pytest

from support import wire

SQL = "SELECT $1::int * 2"
NAMES = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER%'"


@pytest.fixture
def pooler(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="1", prepare_unnamed="1")


def ask(client, value, sql=SQL):
    client.send_raw(wire.parse(sql) + wire.bind([value]) + wire.describe() + wire.execute()
                    + wire.sync())
    result = client.result().check()
    assert result.types == "12TDCZ"
    return result.value


def test_prepared_at_the_second_time_for_all_clients(pooler):
    client, other = pooler.client(), pooler.client()
    assert ask(client, 1) == "2"
    assert client.value(NAMES) == "0"
    for one in client, other, client, other:
        assert ask(one, 4) == "8"
        assert one.value(NAMES) == "1"
    stats = pooler.stats()
    assert (stats["total_client_parse_count"], stats["total_server_parse_count"],
            stats["total_bind_count"]) == (4, 1, 4)


def test_texts_that_come_once_stay_nameless(pooler):
    client = pooler.client()
    for number in range(50):
        assert ask(client, number, "SELECT $1::int + %d" % number) == str(2 * number)
    assert client.value(NAMES) == "0"


def test_bound_again_later_and_on_another_server(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="2", prepare_unnamed="1",
                          server_round_robin="1")
    client = pooler.client()
    ask(client, 1)
    ask(client, 1)
    for _ in range(4):  # natively too it lasts until the next Parse
        client.send_raw(wire.bind([5]) + wire.describe() + wire.execute() + wire.sync())
        assert client.result().check().value == "10"
        client.send_raw(wire.describe("S") + wire.sync())
        assert client.result().check().types == "tTZ"


def test_the_newest_counts(pooler):
    client = pooler.client()
    ask(client, 1)
    ask(client, 1)
    ask(client, 1, "SELECT $1::int + 100")  # for the first time: it goes as it is
    client.send_raw(wire.bind([5]) + wire.execute() + wire.sync())
    assert client.result().check().value == "105"
    ask(client, 1)
    client.send_raw(wire.bind([5]) + wire.execute() + wire.sync())
    assert client.result().check().value == "10"
    client.send_raw(wire.close() + wire.bind([5]) + wire.execute() + wire.sync())
    assert client.result().errors[0]["C"] == "26000"


def test_errors_are_the_servers(pooler):
    client = pooler.client()
    for _ in range(3):
        client.send_raw(wire.parse("SELECT nonsense") + wire.bind() + wire.execute() + wire.sync())
        assert client.result().errors[0]["C"] == "42703"
    assert client.value(NAMES) == "0"
    for _ in range(2):
        client.send_raw(wire.parse("SELECT 1; SELECT 2") + wire.sync())
        assert client.result().errors[0]["C"] == "42601"
    assert ask(client, 3) == "6"


def test_pipelines(pooler):
    client = pooler.client()
    one = wire.parse(SQL) + wire.bind([7]) + wire.execute()
    for count in (1, 2, 5, 100):
        client.send_raw(one * count + wire.sync())
        assert client.result().check().types == "12DC" * count + "Z"
        client.send_raw((one + wire.sync()) * count)
        for _ in range(count):
            assert client.result().check().value == "14"


def test_off_by_default_and_by_reload(pooler, start_pooler):
    client = pooler.client()
    ask(client, 1)
    ask(client, 1)
    pooler.admin("SET prepare_unnamed = 0")
    ask(client, 2)
    other = pooler.client()
    other.query("SELECT 1")
    client.send_raw(wire.bind([5]) + wire.execute() + wire.sync())
    assert client.result().errors[0]["C"] == "26000"  # a simple query ended it
    plain = start_pooler(pool_mode="transaction").client()
    ask(plain, 1)
    ask(plain, 1)
    assert plain.value(NAMES) == "0"
