"""Prepared statements that a server holds and that are of no use any more."""

import pytest

from support import wire

QUERY = "SELECT * FROM stale WHERE $1::text IS NOT NULL"


@pytest.fixture
def pooler(start_pooler, pg):
    """Two servers in turn, and a table that changes."""
    pg.sql("DROP TABLE IF EXISTS stale")
    pg.sql("CREATE TABLE stale AS SELECT 1 AS a")
    pg.sql("GRANT ALL ON stale TO public")
    return start_pooler(pool_mode="transaction", default_pool_size="2", server_round_robin="1")


def run(client, value="x", describe=True):
    client.send_raw(wire.bind([value], "s") + (wire.describe() if describe else b"")
                    + wire.execute() + wire.sync())
    return client.result()


def prepare(client, name="s"):
    client.send_raw(wire.parse(QUERY, name) + wire.describe("S", name) + wire.sync())
    return client.result().check()


@pytest.fixture
def clients(pooler):
    """Both have the statement, on both servers."""
    two = pooler.client(), pooler.client()
    for client in two:
        client.send_raw(wire.parse(QUERY, "s") + wire.sync())
        assert client.result().check().types == "1Z"
    two[0].query("BEGIN")
    assert run(two[0]).rows == run(two[1]).rows == [["1"]]
    two[0].query("COMMIT")
    return two


def column_added(pg, name):
    pg.sql("ALTER TABLE stale ADD %s int DEFAULT 2" % name)


def test_nobody_who_asks_for_the_columns_sees_a_changed_table(pooler, pg, clients):
    column_added(pg, "b")
    for _ in range(3):
        for client in clients:
            result = run(client).check()
            assert result.rows == [["1", "2"]]
            assert result.types == "2TDCZ"
    # Prepared once for each server, and once more.
    assert pooler.stats()["total_server_parse_count"] == 4


def check_told(client):
    """As by PostgreSQL, until it prepares the statement anew. Drivers know the error by these."""
    for _ in range(3):
        error = run(client, describe=False).errors[0]
        assert (error["C"], error["R"]) == ("0A000", "RevalidateCachedQuery")
        assert error["M"] == "cached plan must not change result type"
    client.send_raw(wire.close("S", "s") + wire.sync())
    client.result().check()
    assert len(prepare(client).columns) == 2
    for _ in range(3):
        assert run(client, describe=False).check().rows == [["1", "2"]]


def test_who_remembers_the_columns_is_told_each(pg, clients):
    """It would take the new values for the old columns. One who asks is not disturbed."""
    column_added(pg, "b")
    check_told(clients[0])
    assert run(clients[1]).check().rows == [["1", "2"]]
    check_told(clients[1])


def test_who_remembers_the_columns_is_told_of_a_plan_that_is_not_stale(pooler, pg):
    """The other server prepares the statement for the first time when the table has changed."""
    client = pooler.client()
    client.query("BEGIN")  # on the first server
    other = pooler.client()
    prepare(other)
    assert run(other, describe=False).check().rows == [["1"]]
    column_added(pg, "b")
    other.query("BEGIN")  # holds the second one
    assert run(other, describe=False).errors[0]["C"] == "0A000"
    other.query("ROLLBACK")
    other.query("BEGIN")
    client.query("COMMIT")
    third = pooler.client()
    assert len(prepare(third).columns) == 2
    assert run(third, describe=False).check().rows == [["1", "2"]]


def test_the_columns_on_another_server_are_looked_at(pooler, pg):
    """Nothing has failed yet: only the comparison tells."""
    first, second = pooler.client(), pooler.client()
    second.query("BEGIN")
    prepare(first)
    assert run(first, describe=False).check().types == "2DCZ"
    first.query("BEGIN")
    second.query("COMMIT")
    column_added(pg, "b")
    first.query("COMMIT")
    # Two servers in turn: one has the old plan, the other none.
    for _ in range(4):
        assert run(first, describe=False).errors[0]["C"] == "0A000"
    check_told(first)


def test_columns_that_are_the_same_disturb_nobody(pooler, pg, clients):
    """Asked for once on each server; a table that has changed elsewhere is no change."""
    for _ in range(4):
        assert run(clients[0], describe=False).check().types == "2DCZ"
    pg.sql("ALTER TABLE stale ADD b int")
    pg.sql("ALTER TABLE stale DROP b")
    pg.sql("CREATE INDEX ON stale (a)")
    pg.sql("ANALYZE stale")
    for _ in range(4):
        for client in clients:
            assert run(client, describe=False).check().rows == [["1"]]
    assert pooler.stats()["total_server_parse_count"] == 2


