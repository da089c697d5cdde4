"""Real load: pgbench through the pooler, servers that are killed, slow readers, many idle clients."""

import os
import subprocess
import threading

import psycopg
import pytest

from support import wire
from support.postgres import find_program
from support.process import resident_kib, unprivileged, wait_for

BRANCHES = 2


@pytest.fixture
def bench(pg):
    """The tables of pgbench in p0."""
    run_pgbench(pg.port, "-i", "-q", "-s", str(BRANCHES), user=pg.superuser)
    pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO public")
    yield pg
    pg.sql("DROP TABLE pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers")


def run_pgbench(port, *arguments, user="bob"):
    done = subprocess.run([find_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", user,
                           *arguments, "p0"], capture_output=True, text=True, timeout=100,
                          env={"PATH": "/usr/bin:/bin", "PGSSLMODE": "disable"}, **unprivileged())
    assert done.returncode == 0, done.stderr
    return done.stdout


def balances_agree(pg):
    return pg.value("SELECT count(DISTINCT total) = 1 FROM (SELECT sum(abalance) AS total FROM"
                    " pgbench_accounts UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL"
                    " SELECT sum(tbalance) FROM pgbench_tellers UNION ALL"
                    " SELECT sum(delta) FROM pgbench_history) AS sums")


@pytest.mark.limit(120)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("script", ["select", "tpcb", "connect"])
def test_transaction_mode(start_pooler, bench, protocol, script):
    pooler = start_pooler(pool_mode="transaction", max_client_conn="300", default_pool_size="20")
    options = {"select": ["-S", "-c", "200"], "tpcb": ["-c", "200"], "connect": ["-C", "-c", "20"]}
    text = run_pgbench(pooler.port, "-n", "-M", protocol, "-T", "2", *options[script])
    assert "number of failed transactions: 0 " in text
    assert balances_agree(bench)
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    assert pooler.servers() <= 20


def test_session_mode(start_pooler, bench):
    pooler = start_pooler(default_pool_size="20", server_reset_query="DISCARD ALL")
    for _ in range(2):
        text = run_pgbench(pooler.port, "-n", "-c", "20", "-T", "1")
        assert "number of failed transactions: 0 " in text
    assert balances_agree(bench)
    pooler.wait_pool(sv_active=0, sv_tested=0, sv_idle=20)


def test_idle_clients_beside_a_load(start_pooler, bench):
    pooler = start_pooler(pool_mode="transaction", max_client_conn="6000", listen_backlog="4096",
                          log_connections="0", log_disconnections="0")
    idle = [pooler.client(host=pooler.socket_dir) for _ in range(5000)]
    before = pooler.pool()["cl_active"]
    text = run_pgbench(pooler.port, "-n", "-S", "-c", "50", "-T", "2")
    assert "number of failed transactions: 0 " in text
    assert before == 5000
    assert idle[0].value("SELECT 1") == idle[-1].value("SELECT 1") == "1"
    pooler.close_clients()  # psycopg cannot work beside so many descriptors


class Worker(threading.Thread):
    """Runs queries, and comes back when it is thrown out."""

    def __init__(self, pooler, stop):
        super().__init__()
        self.pooler, self.stop = pooler, stop
        self.done, self.errors, self.wrong = 0, [], None

    def run(self):
        while not self.stop.is_set():
            try:
                with psycopg.connect(host="127.0.0.1", port=self.pooler.port, user="bob",
                                     dbname="p0", autocommit=True, sslmode="disable", prepare_threshold=None,
                                     connect_timeout=20) as connection:
                    while not self.stop.is_set():
                        row = connection.execute("SELECT pg_sleep(0.001), 42").fetchone()
                        if row[1] != 42:
                            self.wrong = row
                        self.done += 1
            except psycopg.Error as error:
                self.errors.append(str(error))


ALLOWED = ("server conn crashed?", "server connection closed", "terminating connection",
           "shutting down", "starting up", "server login has been failing", "recovery mode",
           "server closed the connection", "the database system is", "not yet accepting",
           "connection to server at", "consuming input failed")


