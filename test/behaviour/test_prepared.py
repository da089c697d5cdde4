"""Prepared statements in transaction and statement pooling."""

import itertools
import socket
import threading
import time

import psycopg
import pytest

from support import wire
from support.invariants import is_sanitized
from support.process import resident_kib, wait_for

SUM = "SELECT $1::int + $2::int"
IN_USE = "prepared statement name is already in use"
UNKNOWN = "prepared statement did not exist"


@pytest.fixture
def single(start_pooler):
    """One server, and errors like PostgreSQL's."""
    return start_pooler(pool_mode="transaction", default_pool_size="1",
                        prepared_statement_errors="1")


@pytest.fixture
def double(start_pooler):
    """Two servers, and errors like PgBouncer's."""
    return start_pooler(pool_mode="transaction", default_pool_size="2")


@pytest.fixture
def table(pg):
    """The table vanishing (a int) in p0, empty."""
    pg.sql("DROP TABLE IF EXISTS vanishing")
    pg.sql("CREATE TABLE vanishing (a int); GRANT ALL ON vanishing TO public")
    yield
    pg.terminate("datname = 'p0'")
    pg.sql("DROP TABLE IF EXISTS vanishing")


def prepare(client, sql, name, types=()):
    client.send_raw(wire.parse(sql, name, types) + wire.sync())
    assert client.result().check().types == "1Z"


def use(name, values=()):
    return wire.bind(values, name) + wire.execute()


def run(client, name, values=()):
    """Binds and executes; the whole answer."""
    client.send_raw(use(name, values) + wire.sync())
    return client.result()


def value(client, name, values=()):
    return run(client, name, values).check().value


def sqlstates(result):
    return [error["C"] for error in result.errors]


def on_server(client):
    """The protocol-level statements of the server that the client gets, by name: name and text."""
    return [tuple(row) for row in client.query(
        "SELECT name, statement FROM pg_prepared_statements WHERE NOT from_sql"
        " ORDER BY length(name), name").rows]


def texts_on(client):
    return sorted(text for _, text in on_server(client))


def hold_server(pooler):
    """Takes a server away from the others, until the client ends its transaction."""
    client = pooler.client()
    client.query("BEGIN")
    return client


def works(client):
    return client.value("SELECT 42") == "42"


# The usual way

def test_a_statement_follows_its_client(double):
    client = double.client()
    prepare(client, SUM, "sum")
    first_pid = client.value("SELECT pg_backend_pid()")
    holder = hold_server(double)  # takes the server that has the statement
    assert holder.value("SELECT pg_backend_pid()") == first_pid
    assert value(client, "sum", (1, 2)) == "3"
    assert client.value("SELECT pg_backend_pid()") != first_pid
    holder.query("COMMIT")
    for _ in range(3):
        assert value(client, "sum", (2, 3)) == "5"


def test_two_clients_share_one_statement(double):
    one, two = double.client(), double.client()
    prepare(one, SUM, "mine")
    prepare(two, SUM, "yours")
    assert value(one, "mine", (1, 2)) == value(two, "yours", (2, 1)) == "3"
    ((name, text),) = on_server(one)
    assert name == "PGBOUNCER_1" and text == SUM
    assert double.stats()["total_server_parse_count"] == 1


def test_one_client_may_have_two_names_for_it(single):
    client = single.client()
    prepare(client, SUM, "a")
    prepare(client, SUM, "b")
    client.send_raw(wire.close("S", "a") + wire.sync())
    assert client.result().types == "3Z"
    assert value(client, "b", (1, 1)) == "2"
    assert sqlstates(run(client, "a", (1, 1))) == ["26000"]
    assert len(on_server(client)) == 1


def test_names_are_each_clients_own(single):
    one, two = single.client(), single.client()
    prepare(one, "SELECT 'one'", "s")
    prepare(two, "SELECT 'two'", "s")
    assert (value(one, "s"), value(two, "s")) == ("one", "two")
    two.send_raw(wire.close("S", "s") + wire.sync())
    two.result()
    assert value(one, "s") == "one"


def test_other_types_are_another_statement(single):
    client = single.client()
    prepare(client, "SELECT pg_typeof($1)", "number", [23])
    prepare(client, "SELECT pg_typeof($1)", "text", [25])
    assert value(client, "number", (1,)) == "integer"
    assert value(client, "text", (1,)) == "text"
    assert [name for name, _ in on_server(client)] == ["PGBOUNCER_1", "PGBOUNCER_2"]


def test_databases_and_users_have_servers_of_their_own(double):
    clients = [double.client("p0"), double.client("p1"), double.client("p0", user="alice")]
    for client in clients:
        prepare(client, "SELECT current_database() || current_user", "who")
    assert [value(client, "who") for client in clients] == ["p0bob", "p1bob", "p0alice"]


def test_describe(double):
    client = double.client()
    prepare(client, SUM, "sum")
    holder = hold_server(double)
    for _ in range(2):
        client.send_raw(wire.describe("S", "sum") + wire.sync())
        assert client.result().check().types == "tTZ"
    holder.query("COMMIT")
    client.send_raw(wire.describe("S", "sum") + wire.bind((1, 2), "sum", "portal")
                    + wire.describe("P", "portal") + wire.execute("portal") + wire.sync())
    result = client.result().check()
    assert result.types == "tT2TDCZ" and result.value == "3"