def test_a_transaction_is_no_place_to_be_disturbed_without_need(pooler, pg):
    """The columns are asked for in the middle of a transaction and of a pipeline."""
    first, second = pooler.client(), pooler.client()
    prepare(first)
    second.query("BEGIN")
    first.query("BEGIN")
    first.send_raw(wire.extended("SELECT 7") + wire.bind(["x"], "s") + wire.execute() + wire.sync())
    assert first.result().check().rows == [["7"], ["1"]]
    second.query("COMMIT")
    first.query("COMMIT")
    second.query("BEGIN")
    first.query("BEGIN")
    first.send_raw(wire.extended("SELECT 7") + wire.bind(["x"], "s") + wire.execute() + wire.sync())
    assert first.result().check().rows == [["7"], ["1"]]
    first.query("COMMIT")


def test_a_new_client_sees_nothing_of_what_others_have_prepared(pooler, pg, clients):
    """Its Parse is saved, and what follows finds a stale plan."""
    for name, messages, types in (
            ("b", wire.describe("S", "n"), "1tTZ"),
            ("c", wire.bind(["x"], "n") + wire.describe() + wire.execute(), "12TDCZ"),
            ("d", wire.describe("S", "n") + wire.bind(["x"], "n") + wire.execute(), "1tT2DCZ")):
        column_added(pg, name)
        new = pooler.client()
        for _ in range(2):
            new.send_raw(wire.parse(QUERY, "n") + messages + wire.sync())
            assert new.result().check().types == types
            new.send_raw(wire.close("S", "n") + wire.sync())
            assert new.result().check().types == "3Z"
        new.close()
        for client in clients:
            run(client)


def test_in_a_transaction_the_error_passes(pg, clients):
    """What ran before it cannot be repeated. Afterwards the statement is prepared anew."""
    client, other = clients
    column_added(pg, "b")
    client.query("BEGIN")
    assert run(client).errors[0]["C"] == "0A000"
    client.send_raw(wire.query("SELECT 1"))
    assert client.result().errors[0]["C"] == "25P02"
    client.query("ROLLBACK")
    for _ in range(3):
        assert run(client).check().rows == run(other).check().rows == [["1", "2"]]


def test_behind_something_in_the_pipeline_the_error_passes(pg, clients):
    client, other = clients
    column_added(pg, "b")
    client.send_raw(wire.extended("INSERT INTO stale VALUES (7)") + wire.bind(["x"], "s")
                    + wire.execute() + wire.sync())
    assert client.result().errors[0]["C"] == "0A000"
    assert run(other).check().rows == [["1", "2"]]


def test_a_long_pipeline_is_not_repeated(pg, clients):
    client, other = clients
    column_added(pg, "b")
    assert run(client, "x" * 2000).errors[0]["C"] == "0A000"
    for _ in range(3):
        assert run(client, "x" * 2000).check().rows == [["1", "2"]]
        assert run(other).check().rows == [["1", "2"]]


def test_a_second_pipeline_behind_it_is_in_order(pg, clients):
    """Then nothing is repeated, because the second has been sent already."""
    client, _ = clients
    column_added(pg, "b")
    client.send_raw((wire.bind(["x"], "s") + wire.execute() + wire.sync()) * 2)
    assert [client.result().errors[0]["C"] for _ in range(2)] == ["0A000"] * 2
    assert run(client).check().rows == [["1", "2"]]


def test_what_is_sent_meanwhile_waits(pooler, pg, clients):
    """The next query comes while the first is repeated: its answer comes second."""
    client, _ = clients
    for round in range(20):
        column_added(pg, "c%d" % round)
        client.send_raw(wire.bind(["x"], "s") + wire.describe() + wire.execute() + wire.sync())
        client.send_raw(wire.query("SELECT 'next'"))
        first = client.result()
        if first.errors:  # it was there before the error
            assert first.errors[0]["C"] == "0A000"
        else:
            assert len(first.rows[0]) == round + 2
        assert client.result().value == "next"


def test_a_table_that_is_gone(pg, clients):
    """The statement cannot be prepared again: that is the error, and it is told each time."""
    client, other = clients
    pg.sql("DROP TABLE stale")
    for _ in range(2):
        assert run(client).errors[0]["C"] == run(other).errors[0]["C"] == "42P01"
    pg.sql("CREATE TABLE stale AS SELECT 5 AS a")
    pg.sql("GRANT ALL ON stale TO public")
    assert run(client).check().rows == run(other).check().rows == [["5"]]


def test_statements_that_vanish(clients):
    """A function may deallocate, which no tag tells."""
    client, other = clients
    for _ in range(3):
        client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$").check()
        assert run(client).check().rows == run(other).check().rows == [["1"]]


def test_shown(pooler, clients):
    assert [row["prepared_statements"] for row in pooler.show("SERVERS")] == [1, 1]
    assert sorted(row["prepared_statements"] for row in pooler.show("CLIENTS")) == [0, 1, 1]
    clients[0].query("DEALLOCATE ALL")
    assert sorted(row["prepared_statements"] for row in pooler.show("SERVERS")) == [0, 1]
    assert sorted(row["prepared_statements"] for row in pooler.show("CLIENTS")) == [0, 0, 1]


