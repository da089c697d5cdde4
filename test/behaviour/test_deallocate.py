"""DEALLOCATE name, sent by drivers for statements that they prepared by messages."""

import pytest

from support import wire


@pytest.fixture
def pooler(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="1",
                        prepared_statement_errors="1")


@pytest.fixture
def client(pooler):
    return prepared(pooler.client())


def prepared(client, name="Stmt_1"):
    client.send_raw(wire.parse("SELECT 7", name) + wire.sync())
    client.result().check()
    return client


def run(client, name="Stmt_1"):
    client.send_raw(wire.bind([], name) + wire.execute() + wire.sync())
    return client.result()


@pytest.mark.parametrize("sql", ['DEALLOCATE "Stmt_1"', ' deallocate\tPREPARE "Stmt_1" ; '])
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("how", ["query", "execute"])
def test_the_name_is_free(pooler, client, sql, in_transaction, how):
    other = prepared(pooler.client(), "kept")
    if in_transaction:
        client.query("BEGIN")
    client.send_raw(wire.query(sql) if how == "query" else wire.extended(sql) + wire.sync())
    result = client.result().check()
    assert (result.tags, result.status) == (["DEALLOCATE"], "T" if in_transaction else "I")
    assert run(client).errors[0]["C"] == "26000"
    if in_transaction:
        client.query("ROLLBACK")
    assert run(other, "kept").value == "7"  # the same statement
    assert run(prepared(client)).value == "7"


def test_names_are_folded(client):
    prepared(client, "folded")
    client.query("DEALLOCATE Folded").check()
    assert run(client, "folded").errors[0]["C"] == "26000"


def test_in_order_in_a_pipeline(client):
    client.send_raw(wire.query("SELECT 1") + wire.query('DEALLOCATE "Stmt_1"')
                    + wire.query("SELECT 2") + wire.bind([], "Stmt_1") + wire.execute()
                    + wire.sync())
    assert client.result().value == "1"
    assert client.result().types == "CZ"
    assert client.result().value == "2"
    assert client.result().errors[0]["C"] == "26000"


def test_skipped_with_its_pipeline(client):
    """After an error a Query is skipped too, and the statement stays."""
    client.send_raw(wire.bind([], "nowhere") + wire.query('DEALLOCATE "Stmt_1"') + wire.sync())
    result = client.result()
    assert (result.types, result.errors[0]["C"]) == ("EZ", "26000")
    assert run(client).value == "7"


def test_in_a_failed_transaction(client):
    client.query("BEGIN")
    client.send_raw(wire.query("SELECT 1/0") + wire.query('DEALLOCATE "Stmt_1"'))
    assert [client.result().errors[0]["C"] for _ in range(1)] == ["22012"]
    client.result()
    client.send_raw(wire.query('DEALLOCATE "Stmt_1"'))
    assert client.result().errors[0]["C"] == "25P02"


def test_behind_what_decides_over_the_transaction(client):
    """Whether the transaction has failed is known when what lies before it is answered."""
    client.send_raw(wire.query("BEGIN") + wire.query("SELECT 1/0")
                    + wire.query('DEALLOCATE "Stmt_1"'))
    assert client.result().tags == ["BEGIN"]
    assert client.result().errors[0]["C"] == "22012"
    result = client.result()
    assert ([error["C"] for error in result.errors], result.status) == (["25P02"], "E")
    client.send_raw(wire.query("ROLLBACK") + wire.query("COPY nothing FROM STDIN")
                    + wire.copy_done() + wire.query('DEALLOCATE "Stmt_1"') * 2)
    assert client.result().tags == ["ROLLBACK"]
    assert client.result().errors[0]["C"] == "42P01"
    assert client.result().check().tags == ["DEALLOCATE"]
    assert client.result().errors[0]["C"] == "26000"
    assert run(client).errors[0]["C"] == "26000"


@pytest.mark.parametrize("sql,code", [
    ("DEALLOCATE unknown", "26000"), ('DEALLOCATE "Stmt_1" x', "42601"), ("DEALLOCATE", "42601"),
    ("DEALLOCATE stmt_1", "26000"), ('DEALLOCATE "Stmt_1', "42601")])
def test_everything_else_is_the_servers(client, sql, code):
    client.send_raw(wire.query(sql))
    assert client.result().errors[0]["C"] == code
    assert run(client).value == "7"


def test_sql_level_statements_are_the_servers(pooler, client):
    """In one transaction PREPARE, EXECUTE and DEALLOCATE work as they are."""
    client.query("BEGIN")
    client.query("PREPARE mine AS SELECT 9")
    assert client.value("EXECUTE mine") == "9"
    assert client.query("DEALLOCATE mine").check().tags == ["DEALLOCATE"]
    client.query("COMMIT")
    assert run(client).value == "7"


def test_cut_anywhere(client):
    data = wire.query('DEALLOCATE "Stmt_1"')
    for at in range(1, len(data)):
        client.send_raw(data[:at])
        client.expect_silence(0.005)
        client.send_raw(data[at:])
        assert client.result().check().tags == ["DEALLOCATE"]
        prepared(client)


@pytest.mark.parametrize("sql", ["DISCARD ALL", "deallocate all;", " DEALLOCATE PREPARE ALL"])
def test_the_end_of_all_in_front_of_the_next_statement(pooler, client, sql):
    """Sent by drivers that clean up when a connection is used again; others keep what they have."""
    other = prepared(pooler.client(), "kept")
    for name in ("Stmt_1", "new"):
        client.send_raw(wire.query(sql) + wire.parse("SELECT 7", name) + wire.bind([], name)
                        + wire.execute() + wire.sync())
        assert client.result().check().tags == [sql.strip(" ;").upper().replace("PREPARE ", "")]
        assert client.result().check().value == "7"
        assert run(other, "kept").check().value == "7"
    assert run(client).errors[0]["C"] == "26000"


def test_the_end_of_all_that_fails(client):
    """In a transaction DISCARD ALL is refused, and everything stays."""
    client.send_raw(wire.query("BEGIN") + wire.query("DISCARD ALL") + wire.query("ROLLBACK")
                    + wire.bind([], "Stmt_1") + wire.execute() + wire.sync())
    assert client.result().tags == ["BEGIN"]
    assert client.result().errors[0]["C"] == "25001"
    assert client.result().tags == ["ROLLBACK"]
    assert client.result().value == "7"


@pytest.mark.parametrize("flush", [b"", wire.flush()])
def test_in_an_open_pipeline(pooler, client, pg, flush):
    """A Query ends what is not committed, so it is the server's to answer: no such statement there."""
    pg.sql("DROP TABLE IF EXISTS flushed; CREATE TABLE flushed (a int);"
           "GRANT ALL ON flushed TO public")
    other = pooler.client()
    client.send_raw(wire.extended("INSERT INTO flushed VALUES (1)") + flush)
    if flush:
        assert [client.read().type for _ in range(4)] == ["1", "2", "n", "C"]
    client.send_raw(wire.query('DEALLOCATE "Stmt_1"'))
    told = client.result().errors
    other.query("BEGIN")  # another transaction, which takes nothing with it
    other.query("ROLLBACK").check()
    assert pg.sql("SELECT count(*) FROM flushed") == [(0,)]
    assert told[0]["C"] == "26000"
    assert run(client).value == "7"