def test_a_pipeline_on_a_server_that_has_none_of_it(double):
    """Several Parses are put in, and their answers taken out."""
    client = double.client()
    for place in range(10):
        prepare(client, "SELECT %d" % place, "s%d" % place)
    holder = hold_server(double)
    client.send_raw(b"".join(use("s%d" % place) for place in range(10)) + wire.sync())
    result = client.result().check()
    assert result.types == "2DC" * 10 + "Z"
    assert [row for (row,) in result.rows] == [str(place) for place in range(10)]
    holder.query("COMMIT")


def test_names_of_every_byte(single):
    client = single.client()
    for name in (b" ", b"PGBOUNCER_1", b"a\"b;'", b"\xff\xfe", b"n" * 63, b"n" * 64, b"n" * 4095):
        prepare(client, "SELECT 5", name)
        assert value(client, name) == "5"
        client.send_raw(wire.close("S", name) + wire.sync())
        assert client.result().types == "3Z"
    client.send_raw(wire.parse("SELECT 5", "n" * 4096) + wire.sync())
    client.expect_error("broken Parse packet")


def test_statement_pooling(start_pooler):
    pooler = start_pooler(pool_mode="statement", default_pool_size="2")
    one, two = pooler.client(), pooler.client()
    prepare(one, SUM, "sum")
    prepare(two, SUM, "sum")
    two.send_raw(use("sum", (1, 2)) + use("sum", (3, 4)) + wire.sync()
                 + use("sum", (5, 6)) + wire.sync())
    assert [row for (row,) in two.result().check().rows + two.result().check().rows] == [
        "3", "7", "11"]
    assert value(one, "sum", (1, 1)) == "2"
    assert [name for name, _ in on_server(one)] == ["PGBOUNCER_1"]


# Where names pass as they are

def test_session_pooling_passes_everything(start_pooler):
    pooler = start_pooler(pool_mode="session", default_pool_size="1", server_reset_query="")
    client = pooler.client()
    prepare(client, SUM, "sum")
    prepare(client, SUM, "other")
    assert sorted(name for name, _ in on_server(client)) == ["other", "sum"]
    client.send_raw(wire.parse(SUM, "sum") + wire.sync())
    assert sqlstates(client.result()) == ["42P05"]
    client.send_raw(wire.close("S", "sum") + wire.sync())
    assert client.result().types == "3Z"
    assert [name for name, _ in on_server(client)] == ["other"]
    client.terminate()
    assert [name for name, _ in on_server(pooler.client())] == ["other"]


def test_switched_off_and_on(single):
    """0 stops it at once; what clients and servers had is still there when it comes back."""
    client, new = single.client(), single.client()
    prepare(client, SUM, "sum")
    single.settings["max_prepared_statements"] = "0"
    single.reload()
    assert sqlstates(run(client, "sum", (1, 2))) == ["26000"]
    prepare(new, SUM, "sum")  # by this name on the server
    assert [name for name, _ in on_server(new)] == ["PGBOUNCER_1", "sum"] or (
        [name for name, _ in on_server(new)] == ["sum", "PGBOUNCER_1"])
    assert value(new, "sum", (1, 2)) == value(client, "sum", (1, 2)) == "3"
    new.send_raw(wire.close("S", "sum") + wire.sync())
    assert new.result().types == "3Z"
    assert [name for name, _ in on_server(new)] == ["PGBOUNCER_1"]
    single.settings["max_prepared_statements"] = "200"
    single.reload()
    assert value(client, "sum", (1, 2)) == "3"
    assert sqlstates(run(new, "sum", (1, 2))) == ["26000"]
    prepare(new, SUM, "sum")
    assert value(new, "sum", (1, 2)) == "3"
    assert [name for name, _ in on_server(new)] == ["PGBOUNCER_1"]


def test_from_session_to_transaction_pooling(start_pooler):
    pooler = start_pooler(pool_mode="session", default_pool_size="1")
    client = pooler.client()
    prepare(client, SUM, "sum")
    client.terminate()
    pooler.settings["pool_mode"] = "transaction"
    pooler.reload()
    one, two = pooler.client(), pooler.client()
    prepare(one, SUM, "sum")
    assert value(one, "sum", (1, 2)) == "3"
    prepare(two, SUM, "sum")
    assert value(two, "sum", (1, 2)) == "3"
    assert [name for name, _ in on_server(two)] == ["PGBOUNCER_1"]


# Which ones a server keeps

@pytest.fixture
def few(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="1",
                        max_prepared_statements="3", prepared_statement_errors="1")


def test_the_least_recently_used_is_closed(few):
    client = few.client()
    for name in "abc":
        prepare(client, "SELECT '%s'" % name, name)
    assert value(client, "a") == "a"  # now b is the oldest
    client.send_raw(wire.describe("S", "b") + wire.sync())  # now c
    assert client.result().types == "tTZ"
    prepare(client, "SELECT 'd'", "d")
    assert texts_on(client) == ["SELECT 'a'", "SELECT 'b'", "SELECT 'd'"]
    assert [value(client, name) for name in "abcd"] == list("abcd")
    assert texts_on(client) == ["SELECT 'b'", "SELECT 'c'", "SELECT 'd'"]


