"""
Drivers in their default settings while a table that they use is changed beneath them: fifty clients
on a pool of two servers, columns that come, go and change their type, indexes and statistics.

libpq (psycopg, pgbench) and node-postgres ask for the columns of each result. They see nothing of the
change: what is stale is prepared anew and sent again. Past the pooler they get "cached plan must not
change result type" again and again.

asyncpg and JDBC remember the columns. They must be told, as PostgreSQL tells them, before they take
new values for old columns: they prepare the statement anew and go on. In a transaction they cannot.
"""

import asyncio
import os
import subprocess
import threading
import time

import psycopg
import pytest

from support.jdbc import JDBC, needs_jdbc
from support.postgres import find_program
from support.process import unprivileged

CLIENTS = 50

CHANGES = (
    "ALTER TABLE changing ADD more int DEFAULT 7",
    "CREATE INDEX changing_value ON changing (value)",
    "ALTER TABLE changing ALTER value TYPE bigint",
    "ANALYZE changing",
    "ALTER TABLE changing DROP more",
    "ALTER TABLE changing ALTER value TYPE int",
    "DROP INDEX changing_value",
)

READ = "SELECT * FROM changing WHERE id = %s"
READ_VALUE = "SELECT value FROM changing WHERE id = %s"
WRITE = "UPDATE changing SET value = value WHERE id = %s RETURNING *"
READ_1, READ_VALUE_1, WRITE_1 = (sql.replace("%s", "$1") for sql in (READ, READ_VALUE, WRITE))


@pytest.fixture
def table(pg):
    pg.sql("DROP TABLE IF EXISTS changing")
    pg.sql("CREATE TABLE changing AS SELECT n AS id, n * 1000 AS value FROM generate_series(0, 99) n")
    pg.sql("GRANT ALL ON changing TO public")
    yield
    pg.terminate("datname = 'p0'")
    pg.sql("DROP TABLE changing")


@pytest.fixture
def pooler(start_pooler, table):
    return start_pooler(pool_mode="transaction", default_pool_size="2", max_client_conn="200",
                        max_prepared_statements="10", ignore_startup_parameters="extra_float_digits")


class Changes:
    """Changes the table until everybody is done."""

    def __init__(self, pg, rounds=4, pause=0.05):
        self.pg = pg
        self.rounds = rounds
        self.pause = pause
        self.over = threading.Event()
        self.failures = []
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with self.pg.connect() as connection:
                for _ in range(self.rounds):
                    for change in CHANGES:
                        connection.execute(change)
                        time.sleep(self.pause)
        except BaseException as failure:
            self.failures.append(repr(failure))
        finally:
            self.over.set()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        assert self.failures == []


def check(row, number):
    assert (row[0], row[1]) == (number, number * 1000)
    assert len(row) == 2 or row[2:] == (7,)


# psycopg

def psycopg_client(pooler, client, changes, failures):
    """Half of them come anew each time, and find what others have prepared."""
    try:
        while not changes.over.is_set():
            with psycopg.connect(host="127.0.0.1", port=pooler.port, user="bob", dbname="p0",
                                 autocommit=True, connect_timeout=30, sslmode="disable",
                                 prepare_threshold=0 if client % 2 else 5) as connection:
                for _ in range(5 if client % 2 else 1000):
                    check(connection.execute(READ, (client,)).fetchone(), client)
                    assert connection.execute(READ_VALUE, (client,)).fetchone() == (client * 1000,)
                    check(connection.execute(WRITE, (client,)).fetchone(), client)
                    if changes.over.is_set():
                        break
    except BaseException as failure:
        failures.append((client, repr(failure)))


