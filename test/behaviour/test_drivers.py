"""
Drivers in their default settings, on a pool of two servers: prepared statements, transactions, errors
in them, pipelines and reconnects, fifty clients at a time. No error is allowed that was not asked
for, and every answer is checked.
"""

import asyncio
import os
import random
import subprocess
import threading

import psycopg
import pytest

from support.jdbc import JDBC, needs_jdbc
from support.postgres import find_program
from support.process import unprivileged

CLIENTS = 50
ROUNDS = 12


@pytest.fixture
def pooler(start_pooler, pg):
    """Two servers, and a table of two columns."""
    pg.sql("DROP TABLE IF EXISTS kept")
    pg.sql("CREATE TABLE kept (client int, number int, PRIMARY KEY (client, number))")
    pg.sql("GRANT ALL ON kept TO public")
    yield start_pooler(pool_mode="transaction", default_pool_size="2", max_client_conn="200",
                       max_prepared_statements="10", ignore_startup_parameters="extra_float_digits")
    pg.terminate("datname = 'p0'")
    pg.sql("DROP TABLE kept")


def check_after(pooler, pg, rows_of_each):
    """Nobody is left, two servers were enough, and every transaction is there once."""
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    assert 1 <= pooler.servers() <= 2
    assert pg.sql("SELECT client, count(*) FROM kept GROUP BY client HAVING count(*) <> %s",
                  (rows_of_each,)) == []
    assert pg.value("SELECT count(DISTINCT client) FROM kept") == CLIENTS
    stats = pooler.stats()
    assert stats["total_bind_count"] > stats["total_client_parse_count"] > CLIENTS


# psycopg

def psycopg_round(connection, draw, client, number):
    """One of each kind of work; what goes wrong is meant to."""
    for _ in range(3):
        a, b = draw.randrange(1000), draw.randrange(8)
        row = connection.execute("SELECT %%s::int + %d, %%s::text" % b, (a, str(client))).fetchone()
        assert row == (a + b, str(client))
    with pytest.raises(psycopg.errors.DivisionByZero):
        with connection.transaction():
            connection.execute("INSERT INTO kept VALUES (%s, %s)", (client, number))
            connection.execute("SELECT 1 / %s::int", (0,))
    with connection.transaction():
        connection.execute("INSERT INTO kept VALUES (%s, %s)", (client, number))
        with pytest.raises(psycopg.errors.UniqueViolation):
            with connection.transaction():
                connection.execute("INSERT INTO kept VALUES (%s, %s)", (client, number))
        row = connection.execute("SELECT count(*) FROM kept WHERE client = %s AND number = %s",
                                 (client, number)).fetchone()
        assert row == (1,)
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", (place,)) for place in range(5)]
        assert [cursor.fetchone() for cursor in cursors] == [(place * 2,) for place in range(5)]
    with pytest.raises(psycopg.Error):
        with connection.pipeline():
            connection.execute("SELECT 1 / %s::int", (1,))
            connection.execute("SELECT 1 / %s::int", (0,))
            connection.execute("SELECT 1 / %s::int", (1,))
    with connection.cursor() as cursor:
        cursor.executemany("SELECT %s::int + 1", [(place,) for place in range(3)], returning=True)
        assert cursor.fetchone() == (1,)


def psycopg_client(pooler, client, options, failures):
    draw = random.Random(client)
    try:
        for start in range(0, ROUNDS, 4):
            with psycopg.connect(host="127.0.0.1", port=pooler.port, user="bob", dbname="p0",
                                 autocommit=True, connect_timeout=30, sslmode="disable",
                                 **options) as connection:
                for number in range(start, start + 4):
                    psycopg_round(connection, draw, client, number)
    except BaseException as failure:
        failures.append((client, repr(failure)))