def test_saving_a_parse_is_no_use(few):
    """As in PgBouncer: only Bind and Describe count."""
    one, two = few.client(), few.client()
    for name in "abc":
        prepare(one, "SELECT '%s'" % name, name)
    prepare(two, "SELECT 'a'", "a")
    prepare(one, "SELECT 'd'", "d")
    assert texts_on(one) == ["SELECT 'b'", "SELECT 'c'", "SELECT 'd'"]
    assert value(two, "a") == "a"


def test_a_lower_limit(single):
    client = single.client()
    for place in range(20):
        prepare(client, "SELECT %d" % place, str(place))
    assert len(on_server(client)) == 20
    single.settings["max_prepared_statements"] = "2"
    single.reload()
    assert value(client, "19") == "19"
    assert len(on_server(client)) == 20  # holds from the next Parse on
    prepare(client, "SELECT 20", "20")
    assert texts_on(client) == ["SELECT 19", "SELECT 20"]
    client.send_raw(b"".join(use(str(place)) for place in range(21)) + wire.sync())
    assert client.result().check().types == "2DC" * 21 + "Z"
    assert texts_on(client) == ["SELECT 19", "SELECT 20"]


def test_pp08_more_statements_in_a_pipeline_than_the_server_may_have(few):
    """Each is closed and prepared again; the client sees none of it."""
    client = few.client()
    names = list("abcdefgh")
    client.send_raw(b"".join(wire.parse("SELECT '%s'" % name, name) for name in names)
                    + b"".join(use(name) for name in names + names[::-1]) + wire.sync())
    result = client.result().check()
    assert result.types == "1" * 8 + "2DC" * 16 + "Z"
    assert [row for (row,) in result.rows] == names + names[::-1]
    assert texts_on(client) == ["SELECT '%s'" % name for name in "abc"]


def test_pp08_an_error_among_evictions(few):
    """What was skipped never happened: neither Closes nor Parses."""
    client = few.client()
    for name in "abcdefg":
        prepare(client, "SELECT '%s'" % name, name)
    for _ in range(3):
        client.send_raw(use("a") + use("nowhere") + use("b") + use("c") + use("d") + wire.sync()
                        + use("d") + use("a") + wire.sync() + use("g") + wire.sync())
        assert sqlstates(client.result()) == ["26000"]
        assert client.result().check().rows == [["d"], ["a"]]
        assert client.result().check().rows == [["g"]]
    assert [value(client, name) for name in "abcdefg"] == list("abcdefg")
    assert len(on_server(client)) == 3


def test_pp08_an_error_of_the_server_among_evictions(few):
    client = few.client()
    for name in "abcdef":
        prepare(client, "SELECT '%s'" % name, name)
    prepare(client, "SELECT 1 / $1::int", "division")
    for divisor, rows in (("1", [["a"], ["1"], ["b"], ["c"], ["d"]]), ("0", [["a"]])):
        client.send_raw(use("a") + use("division", (divisor,)) + use("b") + use("c") + use("d")
                        + wire.sync() + use("b") + use("a") + wire.sync())
        assert client.result().rows == rows
        assert client.result().check().rows == [["b"], ["a"]]
        assert [value(client, name) for name in "abcdef"] == list("abcdef")
        assert len(on_server(client)) <= 3


def test_one_statement_on_each_server(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          max_prepared_statements="1")
    client = pooler.client()
    prepare(client, "SELECT 1", "a")
    prepare(client, "SELECT 2", "b")
    client.send_raw((use("a") + use("b")) * 50 + wire.sync() + use("a") + wire.sync())
    assert client.result().check().rows == [["1"], ["2"]] * 50
    assert client.result().check().rows == [["1"]]
    assert len(on_server(client)) == 1


# Parses that fail

