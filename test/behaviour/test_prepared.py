"""Prepared statements in transaction and statement pooling."""

import subprocess
import threading

import psycopg
import pytest

from support import wire
from support.process import wait_for

SUM = "SELECT $1::int + $2::int"


@pytest.fixture
def single(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="1")


@pytest.fixture
def double(start_pooler):
    return start_pooler(pool_mode="transaction", default_pool_size="2")


def statements(pooler_or_pg, pg):
    """Names and texts of all prepared statements on the only server, asked through the pooler."""
    client = pooler_or_pg.client()
    rows = client.query("SELECT name, statement FROM pg_prepared_statements ORDER BY name").rows
    client.close()
    return rows


def types_until_ready(client, count=1):
    types = ""
    while count > 0:
        got = client.read()
        types += got.type
        count -= got.type == "Z"
    return types


def prepare(client, sql, name):
    client.send_raw(wire.parse(sql, name) + wire.sync())
    assert types_until_ready(client) == "1Z"


def run(client, name, values=()):
    """Binds and executes; the answer's rows."""
    client.send_raw(wire.bind(values, name) + wire.execute() + wire.sync())
    client.expect("2")
    return client.result()


def hold_server(pooler):
    client = pooler.client()
    client.query("BEGIN")
    return client


# The usual way

def test_a_statement_follows_its_client(double, pg):
    client = double.client()
    prepare(client, SUM, "sum")
    first_pid = client.value("SELECT pg_backend_pid()")
    holder = hold_server(double)  # takes the server that has the statement
    assert holder.value("SELECT pg_backend_pid()") == first_pid
    assert run(client, "sum", (1, 2)).rows == [["3"]]
    assert client.value("SELECT pg_backend_pid()") != first_pid
    holder.query("COMMIT")
    for _ in range(3):
        assert run(client, "sum", (2, 3)).rows == [["5"]]