@pytest.mark.limit(120)
@pytest.mark.parametrize("options", [{}, {"prepare_threshold": 0}], ids=["default", "at once"])
def test_psycopg(pooler, pg, options):
    failures = []
    threads = [threading.Thread(target=psycopg_client, args=(pooler, client, options, failures))
               for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    check_after(pooler, pg, ROUNDS)


# asyncpg

async def asyncpg_round(asyncpg, connection, draw, client, number):
    for _ in range(3):
        a, b = draw.randrange(1000), draw.randrange(8)
        assert await connection.fetchval("SELECT $1::int + %d" % b, a) == a + b
    row = await connection.fetchrow("SELECT $1::text AS t, $2::bool AS b", str(client), True)
    assert (row["t"], row["b"]) == (str(client), True)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with connection.transaction():
            await connection.execute("INSERT INTO kept VALUES ($1, $2)", client, number)
            await connection.fetchval("SELECT 1 / $1::int", 0)
    async with connection.transaction():
        await connection.execute("INSERT INTO kept VALUES ($1, $2)", client, number)
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO kept VALUES ($1, $2)", client, number)
        rows = [row["number"] async for row in connection.cursor(
            "SELECT number FROM kept WHERE client = $1 ORDER BY number", client, prefetch=3)]
        assert rows == list(range(number + 1))
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetch("SELECT nonsense FROM kept WHERE client = $1", client)
    async with connection.transaction():
        statement = await connection.prepare("SELECT generate_series(1, $1::int)")
        assert len(await statement.fetch(draw.randrange(1, 50))) > 0
    await connection.executemany("SELECT $1::int + 1", [(place,) for place in range(3)])


async def asyncpg_client(asyncpg, pool, client):
    draw = random.Random(client)
    for number in range(ROUNDS):
        async with pool.acquire() as connection:
            await asyncpg_round(asyncpg, connection, draw, client, number)


async def asyncpg_clients(asyncpg, pooler):
    async with asyncpg.create_pool(host="127.0.0.1", port=pooler.port, user="bob", database="p0",
                                   min_size=CLIENTS, max_size=CLIENTS, ssl=False, timeout=30,
                                   max_queries=50) as pool:
        await asyncio.gather(*(asyncpg_client(asyncpg, pool, client) for client in range(CLIENTS)))


@pytest.mark.limit(120)
def test_asyncpg(pooler, pg):
    asyncpg = pytest.importorskip("asyncpg")
    asyncio.run(asyncpg_clients(asyncpg, pooler))
    check_after(pooler, pg, ROUNDS)


# node-postgres

NODE_SCRIPT = """
const { Pool } = require('pg');
const assert = require('assert');
const [port, clients, rounds] = process.argv.slice(2).map(Number);
const pool = new Pool({ host: '127.0.0.1', port, user: 'bob', database: 'p0', max: clients,
                        maxUses: 5 });

async function fails(promise, code) {
  await assert.rejects(promise, error => error.code === code);
}

async function round(client, number) {
  const connection = await pool.connect();
  try {
    for (let place = 0; place < 3; place++) {
      const which = (client + place) % 8;
      const { rows } = await connection.query({
        name: 'sum' + which, text: `SELECT $1::int + ${which} AS sum`, values: [number] });
      assert.strictEqual(rows[0].sum, number + which);
    }
    const insert = { name: 'insert', text: 'INSERT INTO kept VALUES ($1, $2)',
                     values: [client, number] };
    await connection.query('BEGIN');
    await connection.query(insert);
    await fails(connection.query({ name: 'division', text: 'SELECT 1 / $1::int', values: [0] }),
                '22012');
    await fails(connection.query(insert), '25P02');
    await connection.query('ROLLBACK');
    await fails(connection.query({ name: 'bad' + number, text: 'SELECT nonsense' }), '42703');
    await connection.query('BEGIN');
    await connection.query(insert);
    await connection.query('COMMIT');
    for (const place of [1, 2, 3]) {
      const { rows } = await connection.query({
        name: 'double', text: 'SELECT 2 * $1::int AS double', values: [place] });
      assert.strictEqual(rows[0].double, 2 * place);
    }
  } finally {
    connection.release();
  }
}

async function run(client) {
  for (let number = 0; number < rounds; number++)
    await round(client, number);
}

Promise.all(Array.from({ length: clients }, (_, client) => run(client)))
  .then(() => pool.end()).then(() => console.log('good'))
  .catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.limit(120)
def test_node_postgres(node_postgres, pooler, pg):
    script = node_postgres / "drivers.js"
    script.write_text(NODE_SCRIPT)
    done = subprocess.run(["node", str(script), str(pooler.port), str(CLIENTS), str(ROUNDS)],
                          capture_output=True, text=True, timeout=100, cwd=node_postgres)
    assert (done.stdout, done.stderr) == ("good\n", "")
    check_after(pooler, pg, ROUNDS)


# JDBC

JAVA_SOURCE = """
import java.sql.*;
import java.util.*;

public class Drivers {
    static String url;

    static void fails(PreparedStatement statement, String code) throws SQLException {
        try {
            statement.execute();
        } catch (SQLException error) {
            if (!code.equals(error.getSQLState())) throw error;
            return;
        }
        throw new AssertionError("no error " + code);
    }

    static void same(Object a, Object b) {
        if (!a.equals(b)) throw new AssertionError(a + " is not " + b);
    }

    static void round(Connection connection, int client, int number) throws SQLException {
        for (int which = 0; which < 3; which++)
            try (PreparedStatement sum = connection.prepareStatement("SELECT ? + " + which)) {
                for (int turn = 0; turn < 4; turn++) {
                    sum.setInt(1, number + turn);
                    try (ResultSet rows = sum.executeQuery()) {
                        rows.next();
                        same(rows.getInt(1), number + turn + which);
                    }
                }
            }
        connection.setAutoCommit(false);
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO kept VALUES (?, ?)");
             PreparedStatement division = connection.prepareStatement("SELECT 1 / ?")) {
            insert.setInt(1, client);
            insert.setInt(2, number);
            insert.execute();
            division.setInt(1, 0);
            fails(division, "22012");
            fails(insert, "25P02");
            connection.rollback();
            insert.execute();
            Savepoint before = connection.setSavepoint();
            fails(insert, "23505");
            connection.rollback(before);
            connection.commit();
        }
        try (PreparedStatement batch = connection.prepareStatement(
                 "UPDATE kept SET number = number WHERE client = ? AND number = ?")) {
            for (int place = 0; place <= number; place++) {
                batch.setInt(1, client);
                batch.setInt(2, place);
                batch.addBatch();
            }
            for (int count : batch.executeBatch()) same(count, 1);
            connection.commit();
        }
        try (PreparedStatement cursor = connection.prepareStatement("SELECT generate_series(1, ?)")) {
            cursor.setFetchSize(3);
            cursor.setInt(1, 10);
            int sum = 0;
            try (ResultSet rows = cursor.executeQuery()) {
                while (rows.next()) sum += rows.getInt(1);
            }
            same(sum, 55);
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    static void run(int client, int rounds) throws SQLException {
        for (int start = 0; start < rounds; start += 6)
            try (Connection connection = DriverManager.getConnection(url, "bob", "")) {
                for (int number = start; number < start + 6; number++) round(connection, client, number);
            }
    }

    public static void main(String[] arguments) throws Exception {
        url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/p0?sslmode=disable";
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (int place = 0; place < Integer.parseInt(arguments[1]); place++) {
            int client = place;
            threads.add(new Thread(() -> {
                try {
                    run(client, Integer.parseInt(arguments[2]));
                } catch (Throwable failure) {
                    failures.add(failure);
                }
            }));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        for (Throwable failure : failures) failure.printStackTrace();
        System.out.println(failures.isEmpty() ? "good" : "bad");
    }
}
"""


@pytest.mark.limit(120)
@needs_jdbc
def test_jdbc(pooler, pg, tmp_path):
    source = tmp_path / "Drivers.java"
    source.write_text(JAVA_SOURCE)
    done = subprocess.run(["java", "-cp", JDBC, str(source), str(pooler.port), str(CLIENTS), str(ROUNDS)],
                          capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("good\n", "")
    check_after(pooler, pg, ROUNDS)


# pgbench, which is libpq

PIPELINE = """
\\set a random(1, 1000)
\\startpipeline
SELECT :a + 1;
SELECT :a + 2;
INSERT INTO kept VALUES (:client_id, (SELECT count(*) FROM kept WHERE client = :client_id));
SELECT count(*) FROM kept WHERE client = :client_id;
\\endpipeline
BEGIN;
\\startpipeline
SELECT :a + 3;
SELECT :a + 1;
\\endpipeline
COMMIT;
"""


def run_pgbench(pooler, script, *arguments):
    """A thread for each client: it blocks in PQprepare(), which may wait for a server of another one."""
    path = os.path.join(pooler.folder, "script.sql")
    pooler.write_file(path, script)
    done = subprocess.run(
        [find_program("pgbench"), "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "bob", "-n", "-f",
         path, "-c", str(CLIENTS), "-j", str(CLIENTS), "-t", "20", *arguments, "p0"],
        capture_output=True, text=True, timeout=100, cwd=pooler.folder,
        env={"PATH": "/usr/bin:/bin", "PGSSLMODE": "disable"}, **unprivileged())
    assert done.returncode == 0, done.stderr
    assert "number of failed transactions: 0 " in done.stdout, done.stdout
    assert "number of transactions actually processed: %d/%d" % (CLIENTS * 20, CLIENTS * 20) in done.stdout


@pytest.mark.limit(120)
@pytest.mark.parametrize("protocol", ["extended", "prepared"])
@pytest.mark.parametrize("options", [[], ["-C"]], ids=["stay", "reconnect"])
def test_pgbench_pipelines(pooler, pg, protocol, options):
    run_pgbench(pooler, PIPELINE, "-M", protocol, *options)
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    assert pg.sql("SELECT client, count(*), max(number) FROM kept GROUP BY client ORDER BY client") == [
        (client, 20, 19) for client in range(CLIENTS)]
    stats = pooler.stats()
    if protocol == "prepared":
        assert stats["total_bind_count"] == CLIENTS * 20 * 8
        assert stats["total_client_parse_count"] == CLIENTS * 8 * (20 if options else 1)
        assert stats["total_server_parse_count"] < 40
    else:
        assert stats["total_bind_count"] == 0