def test_statements_that_are_prepared_again_and_again_take_no_memory(start_pooler):
    """A few bytes of the client become a large Parse each time: the server's pace is the limit."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          max_prepared_statements="1")
    client = pooler.client()
    for name in "ab":
        prepare(client, "SELECT '%s' /* %s */" % (name, "x" * 200000), name)
    before = resident_kib(pooler.pid, peak=True)
    count = 500
    client.send_raw((use("a") + use("b")) * count + wire.sync())
    result = client.result().check()
    assert result.types == "2DC" * 2 * count + "Z"
    assert [row[0] for row in result.rows] == ["a", "b"] * count
    grown = resident_kib(pooler.pid, peak=True) - before
    assert grown < 20000 or is_sanitized(pooler.pid)


def test_a_parse_that_fails_is_forgotten(double):
    client = double.client()
    for sql, code in (("SELECT nonsense", "42703"), ("SELEC", "42601"), ("SELECT 1; SELECT 2", "42601")):
        client.send_raw(wire.parse(sql, "s") + wire.sync())
        assert sqlstates(client.result()) == [code]
    prepare(client, "SELECT 1", "s")
    assert value(client, "s") == "1"


def test_a_parse_that_fails_is_forgotten_in_the_same_stream(single):
    """The second one is sent before the first is answered."""
    client = single.client()
    client.send_raw(wire.parse("SELECT nonsense", "s") + use("s") + wire.sync()
                    + wire.parse("SELECT 2", "s") + use("s") + wire.sync()
                    + wire.parse("SELECT 3", "s") + wire.sync()
                    + use("s") + wire.sync())
    assert sqlstates(client.result()) == ["42703"]
    assert client.result().check().rows == [["2"]]
    assert sqlstates(client.result()) == ["42P05"]
    assert client.result().check().rows == [["2"]]


def test_a_parse_that_is_skipped_is_forgotten(single):
    client = single.client()
    client.send_raw(use("nowhere") + wire.parse("SELECT 1", "s") + wire.sync())
    assert client.result().types == "EZ"
    assert sqlstates(run(client, "s")) == ["26000"]
    prepare(client, "SELECT 2", "s")
    assert value(client, "s") == "2"


def test_a_close_that_is_skipped_closes_nothing(single):
    client = single.client()
    prepare(client, "SELECT 1", "s")
    client.send_raw(use("nowhere") + wire.close("S", "s") + wire.sync() + use("s") + wire.sync())
    assert client.result().types == "EZ"
    assert client.result().check().value == "1"


def test_a_parse_in_a_failed_transaction(single):
    """PostgreSQL refuses it, also one that the server has; but not a ROLLBACK."""
    client = single.client()
    prepare(client, "SELECT 1", "s")
    prepare(client, "ROLLBACK", "rollback")
    client.query("BEGIN")
    with pytest.raises(wire.ServerError):
        client.query("SELECT nonsense")
    client.send_raw(wire.parse("SELECT 1", "again") + wire.sync())
    assert sqlstates(client.result()) == ["25P02"]
    assert sqlstates(run(client, "s")) == ["25P02"]
    assert run(client, "rollback").check().status == "I"
    prepare(client, "SELECT 1", "again")
    assert value(client, "again") == value(client, "s") == "1"


def test_an_error_of_a_parse_that_was_put_in(double, pg, table):
    """The table is gone on the way to the second server: the error comes where Bind's would."""
    client = double.client()
    prepare(client, "SELECT count(*) FROM vanishing", "s")
    prepare(client, "SELECT 7", "seven")
    holder = hold_server(double)
    pg.sql("DROP TABLE vanishing")
    client.send_raw(use("seven") + use("s") + use("seven") + wire.sync() + use("seven") + wire.sync())
    result = client.result()
    assert result.types == "2DCEZ" and sqlstates(result) == ["42P01"]
    assert client.result().check().rows == [["7"]]
    client.send_raw(wire.describe("S", "s") + wire.sync())
    assert sqlstates(client.result()) == ["42P01"]
    pg.sql("CREATE TABLE vanishing (a int); GRANT ALL ON vanishing TO public")
    assert value(client, "s") == "0"
    holder.query("COMMIT")


# Names that are unknown, or in use

def test_unknown_names_end_the_session(double):
    for data in (wire.bind((), "nowhere"), wire.describe("S", "nowhere"), use("nowhere") + wire.sync()):
        client = double.client()
        client.send_raw(data)
        client.expect_error(UNKNOWN)
    assert "prepared statement 'nowhere' not found" in double.log()
    assert works(double.client())


def test_a_name_in_use_ends_the_session(double):
    client = double.client()
    prepare(client, "SELECT 1", "s")
    client.send_raw(wire.parse("SELECT 1", "s"))
    client.expect_error(IN_USE)
    assert "prepared statement 's' was already prepared" in double.log()
    assert works(double.client())


def test_postgresqls_errors_instead(single):
    client = single.client()
    prepare(client, "SELECT 1", "s")
    for data, code, text in (
            (use("nowhere"), "26000", 'prepared statement "nowhere" does not exist'),
            (wire.describe("S", "nowhere"), "26000", 'prepared statement "nowhere" does not exist'),
            (wire.parse("SELECT 1", "s"), "42P05", 'prepared statement "s" already exists'),
            (wire.parse("SELECT 2", "s"), "42P05", 'prepared statement "s" already exists')):
        client.send_raw(data + use("s") + wire.sync())
        result = client.result()
        assert result.types == "EZ" and result.status == "I"
        assert (result.errors[0]["S"], result.errors[0]["C"], result.errors[0]["M"]) == (
            "ERROR", code, text)
        assert value(client, "s") == "1"


def test_close_of_names_that_are_not_known(single):
    client = single.client()
    client.send_raw(wire.close("S", "nowhere") + wire.close("S", ""))
    assert client.read() == ("3", b"")  # without a server, at once
    client.send_raw(wire.sync())
    assert client.result().types == "3Z"
    client.query("BEGIN")
    client.send_raw(wire.close("S", "nowhere") + wire.flush())
    assert client.read() == ("3", b"")
    client.send_raw(wire.sync())
    assert client.result().types == "Z"