@pytest.mark.limit(120)
def test_servers_that_are_killed_under_load(start_pooler, pg):
    """Only who was linked is thrown out; counters come back to the truth."""
    pooler = start_pooler(pool_mode="transaction", default_pool_size="5", server_login_retry="0.1")
    stop = threading.Event()
    workers = [Worker(pooler, stop) for _ in range(20)]
    bystander = pooler.client("p1")
    for worker in workers:
        worker.start()
    try:
        for _ in range(10):
            served = sum(worker.done for worker in workers)
            wait_for(lambda: sum(worker.done for worker in workers) > served + 50, "work goes on")
            pg.terminate("datname = 'p0'")
            assert bystander.value("SELECT 1") == "1"
        assert sum(len(worker.errors) for worker in workers) <= 10 * 5
        (victim, *_), *_ = wait_for(lambda: pg.backends("datname = 'p0'"), "servers")
        pg.kill_backend(victim)
        served = sum(worker.done for worker in workers)
        wait_for(lambda: sum(worker.done for worker in workers) > served + 200, "after kill -9",
                 timeout=20)
        pg.restart()
        served = sum(worker.done for worker in workers)
        wait_for(lambda: sum(worker.done for worker in workers) > served + 200, "after a restart",
                 timeout=20)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    errors = [error for worker in workers for error in worker.errors]
    assert [error for error in errors if not any(word in error for word in ALLOWED)] == []
    assert [worker.wrong for worker in workers if worker.wrong] == []
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0, sv_login=0)
    row = pooler.pool()
    assert row["sv_idle"] + row["sv_used"] == len(pg.backends("datname = 'p0'")) <= 5


def is_sanitized(pid):
    with open("/proc/%d/maps" % pid) as maps:
        return "libasan" in maps.read()


@pytest.mark.limit(120)
def test_slow_reader(pooler):
    """One GB on its way to a client that hardly reads: nothing piles up, nobody is held up."""
    slow, other = pooler.client(), pooler.client()
    other.value("SELECT 1")
    memory = resident_kib(pooler.pid)
    slow.send_raw(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))
    received = 0
    while received < 30_000_000:
        received += len(slow.sock.recv(65536))
        if received % 10 == 0:
            assert other.value("SELECT 1") == "1"
    assert other.value("SELECT 2") == "2"
    if not is_sanitized(pooler.pid):
        assert resident_kib(pooler.pid) - memory < 2048
    slow.reset()
    pooler.wait_pool(sv_active=0, cl_active=1)


@pytest.mark.limit(120)
def test_slow_server(pooler, pg):
    """A large COPY to a server that does not read: the client is stopped, others are not."""
    pg.sql("DROP TABLE IF EXISTS slow; CREATE TABLE slow (t text); GRANT ALL ON slow TO public")
    client, other = pooler.client(), pooler.client()
    other.value("SELECT 1")
    with pg.connect() as lock:
        lock.autocommit = False
        lock.execute("LOCK TABLE slow")
        memory = resident_kib(pooler.pid)
        client.send_raw(wire.query("COPY slow FROM STDIN"))
        client.sock.settimeout(0.5)
        chunk = wire.copy_data(b"y" * 8000 + b"\n") * 100
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                client.sock.sendall(chunk)
        assert other.value("SELECT 2") == "2"
        if not is_sanitized(pooler.pid):
            assert resident_kib(pooler.pid) - memory < 2048
        lock.rollback()
    client.reset()
    pooler.wait_pool(sv_active=0, cl_active=1)


def test_memory_of_idle_clients(start_pooler):
    pooler = start_pooler(pool_mode="transaction", max_client_conn="5000", listen_backlog="4096",
                          log_connections="0")
    if is_sanitized(pooler.pid):
        pytest.skip("the sanitizer's memory")
    warm = [pooler.client(host=pooler.socket_dir) for _ in range(500)]
    for client in warm:
        client.query("SELECT 1")
    memory = resident_kib(pooler.pid)
    idle = [pooler.client(host=pooler.socket_dir) for _ in range(3000)]
    for client in idle:
        client.query("SELECT 1")
    assert (resident_kib(pooler.pid) - memory) * 1024 / len(idle) < 1100
    pooler.close_clients()


def test_no_descriptor_is_lost(pooler):
    def descriptors():
        return len(os.listdir("/proc/%d/fd" % pooler.pid))
    pooler.value("SELECT 1")
    before = descriptors()
    for _ in range(100):
        pooler.value("SELECT 1")
    wait_for(lambda: descriptors() <= before + 1, "as before")