def test_what_was_flushed_before_is_not_forgotten(pg, clients):
    """It was answered, but not committed: the error rolls it back, so the client must see it."""
    client, _ = clients
    column_added(pg, "b")
    pg.sql("CREATE TABLE IF NOT EXISTS flushed (a int); TRUNCATE flushed;"
           "GRANT ALL ON flushed TO public")
    client.send_raw(wire.extended("INSERT INTO flushed VALUES (1)") + wire.flush())
    assert [client.read().type for _ in range(4)] == ["1", "2", "n", "C"]
    client.send_raw(wire.bind(["x"], "s") + wire.execute() + wire.sync())
    assert client.result().errors[0]["C"] == "0A000"
    assert pg.sql("SELECT count(*) FROM flushed") == [(0,)]
    assert run(client).check().rows == [["1", "2"]]


@pytest.mark.parametrize("again", [False, True])
def test_a_describe_of_a_changed_table(pg, clients, again):
    """
    The error comes behind half of the answer, which is held back until then. Also behind a Parse that is
    saved, as drivers send it.
    """
    column_added(pg, "b")
    new = wire.close("S", "s") + wire.parse(QUERY, "s") if again else b""
    for _ in range(3):
        for client in clients:
            client.send_raw(new + wire.describe("S", "s") + wire.sync())
            result = client.result().check()
            assert result.types == ("31" if again else "") + "tTZ"
            assert [column.name for column in result.columns] == ["a", "b"]


def test_a_use_behind_a_saved_parse(pg, clients):
    column_added(pg, "b")
    for client in clients:
        client.send_raw(wire.close("S", "s") + wire.parse(QUERY, "s") + wire.bind(["x"], "s")
                        + wire.execute() + wire.sync())
        result = client.result().check()
        assert result.types == "312DCZ" and result.rows == [["1", "2"]]


def all_vanish(clients):
    for client in clients:  # on either server
        client.query("BEGIN")
        client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$").check()
    for client in clients:
        client.query("COMMIT")


def test_statements_that_vanish_from_a_long_pipeline(clients):
    """It is not repeated, but the next one works: one error for each server at most."""
    client, other = clients
    all_vanish(clients)
    codes = [error["C"] for _ in range(4) for error in run(client, "x" * 2000).errors]
    assert codes in (["26000"], ["26000"] * 2)
    assert run(client, "x" * 2000).check().rows == run(other).check().rows == [["1"]]


def test_a_describe_of_a_statement_that_vanished(clients):
    client, _ = clients
    all_vanish(clients)
    for _ in range(2):
        client.send_raw(wire.describe("S", "s") + wire.sync())
        assert client.result().check().types == "tTZ"
        assert run(client).check().rows == [["1"]]


def test_the_same_text_means_another_table_in_another_pool(start_pooler, pg):
    """Who remembers the columns of one is not disturbed by those of the other."""
    pg.sql("CREATE SCHEMA IF NOT EXISTS elsewhere")
    pg.sql("DROP TABLE IF EXISTS stale, elsewhere.stale")
    pg.sql("CREATE TABLE stale AS SELECT 1 AS a")
    pg.sql("CREATE TABLE elsewhere.stale AS SELECT 2 AS a, 3 AS b")
    pg.sql("GRANT ALL ON SCHEMA elsewhere TO public; GRANT ALL ON stale, elsewhere.stale TO public")
    pooler = start_pooler(
        pool_mode="transaction",
        databases={"p0": "dbname=p0", "p1": "dbname=p0 connect_query='SET search_path=elsewhere'"})
    here, there = pooler.client(), pooler.client(database="p1")
    prepare(here)
    prepare(there)
    for _ in range(3):
        assert run(here, describe=False).check().rows == [["1"]]
        assert run(there, describe=False).check().rows == [["2", "3"]]


@pytest.mark.parametrize("at_once", [False, True])
def test_in_a_failed_transaction_that_comes_first(pg, clients, at_once):
    """As PostgreSQL says it, which does not look at the columns then."""
    client, _ = clients
    column_added(pg, "b")
    assert run(client, describe=False).errors[0]["C"] == "0A000"
    messages = [wire.query("BEGIN"), wire.query("SELECT 1/0"),
                wire.bind(["x"], "s") + wire.execute() + wire.sync(), wire.query("ROLLBACK")]
    for round in [messages] if not at_once else [[b"".join(messages)]]:
        for message in round:
            client.send_raw(message)
    client.result().check()
    assert client.result().errors[0]["C"] == "22012"
    assert client.result().errors[0]["C"] == "25P02"
    client.result().check()
    check_told(client)