def test_close_without_a_server(single):
    """It needs none: the only one is somebody else's."""
    client = single.client()
    prepare(client, "SELECT 1", "s")
    holder = hold_server(single)
    client.send_raw(wire.close("S", "s"))
    assert client.read() == ("3", b"")
    holder.query("COMMIT")
    client.send_raw(wire.sync())
    assert client.result().types == "Z"
    assert sqlstates(run(client, "s")) == ["26000"]


def test_close_and_parse_of_one_name_again_and_again(single):
    client = single.client()
    client.send_raw(b"".join(wire.parse("SELECT %d" % (place % 3), "s") + use("s")
                             + wire.close("S", "s") for place in range(100)) + wire.sync())
    result = client.result().check()
    assert result.types == "12DC3" * 100 + "Z"
    assert [row for (row,) in result.rows] == [str(place % 3) for place in range(100)]
    assert len(on_server(client)) == 3
    assert single.stats()["total_server_parse_count"] == 3


# What is too large, or too many

BIG = "SELECT 1 /* %s */" % ("x" * 5000)


@pytest.fixture
def narrow(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="1",
                        max_prepared_statement_size="5000", prepared_statement_errors="1")


def test_a_statement_that_is_too_large(narrow):
    client = narrow.client()
    client.send_raw(wire.parse(BIG, "big") + use("big") + wire.sync())
    result = client.result()
    assert result.types == "EZ" and sqlstates(result) == ["54000"]
    assert "max_prepared_statement_size" in result.errors[0]["M"]
    assert sqlstates(run(client, "big")) == ["26000"]
    prepare(client, "SELECT 1", "big")
    assert value(client, "big") == "1"
    assert client.execute(BIG).value == "1"  # without a name nothing is kept


def test_the_largest_statement_that_is_allowed(narrow):
    client = narrow.client()
    text = "SELECT 1 --"
    text += "x" * (5000 - len(wire.parse(text, "s")))
    assert len(wire.parse(text, "s")) == 5000
    prepare(client, text, "s")
    assert value(client, "s") == "1"
    client.send_raw(wire.parse(text + "x", "t") + wire.sync())
    assert sqlstates(client.result()) == ["54000"]


def test_too_large_is_known_from_the_head(narrow):
    """The error comes before the rest; the rest is left out wherever it is cut."""
    client = narrow.client()
    data = wire.parse(BIG, "big") + wire.flush()
    client.send_raw(data[:20])
    assert client.read().type == "E"
    for place in range(20, len(data), 997):
        client.send_raw(data[place:place + 997])
    client.send_raw(wire.sync())
    assert client.result().types == "Z"
    assert works(client)


def test_a_statement_by_the_name_of_our_own_error(narrow):
    """What is sent to the server to make it fail must fail, whatever somebody has prepared there."""
    one, two = narrow.client(), narrow.client()
    one.query('PREPARE "pgweir: none" AS SELECT 1')
    two.send_raw(wire.parse(BIG, "big") + wire.sync())
    result = two.result()
    assert result.types == "EZ" and sqlstates(result) == ["54000"]


def test_errors_of_the_pooler_in_a_transaction(narrow):
    """It is aborted by them as by any error."""
    client = narrow.client()
    prepare(client, "SELECT 1", "s")
    for data, code in ((wire.parse(BIG, "big"), "54000"), (use("nowhere"), "26000"),
                       (wire.parse("SELECT 1", "s"), "42P05")):
        client.query("BEGIN")
        client.send_raw(data + wire.sync())
        result = client.result()
        assert (result.types, result.status, sqlstates(result)) == ("EZ", "E", [code])
        assert sqlstates(run(client, "s")) == ["25P02"]
        assert client.query("ROLLBACK").status == "I"
        assert value(client, "s") == "1"


def test_errors_of_the_pooler_in_the_middle_of_a_pipeline(narrow):
    client = narrow.client()
    prepare(client, "SELECT 1", "s")
    for data, code in ((wire.parse(BIG, "big"), "54000"), (use("nowhere"), "26000"),
                       (wire.parse("SELECT 1", "s"), "42P05")):
        client.send_raw(use("s") + data + use("s") + wire.query("SELECT 'skipped'") + wire.sync()
                        + use("s") + wire.sync() + data + wire.sync() + data + data + wire.sync()
                        + wire.query("SELECT 'last'"))
        results = [client.result() for _ in range(5)]
        assert [result.types for result in results] == ["2DCEZ", "2DCZ", "EZ", "EZ", "TDCZ"]
        assert all(sqlstates(results[place]) == [code] for place in (0, 2, 3))
    assert works(narrow.client())


def test_memory_of_one_client(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          max_client_prepared_memory="20000")
    client, other = pooler.client(), pooler.client()
    held = []
    for place in itertools.count():
        client.send_raw(wire.parse("SELECT %d /* %s */" % (place, "x" * 1000), str(place)) + wire.sync())
        result = client.result()
        if result.errors:
            break
        held.append(str(place))
    assert result.types == "EZ" and sqlstates(result) == ["53200"]
    assert "max_client_prepared_memory" in result.errors[0]["M"]
    assert 10 < len(held) < 20
    assert [value(client, name) for name in held] == held
    client.send_raw(wire.close("S", "0") + wire.sync())
    client.result()
    prepare(client, "SELECT 'in its place' /* %s */" % ("x" * 980), "new")
    assert value(client, "new") == "in its place"
    prepare(other, "SELECT 'of the other' /* %s */" % ("x" * 1000), "new")
    assert value(other, "new") == "of the other"
    client.query("DEALLOCATE ALL")
    for name in held:
        prepare(client, "SELECT %s /* %s */" % (name, "x" * 1000), name)