@pytest.mark.limit(120)
def test_psycopg(pooler, pg):
    failures = []
    with Changes(pg) as changes:
        threads = [threading.Thread(target=psycopg_client, args=(pooler, client, changes, failures))
                   for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


# asyncpg

async def asyncpg_client(connection, client, changes, failures):
    try:
        while not changes.over.is_set():
            check(tuple(await connection.fetchrow(READ_1, client)), client)
            assert await connection.fetchval(READ_VALUE_1, client) == client * 1000
            check(tuple(await connection.fetchrow(WRITE_1, client)), client)
    except Exception as failure:
        failures.append((client, repr(failure)))


def connect_asyncpg(port):
    import asyncpg
    return asyncpg.connect(host="127.0.0.1", port=port, user="bob", database="p0", ssl=False, timeout=30)


async def run_asyncpg(port, changes):
    failures = []
    connections = await asyncio.gather(*(connect_asyncpg(port) for _ in range(CLIENTS)))
    await asyncio.gather(*(asyncpg_client(connection, client, changes, failures)
                           for client, connection in enumerate(connections)))
    await asyncio.gather(*(connection.close() for connection in connections))
    return failures


@pytest.mark.limit(120)
def test_asyncpg(pooler, pg):
    """
    It catches its InvalidCachedStatementError once for each query: for one change at a time that must be
    enough, however many servers the client meets.
    """
    pytest.importorskip("asyncpg")
    with Changes(pg, pause=0.5, rounds=1) as changes:
        assert asyncio.run(run_asyncpg(pooler.port, changes)) == []


async def told_in_transactions(asyncpg, port, pg):
    """What each of two clients sees of a change, in transactions one after the other."""
    connections = [await connect_asyncpg(port) for _ in range(2)]
    seen = []
    for change in (None, CHANGES[0]):
        if change:
            pg.sql(change)
        for _ in range(2):
            for connection in connections:
                try:
                    async with connection.transaction():
                        check(tuple(await connection.fetchrow(READ_1, 5)), 5)
                    seen.append("row")
                except asyncpg.InvalidCachedStatementError:
                    seen.append("error")
    for connection in connections:
        await connection.close()
    return seen


@pytest.mark.parametrize("through", [True, False], ids=["pooler", "direct"])
def test_asyncpg_in_transactions(pooler, pg, through):
    """With the pooler as without: each client is told once, and then it works."""
    asyncpg = pytest.importorskip("asyncpg")
    port = pooler.port if through else pg.port
    assert asyncio.run(told_in_transactions(asyncpg, port, pg)) == (
        ["row"] * 4 + ["error"] * 2 + ["row"] * 2)


# node-postgres

NODE_SCRIPT = """
const { Pool } = require('pg');
const assert = require('assert');
const readline = require('readline');
const [port, clients] = process.argv.slice(2).map(Number);
const pool = new Pool({ host: '127.0.0.1', port, user: 'bob', database: 'p0', max: clients,
                        maxUses: 20 });
let over = false;
process.stdin.on('data', () => {}).on('end', () => { over = true; });

function check(row, client) {
  assert.strictEqual(row.id, client);
  assert.strictEqual(Number(row.value), client * 1000);
}

async function run(client) {
  while (!over) {
    for (const [name, text] of [
        ['read', 'SELECT * FROM changing WHERE id = $1'],
        ['value', 'SELECT id, value FROM changing WHERE id = $1'],
        ['write', 'UPDATE changing SET value = value WHERE id = $1 RETURNING *']])
      check((await pool.query({ name, text, values: [client] })).rows[0], client);
  }
}

Promise.all(Array.from({ length: clients }, (_, client) => run(client)))
  .then(() => pool.end()).then(() => console.log('good'))
  .catch(error => { console.error(error); process.exit(1); });
"""


def run_beside_changes(pg, *command, **arguments):
    """A program that goes on until its input ends."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, **arguments)
    with Changes(pg):
        pass
    return process.communicate(timeout=100)


@pytest.mark.limit(120)
def test_node_postgres(node_postgres, pooler, pg):
    script = node_postgres / "changes.js"
    script.write_text(NODE_SCRIPT)
    assert run_beside_changes(pg, "node", str(script), str(pooler.port), str(CLIENTS),
                              cwd=node_postgres) == ("good\n", "")


# JDBC

JAVA_SOURCE = """
import java.sql.*;
import java.util.*;

public class Changes {
    static volatile boolean over;

    static void check(PreparedStatement statement, int client) throws SQLException {
        statement.setInt(1, client);
        try (ResultSet rows = statement.executeQuery()) {
            if (!rows.next() || rows.getInt("id") != client || rows.getLong("value") != client * 1000)
                throw new AssertionError("wrong row");
        }
    }

    static void run(String url, int client) throws SQLException {
        while (!over)
            try (Connection connection = DriverManager.getConnection(url, "bob", "");
                 PreparedStatement read = connection.prepareStatement(
                     "SELECT * FROM changing WHERE id = ?");
                 PreparedStatement value = connection.prepareStatement(
                     "SELECT id, value FROM changing WHERE id = ?");
                 PreparedStatement write = connection.prepareStatement(
                     "UPDATE changing SET value = value WHERE id = ? RETURNING *")) {
                for (int turn = 0; turn < (client % 2 == 0 ? 1000 : 20) && !over; turn++) {
                    check(read, client);
                    check(value, client);
                    check(write, client);
                }
            }
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/p0?sslmode=disable";
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (int place = 0; place < Integer.parseInt(arguments[1]); place++) {
            int client = place;
            threads.add(new Thread(() -> {
                try {
                    run(url, client);
                } catch (Throwable failure) {
                    failures.add(failure);
                }
            }));
        }
        for (Thread thread : threads) thread.start();
        while (System.in.read() >= 0) continue;
        over = true;
        for (Thread thread : threads) thread.join();
        for (Throwable failure : failures) failure.printStackTrace();
        System.out.println(failures.isEmpty() ? "good" : "bad");
    }
}
"""


@pytest.mark.limit(120)
@needs_jdbc
def test_jdbc(pooler, pg, tmp_path):
    source = tmp_path / "Changes.java"
    source.write_text(JAVA_SOURCE)
    subprocess.run(["javac", "-d", str(tmp_path), str(source)], check=True)
    assert run_beside_changes(pg, "java", "-cp", "%s:%s" % (JDBC, tmp_path), "Changes",
                              str(pooler.port), str(CLIENTS)) == ("good\n", "")


# pgbench, which is libpq

SCRIPT = """
\\set id random(0, 99)
SELECT * FROM changing WHERE id = :id \\gset
UPDATE changing SET value = value WHERE id = :id RETURNING * \\gset
"""


@pytest.mark.limit(120)
@pytest.mark.parametrize("options", [[], ["-C"]], ids=["stay", "reconnect"])
def test_pgbench(pooler, pg, options):
    path = os.path.join(pooler.folder, "script.sql")
    pooler.write_file(path, SCRIPT)
    process = subprocess.Popen(
        [find_program("pgbench"), "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "bob", "-n", "-f",
         path, "-c", str(CLIENTS), "-j", str(CLIENTS), "-T", "3", "-M", "prepared", *options, "p0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=pooler.folder,
        env={"PATH": "/usr/bin:/bin", "PGSSLMODE": "disable"}, **unprivileged())
    with Changes(pg):
        pass
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "number of failed transactions: 0 " in output
