"""
What must hold after whatever was done to the pooler: a canary on another pool is served without a
gap, descriptors and counters come back, SHOW POOLS says what PostgreSQL says, nothing spins.
"""

import contextlib
import os
import threading
import time

from support import wire
from support.process import SLACK, open_descriptors, resident_kib, wait_for

GAP = 1.0 * SLACK          # the longest time the canary may wait; generous, machines are busy
MEMORY_KIB = 1024          # what an allocator may keep
LOG_BYTES = 64 * 1024      # what one row may write at most, unless it says so itself

SERVER_COLUMNS = ("sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used",
                  "sv_tested", "sv_login")


def is_sanitized(pid):
    with open("/proc/%d/maps" % pid) as maps:
        return "libasan" in maps.read()


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def check_quiet(pooler, seconds=0.4):
    """No busy loop: a process that spins uses a tick in each hundredth of a second."""
    def is_quiet():
        before = cpu_ticks(pooler.pid)
        time.sleep(seconds)
        used = (cpu_ticks(pooler.pid) - before) / os.sysconf("SC_CLK_TCK")
        assert used < 0.25 * seconds, "%.2f s of CPU in %.2f s" % (used, seconds)
        return True
    wait_for(is_quiet, "the pooler is idle")


class Canary(threading.Thread):
    """Asks for a number every 10 ms and looks whether it is the right one."""

    def __init__(self, pooler, database, user):
        super().__init__(daemon=True)
        self.client = wire.Client(pooler.host, pooler.port).login(user, database)
        self.halt = threading.Event()
        self.failure, self.answers, self.gap = None, 0, 0.0
        self.ask(0)

    def ask(self, number):
        begin = time.monotonic()
        got = self.client.value("SELECT %d" % number)
        assert got == str(number), "asked for %d, got %s" % (number, got)
        self.gap = max(self.gap, time.monotonic() - begin)
        self.answers += 1

    def run(self):
        number = 0
        try:
            while not self.halt.wait(0.01):
                number += 1
                self.ask(number)
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def end(self):
        self.halt.set()
        self.join()
        self.client.terminate()
        assert self.failure is None, "the canary: %r" % self.failure
        assert self.gap < GAP, "the canary waited for %.3f s" % self.gap


@contextlib.contextmanager
def unharmed(pooler, canary="p1", user="alice", memory_kib=MEMORY_KIB, log_bytes=LOG_BYTES):
    """
    Whatever happens inside harms nobody outside: the canary is served, and afterwards descriptors,
    servers, clients, memory and CPU are as they were. Who opens connections inside closes them
    inside; servers of the attacked pool count, so they are gone or were there before.
    """
    watch = Canary(pooler, canary, user) if canary else None
    wait_for(lambda: pooler.list_items()["used_servers"] >= (1 if canary else 0), "servers")
    descriptors = open_descriptors(pooler.pid)
    lists = census(pooler)
    memory, written = resident_kib(pooler.pid), len(pooler.log())
    if watch:
        watch.start()
    try:
        yield
    finally:
        if watch:
            watch.halt.set()
            watch.join()
    assert pooler.is_alive(), pooler.output()

    def is_back():
        now, open_now = census(pooler), open_descriptors(pooler.pid)
        assert now == lists, "%r, before %r" % (now, lists)
        assert open_now <= descriptors, "%d descriptors, before %d" % (open_now, descriptors)
        return True
    wait_for(is_back, "connections and descriptors are as before")
    if not is_sanitized(pooler.pid):
        wait_for(lambda: resident_kib(pooler.pid) - memory <= memory_kib, "memory is as before: "
                 "%d and now %d KiB" % (memory, resident_kib(pooler.pid)))
    assert len(pooler.log()) - written <= log_bytes
    check_quiet(pooler)
    if watch:
        watch.end()


def census(pooler):
    """Connections of every kind, without those of the console that asks."""
    items = pooler.list_items()
    return {name: items[name] for name in ("used_clients", "login_clients", "used_servers",
                                           "databases")}


def check_counters(pooler, pg):
    """SHOW POOLS, SERVERS, CLIENTS, DATABASES, LISTS agree with each other and with PostgreSQL."""
    def agree():
        backends = pg.backends()
        pools = [row for row in pooler.show("POOLS") if row["database"] != "pgbouncer"]
        servers = [row for row in pooler.show("SERVERS") if row["type"] == "S"]
        assert len(servers) == pooler.list_items()["used_servers"]
        for row in pools:
            assert all(row[name] >= 0 for name in SERVER_COLUMNS + ("cl_active", "cl_waiting"))
            mine = [b for b in backends if (b[1], b[2]) == (row["database"], row["user"])]
            ready = sum(row[name] for name in SERVER_COLUMNS[1:6]) + row["sv_active"]
            assert ready == len(mine), (row, mine)
            assert {s["remote_pid"] for s in servers if s["database"] == row["database"]
                    and s["user"] == row["user"]} == {b[0] for b in mine}
            if row["sv_active"] == 0:
                assert {b[3] for b in mine} <= {"idle"}, mine
        assert sum(sum(row[name] for name in SERVER_COLUMNS) for row in pools) == len(servers)
        for row in pooler.show("DATABASES"):
            own = [s for s in servers if s["database"] == row["name"]]
            assert row["current_connections"] == len(own)
        return True
    wait_for(agree, "the counters tell the truth")


DIRT = """SELECT concat_ws(', ',
    (SELECT 'lock' FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' LIMIT 1),
    (SELECT 'listens' FROM pg_listening_channels() LIMIT 1),
    (SELECT 'statement ' || name FROM pg_prepared_statements LIMIT 1),
    (SELECT 'cursor ' || name FROM pg_cursors WHERE name <> '' LIMIT 1),
    (SELECT 'temp ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() LIMIT 1),
    (SELECT 'role ' || current_user WHERE current_user <> session_user),
    (SELECT 'transaction' WHERE now() <> statement_timestamp()),
    (SELECT 'work_mem' WHERE current_setting('work_mem') <> '4MB'))"""


def check_clean(client):
    """The server behind this client carries nothing of anybody else."""
    found = client.value(DIRT)
    assert not found, "left behind: " + found