def test_memory_of_all_clients(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          max_prepared_memory="50000", max_prepared_statements="1")
    clients = [pooler.client() for _ in range(10)]
    held, errors = [], []
    for place in range(100):
        client = clients[place % 10]
        client.send_raw(wire.parse("SELECT %d /* %s */" % (place, "x" * 1000), str(place)) + wire.sync())
        result = client.result()
        if result.errors:
            errors += sqlstates(result)
            assert "max_prepared_memory" in result.errors[0]["M"]
        else:
            held.append((client, str(place)))
    assert 40 < len(held) < 50 and set(errors) == {"53200"}
    for client, name in held:
        assert value(client, name) == name
    for client in clients[:5]:
        client.terminate()
    wait_for(lambda: pooler.pool()["cl_active"] == 5, "they are gone")
    prepare(clients[5], "SELECT 'room again' /* %s */" % ("x" * 1000), "new")
    assert value(clients[5], "new") == "room again"


@pytest.mark.limit(120)
def test_pp04_more_statements_than_one_can_count(start_pooler):
    """Never closed, all different: what they may cost is bounded, and given back."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          max_client_prepared_memory="1000000", max_prepared_memory="2000000")
    client = pooler.client()
    before = resident_kib(pooler.pid)
    count, good = 20000, 0
    for start in range(0, count, 500):
        client.send_raw(b"".join(
            wire.parse("SELECT %d /* some more words, as in real statements */" % place, str(place))
            + wire.sync() for place in range(start, start + 500)))
        for _ in range(500):
            result = client.result()
            good += not result.errors
            assert not result.errors or sqlstates(result) == ["53200"]
    assert 1000 < good < 10000
    assert resident_kib(pooler.pid) - before < 6000 or is_sanitized(pooler.pid)
    assert value(client, "7") == "7"
    client.terminate()
    # What the server still has is all that is left: 200 statements.
    other = pooler.client()
    pooler.wait_pool(cl_active=1)
    assert len(on_server(other)) == 200


# DEALLOCATE ALL and DISCARD ALL

@pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE PREPARE ALL"])
@pytest.mark.parametrize("way", ["simple", "execute", "named"])
def test_all_statements_end(single, command, way):
    client, other = single.client(), single.client()
    prepare(client, "SELECT 1", "s")
    prepare(other, "SELECT 1", "t")
    prepare(other, "SELECT 2", "u")
    if way == "simple":
        client.query(command)
    elif way == "execute":
        client.execute(command)
    else:
        prepare(client, command, "command")
        run(client, "command").check()
    assert on_server(client) == []
    assert sqlstates(run(client, "s")) == ["26000"]
    assert (value(other, "t"), value(other, "u")) == ("1", "2")
    prepare(client, "SELECT 3", "s")
    assert value(client, "s") == "3"


def test_pp15_deallocate_all_in_a_transaction_that_is_rolled_back(single):
    """Statements know no transactions."""
    client, other = single.client(), single.client()
    prepare(client, "SELECT 1", "s")
    prepare(other, "SELECT 1", "s")
    client.query("BEGIN")
    client.query("DEALLOCATE ALL")
    prepare(client, "SELECT 2", "kept")
    client.query("ROLLBACK")
    assert texts_on(client) == ["SELECT 2"]
    assert sqlstates(run(client, "s")) == ["26000"]
    assert value(client, "kept") == "2"
    assert value(other, "s") == "1"


def test_pp15_deallocate_all_that_fails(single):
    client = single.client()
    prepare(client, "SELECT 1", "s")
    client.query("BEGIN")
    with pytest.raises(wire.ServerError):
        client.query("SELECT nonsense")
    with pytest.raises(wire.ServerError):
        client.query("DEALLOCATE ALL")
    client.query("ROLLBACK")
    assert value(client, "s") == "1"


def test_pp15_discard_plans(single):
    client = single.client()
    prepare(client, "SELECT 1", "s")
    client.query("DISCARD PLANS")
    assert value(client, "s") == "1"
    assert len(on_server(client)) == 1


def test_deallocate_all_among_several_statements(single):
    client = single.client()
    prepare(client, "SELECT 1", "s")
    assert client.query("SELECT 5; DEALLOCATE ALL; SELECT 6").rows == [["5"], ["6"]]
    assert sqlstates(run(client, "s")) == ["26000"]
    prepare(client, "SELECT 1", "s")
    assert value(client, "s") == "1"


@pytest.mark.parametrize("query", ["DISCARD ALL", "DEALLOCATE ALL", "SELECT 1; DEALLOCATE ALL"])
def test_a_reset_that_ends_all_statements(start_pooler, query):
    """server_reset_query_always: prepared anew for each transaction."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          server_reset_query=query, server_reset_query_always="1")
    one, two = pooler.client(), pooler.client()
    prepare(one, SUM, "s")
    prepare(two, SUM, "s")
    for _ in range(3):
        assert value(one, "s", (1, 2)) == value(two, "s", (2, 1)) == "3"
        assert on_server(one) == []
    one.query("BEGIN")
    assert value(one, "s", (1, 2)) == "3"
    assert len(on_server(one)) == 1
    one.query("COMMIT")


# Without a name

def test_pp14_the_unnamed_statement_of_another_client(single):
    one, two = single.client(), single.client()
    assert one.execute("SELECT 'secret'").value == "secret"
    assert sqlstates(run(two, "")) == ["26000"]
    two.send_raw(wire.describe("S", "") + wire.sync())
    assert sqlstates(two.result()) == ["26000"]
    assert value(one, "") == "secret"
    two.execute("SELECT 'other'")
    assert sqlstates(run(one, "")) == ["26000"]
    assert value(two, "") == "other"


def test_pp14_a_parse_without_a_name_that_is_skipped(single):
    """The statement is still the other client's."""
    one, two = single.client(), single.client()
    one.execute("SELECT 'secret'")
    two.send_raw(wire.execute("nowhere") + wire.parse("SELECT 1") + wire.sync())
    assert two.result().types == "EZ"
    assert sqlstates(run(two, "")) == ["26000"]
    two.send_raw(wire.execute("nowhere") + wire.parse("SELECT 1") + use("") + wire.sync()
                 + use("") + wire.sync() + wire.describe("S") + wire.sync())
    assert [sqlstates(two.result()) for _ in range(3)] == [["34000"], ["26000"], ["26000"]]
    assert value(one, "") == "secret"


def test_pp14_parses_without_a_name_around_an_error(single):
    """What counts is which one the server has read when it reads the Bind."""
    one, two = single.client(), single.client()
    for _ in range(2):
        one.execute("SELECT 'secret'")
        two.send_raw(wire.execute("nowhere") + wire.parse("SELECT 1") + wire.sync()
                     + wire.parse("SELECT 2") + wire.sync() + use("") + wire.sync())
        assert [two.result().types for _ in range(3)] == ["EZ", "1Z", "2DCZ"]
        assert value(two, "") == "2"
        two.send_raw(wire.execute("nowhere") + wire.parse("SELECT 1") + wire.sync())
        assert two.result().types == "EZ"
        assert value(two, "") == "2"
        two.send_raw(wire.parse("SELECT nonsense") + wire.sync() + use("") + wire.sync())
        assert [sqlstates(two.result()) for _ in range(2)] == [["42703"], ["26000"]]
    assert sqlstates(run(one, "")) == ["26000"]


# Cut and large messages

def test_a_pipeline_cut_at_every_byte(single):
    client = single.client()
    data = (wire.parse(SUM, "name") + wire.describe("S", "name") + wire.bind((1, 2), "name", "portal")
            + wire.execute("portal") + wire.close("S", "name") + wire.sync())
    for cut in range(1, len(data)):
        client.send_raw(data[:cut])
        client.expect_silence(0.002) if cut % 16 == 0 else time.sleep(0.001)
        client.send_raw(data[cut:])
        result = client.result().check()
        assert result.types == "1tT2DC3Z" and result.value == "3", cut


def test_a_pipeline_byte_by_byte(double):
    client, holder = double.client(), hold_server(double)
    for name in ("a", "b"):
        for byte in (wire.parse(SUM, name) + wire.describe("S", name)
                     + wire.bind((1, 2), name, "portal") + wire.execute("portal") + wire.sync()):
            client.send_raw(bytes([byte]))
        result = client.result().check()
        assert result.types == "1tT2DCZ" and result.value == "3"
    holder.query("COMMIT")


def test_the_largest_statement_by_default(double):
    """Nearly 1 MiB, in many segments; on both servers."""
    client = double.client()
    text = "SELECT length($1) + length('%s')" % ("x" * (1048576 - 100))
    data = wire.parse(text, "s") + wire.sync()
    for place in range(0, len(data), 30011):
        client.send_raw(data[place:place + 30011])
    assert client.result().check().types == "1Z"
    holder = hold_server(double)
    for _ in range(2):
        assert value(client, "s", ("abc",)) == str(1048576 - 100 + 3)
    holder.query("COMMIT")
    client.send_raw(wire.parse(text + " " * 200, "t") + wire.sync())
    assert sqlstates(client.result()) == ["54000"]


def test_large_values(double):
    client = double.client()
    prepare(client, "SELECT md5($1), $1", "s")
    holder = hold_server(double)
    large = "".join(chr(97 + place % 26) for place in range(1000000))
    client.send_raw((use("s", (large,)) + use("s", ("small",))) * 2 + wire.sync())
    rows = client.result().check().rows
    assert [row[1] for row in rows] == [large, "small"] * 2
    holder.query("COMMIT")


@pytest.mark.parametrize("kind, name", [("C", "Close"), ("D", "Describe")])
def test_a_message_without_a_body_before_another(single, kind, name):
    """Its body is not what follows: the P of a portal is the P of a Parse."""
    client = single.client()
    client.query("BEGIN")
    client.send_raw(wire.message(kind) + wire.parse("SELECT 1") + wire.sync())
    client.expect_error("broken %s packet" % name)


def test_half_a_parse_holds_nobody_up(single):
    clients = [single.client() for _ in range(5)]
    data = wire.parse("SELECT 'half' /* %s */" % ("x" * 500000), "s") + wire.sync()
    for client in clients:
        client.send_raw(data[:400000])
    assert works(single.client())
    for client in clients[1:]:
        client.send_raw(data[400000:])
        assert client.result().check().types == "1Z"
        assert value(client, "s") == "half"
    clients[0].close()
    assert works(single.client())


def test_answers_of_the_pooler_that_nobody_reads(start_pooler):
    """More of them than any socket holds: the client is not read, and goes on when it reads."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1", tcp_socket_buffer="8192")
    client = pooler.client()
    prepare(client, "SELECT 1", "a")
    client.query("BEGIN")
    count = 50000
    data = (wire.parse("SELECT 1", "b") + wire.close("S", "b")) * count + wire.sync()
    sender = threading.Thread(target=client.send_raw, args=(data,))
    sender.start()
    time.sleep(0.3)
    want = (wire.message("1") + wire.message("3")) * count + wire.message("Z", b"T")
    got = client.read_bytes(len(want))
    sender.join()
    assert got == want


def test_the_last_answer_of_the_pooler_behind_a_large_result(start_pooler):
    """It waits for the client to read; then nothing is left to do, and the server is free."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    for size in range(100000, 600000, 80000):  # around what a Unix socket holds
        client = pooler.client(host=pooler.socket_dir)
        client.send_raw(wire.query("SELECT repeat('x', %d)" % size) + wire.parse("SELECT 1", "s")
                        + wire.sync() + wire.query("DEALLOCATE s"))
        time.sleep(0.05)
        assert [client.result().check().types for _ in range(3)] == ["TDCZ", "1Z", "CZ"]
        pooler.wait_pool(sv_active=0)


# Clients that leave

@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_a_client_that_vanishes_in_its_pipeline(double, cut):
    parts = [wire.parse("SELECT pg_sleep(0.01), %d" % cut, "s"), use("s"), wire.close("S", "s"),
             wire.parse("SELECT 2", "s"), use("s"), wire.sync()]
    for half in (b"", b"B\0\0"):
        client = double.client()
        client.send_raw(b"".join(parts[:cut]) + half)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    one, two = double.client(), double.client()
    double.wait_pool(cl_active=2, sv_active=0)
    one.query("BEGIN")
    for client in (one, two):
        prepare(client, "SELECT 2", "s")
        prepare(client, "SELECT pg_sleep(0.01), %d" % cut, "t")
        assert value(client, "s") == "2"
        assert run(client, "t").check().rows == [["", str(cut)]]
    one.query("COMMIT")


def test_a_server_that_dies_in_a_pipeline(double, pg):
    client, other = double.client(), double.client()
    prepare(client, "SELECT pg_sleep($1::float)", "s")
    prepare(other, SUM, "sum")
    client.send_raw(wire.parse("SELECT 1", "t") + use("s", (20,)) + use("t") + wire.sync())
    wait_for(lambda: pg.terminate("query LIKE 'SELECT pg_sleep%' AND state = 'active'"), "it sleeps")
    assert [got.type for got in client.wait_closed()][-1] == "E"
    assert value(other, "sum", (1, 2)) == "3"
    again = double.client()
    prepare(again, SUM, "sum")
    assert value(again, "sum", (3, 4)) == "7"


# Counters

def test_what_show_stats_counts(few):
    client, other = few.client(), few.client()
    prepare(client, SUM, "a")          # sent
    prepare(other, SUM, "a")           # saved
    for name in "bcd":
        prepare(client, "SELECT '%s'" % name, name)  # sent; a is evicted
    for _ in range(3):
        value(other, "a", (1, 2))      # prepared once more
    client.send_raw(wire.describe("S", "b") + wire.sync())  # the same
    client.result()
    client.send_raw(wire.parse(SUM, "a") + wire.sync())     # in use: an error
    client.result()
    client.execute("SELECT 1")         # without a name: not counted
    stats = few.stats()
    assert (stats["total_client_parse_count"], stats["total_server_parse_count"],
            stats["total_bind_count"]) == (5, 6, 3)


# Drivers in the ways that they use it

def test_psycopg(double):
    connections = [double.connect(prepare_threshold=0) for _ in range(3)]
    for _ in range(3):
        for connection in connections:
            with connection.transaction():
                for number in range(5):
                    assert connection.execute("SELECT %s::int + %s::int", (number, 1)).fetchone() == (
                        number + 1,)
    with pytest.raises(psycopg.errors.DivisionByZero):
        connections[0].execute("SELECT 1 / %s::int", (0,))
    assert connections[0].execute("SELECT 1 / %s::int", (1,)).fetchone() == (1,)
