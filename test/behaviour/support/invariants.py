"""
What must hold after every hostile event, whatever it was.

`Watch` looks at a pooler before and after: the process and its descriptors, memory, counts and idle
CPU time, its log, and the servers behind it. Meanwhile a process of its own, the canary, queries on
the attacked pool, on another pool, and past the pooler, and compares every answer.

The tests use it as the fixture `field` of hostile/conftest.py. `fatal`, `closed` and `refused` are
the outcomes that most rows ask for.
"""

import contextlib
import json
import os
import select
import time

from support import wire
from support.pooler import SANITIZER_WORDS, convert
from support.process import SLACK, open_descriptors, resident_kib, wait_for

# Limits. The gap is for a machine that others use too; what a direct connection had to wait is added.
GAP_SECONDS = 0.25
GAP_SECONDS_SANITIZED = 1.0
MEMORY_KIB = 1024
LINES_PER_EVENT = 5  # a refused login: attempt, unknown user, failure, error, end
BYTES_PER_EVENT = 2048
IDLE_CPU = 0.01
BUSY = 0.3  # while it comes to rest, our looking at it included
CANARY_PAUSE, CANARY_ROUNDS = 0.01, 5


def is_sanitized(pid):
    with open("/proc/%d/maps" % pid) as maps:
        return "libasan" in maps.read()


def cpu_seconds(pid):
    """CPU time that a process has used, of all its threads: the clock of clock_getcpuclockid()."""
    return time.clock_gettime((~pid << 3) | 2)


# Outcomes

def read_to_end(client, seconds):
    """The messages until the end, which must come in time. A reset instead of an end is an error."""
    deadline = time.monotonic() + seconds * SLACK
    messages = []
    while True:
        assert client.has_data(max(0.0, deadline - time.monotonic())), (
            "still open after %g s, after %r" % (seconds, messages[-3:]))
        try:
            messages.append(client.read())
        except EOFError:
            assert not client.buffer, "half a message: %r" % bytes(client.buffer)
            return messages


def fatal(client, text=None, sqlstate="08P01", seconds=1.0):
    """One ErrorResponse of severity FATAL, then the end: the outcome F. Returns its fields."""
    messages = [got for got in read_to_end(client, seconds) if got.type not in "NS"]
    assert [got.type for got in messages] == ["E"], messages
    fields = wire.parse_fields(messages[0].body)
    assert (fields["S"], fields["C"]) == ("FATAL", sqlstate), fields
    if text is not None:
        assert fields["M"] == text
    return fields


def closed(client, seconds=1.0):
    """The end without a word: the outcome X. What the peer left unread may make it a reset."""
    assert client.has_data(seconds * SLACK), "still open after %g s" % seconds
    client.expect_eof()


def refused(client, seconds=1.0):
    """F or X. Returns the error's text, or None."""
    try:
        messages = read_to_end(client, seconds)
    except ConnectionResetError:
        return None
    assert [got.type for got in messages] in ([], ["E"]), messages
    if not messages:
        return None
    fields = wire.parse_fields(messages[0].body)
    assert (fields["S"], fields["C"]) == ("FATAL", "08P01"), fields
    return fields["M"]


# The canary

class Canary:
    """
    Forked: queries each of the connections every CANARY_PAUSE, until stop(). The first connection is
    the one past the pooler, which tells how busy the machine is.
    """

    def __init__(self, clients):
        result_out, result_in = os.pipe()
        stop_out, stop_in = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            self._run(clients, result_in, stop_out)
        os.close(result_in)
        os.close(stop_out)
        self.result, self.stop_fd = result_out, stop_in
        for client in clients:
            client.close()

    @staticmethod
    def _run(clients, result_in, stop_out):
        """In the child, which must not keep what belongs to the parent, and never returns."""
        report = {"rounds": 0, "gaps": [0.0] * len(clients), "errors": []}
        try:
            kept = {0, 1, 2, result_in, stop_out, *(client.sock.fileno() for client in clients)}
            for fd in map(int, os.listdir("/proc/self/fd")):
                if fd not in kept:
                    with contextlib.suppress(OSError):
                        os.close(fd)
            while (not select.select([stop_out], [], [], CANARY_PAUSE)[0]
                   or report["rounds"] < CANARY_ROUNDS):
                time.sleep(0 if report["rounds"] >= CANARY_ROUNDS else CANARY_PAUSE)
                report["rounds"] += 1
                for place, client in enumerate(clients):
                    begin = time.monotonic()
                    value = str(report["rounds"] * 10 + place)
                    got = client.value("SELECT " + value)
                    if got != value:
                        report["errors"].append("asked for %s, got %s" % (value, got))
                    report["gaps"][place] = max(report["gaps"][place], time.monotonic() - begin)
        except BaseException as failure:
            report["errors"].append(repr(failure))
        with contextlib.suppress(OSError):
            os.write(result_in, json.dumps(report).encode())
        os._exit(0)

    def stop(self):
        os.close(self.stop_fd)
        data = b""
        while True:
            part = os.read(self.result, 65536)
            if not part:
                break
            data += part
        os.close(self.result)
        os.waitpid(self.child, 0)
        return json.loads(data)


class Watch:
    """
    begin() before the events, end() after them. `canaries` are (database, user) pairs whose pools
    have a real PostgreSQL; the pools of `probed` are looked into afterwards. `events` counts what
    may be logged beyond the connections that were made through `pooler`.
    """

    def __init__(self, pooler, postgres, canaries=(("p0", "bob"), ("p1", "alice")), probed=None):
        self.pooler, self.postgres = pooler, postgres
        self.canaries, self.canary = canaries, None
        self.probed = canaries if probed is None else probed
        self.sanitized = is_sanitized(pooler.pid)
        self.events = 0
        self.memory_kib = MEMORY_KIB
        self.gap_seconds = GAP_SECONDS_SANITIZED if self.sanitized else GAP_SECONDS

    # What can be counted

    def show(self, item):
        """Rows as dictionaries. On a console session of our own, which is part of every count."""
        result = self.console.query("SHOW " + item)
        return [{column.name: convert(column.oid, value)
                 for column, value in zip(result.columns, row)} for row in result.rows]

    def list_items(self):
        return {row["list"]: row["items"] for row in self.show("LISTS")}

    def counts(self):
        """What SHOW tells, as far as it must come back to where it was."""
        lists = self.list_items()
        pools = {(row["database"], row["user"]): row for row in self.show("POOLS")}
        return {
            "lists": {name: lists[name] for name in ("login_clients", "used_clients")},
            "clients": len(self.show("CLIENTS")),
            "clients of databases": {
                row["name"]: row["current_client_connections"]
                for row in self.show("DATABASES") if row["current_client_connections"]},
            "clients of users": {
                row["name"]: row["current_client_connections"]
                for row in self.show("USERS") if row["current_client_connections"]},
            "pools": {key: (row["cl_active"], row["cl_waiting"], row["cl_active_cancel_req"],
                            row["cl_waiting_cancel_req"], row["maxwait"])
                      for key, row in pools.items() if row["cl_active"] or row["cl_waiting"]
                      or row["cl_active_cancel_req"] or row["cl_waiting_cancel_req"]},
            "busy servers": {key: name for key, row in pools.items() for name in
                             ("sv_active", "sv_login", "sv_active_cancel", "sv_being_canceled",
                              "sv_tested") if row[name]},
        }

    def server_count(self):
        """The servers, in which all the views must agree."""
        servers = len(self.show("SERVERS"))
        pools = self.show("POOLS")
        assert servers == self.list_items()["used_servers"], "SERVERS and LISTS differ"
        assert servers == sum(row[name] for row in pools for name in (
            "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested",
            "sv_login")), "SERVERS and POOLS differ"
        assert servers == sum(row["current_connections"] for row in self.show("DATABASES")), (
            "SERVERS and DATABASES differ")
        return servers

    def check_no_negative(self):
        """A counter below zero shows as a number near the end of its type's range."""
        for item in ("POOLS", "LISTS", "DATABASES", "USERS", "STATS"):
            for row in self.show(item):
                for name, value in row.items():
                    if isinstance(value, int):
                        assert 0 <= value < 2 ** 62, (item, name, row)

    # Before and after

    def begin(self):
        for database, user in self.canaries:
            self.pooler.value("SELECT 1", dbname=database, user=user)
        self.pooler.close_clients()
        self.console = self.open_console()
        wait_for(lambda: not self.counts()["busy servers"], "at rest")
        self.before = self.counts()
        self.servers_before = self.server_count()
        self.memory_before = resident_kib(self.pooler.pid)
        self.descriptors_before = open_descriptors(self.pooler.pid)
        self._let_the_canary_fly()
        self.log_start = len(self.pooler.log())
        self.made_before = self.pooler.connections_made
        return self

    def open_console(self):
        client = self.pooler.console()
        self.pooler.clients.remove(client)
        return client

    def _let_the_canary_fly(self):
        if not self.canaries:
            return
        direct = wire.Client("127.0.0.1", self.postgres.port).login(
            "bob", "p0", application_name="past the pooler")
        clients = [direct] + [
            self.pooler.client(database, user, host=self.pooler.socket_dir)
            for database, user in self.canaries]
        for client in clients[1:]:
            self.pooler.clients.remove(client)
            client.value("SELECT 1")
        self.canary = Canary(clients)

    def check_process(self):
        pooler = self.pooler
        assert pooler.process.poll() is None and pooler.process.pid == pooler.pid, pooler.output()
        for word in SANITIZER_WORDS:
            assert word not in pooler.output(), pooler.output()

    def end(self):
        """I1 to I8 of the catalogue, in an order that leaves the most telling failure first."""
        pooler = self.pooler
        self.check_process()
        report = self.canary.stop() if self.canary else None
        self.canary = None
        if self.console.is_closed():
            self.console = self.open_console()
        if report is not None:
            self.check_canary(report)
        made = pooler.connections_made - self.made_before
        begin, used = time.monotonic(), cpu_seconds(pooler.pid)
        pooler.close_clients()
        wait_for(lambda: self.at_rest(), "counts and descriptors are back")
        used = cpu_seconds(pooler.pid) - used
        assert self.sanitized or used <= 0.15 + BUSY * (time.monotonic() - begin), (
            "%g s of CPU time to come to rest" % used)
        self.check_no_negative()
        self.check_log(made)
        self.check_memory()
        self.check_cpu()
        self.check_servers()
        self.check_process()

    def at_rest(self):
        counts = self.counts()
        assert counts == self.before, "before %r, now %r" % (self.before, counts)
        servers = self.server_count()
        descriptors = open_descriptors(self.pooler.pid)
        assert descriptors - servers == self.descriptors_before - self.servers_before, (
            "descriptors: %d with %d servers, now %d with %d" % (
                self.descriptors_before, self.servers_before, descriptors, servers))
        return True

    def check_canary(self, report):
        assert report["errors"] == [], report
        control, *gaps = report["gaps"]
        assert max(gaps) <= self.gap_seconds * SLACK + 3 * control, (
            "worst gaps %r s, %g s past the pooler" % (gaps, control))

    def check_log(self, made):
        """Logged since begin(); the tests' own console sessions count as events."""
        text = self.pooler.log()[self.log_start:]
        lines = [line for line in text.splitlines() if "S-0x" not in line]
        events = made + self.events + 2
        assert len(lines) <= LINES_PER_EVENT * events, "%d lines for %d events:\n%s" % (
            len(lines), events, text[-3000:])
        assert len(text) <= BYTES_PER_EVENT * events, "%d bytes for %d events:\n%s" % (
            len(text), events, text[-3000:])
        assert not any(ord(c) < 32 and c not in "\n\t" or ord(c) == 127 for c in text)

    def check_memory(self):
        if self.sanitized:
            return  # freed memory is kept aside there
        wait_for(lambda: resident_kib(self.pooler.pid) <= self.memory_before + self.memory_kib,
                 "resident memory is back: %d KiB before, now %d" % (
                     self.memory_before, resident_kib(self.pooler.pid)))

    def check_cpu(self):
        def is_idle():
            begin, used = time.monotonic(), cpu_seconds(self.pooler.pid)
            time.sleep(0.06)
            used = cpu_seconds(self.pooler.pid) - used
            share = used / (time.monotonic() - begin)
            assert share <= IDLE_CPU, "%.1f %% of a core at rest" % (share * 100)
            return True
        wait_for(is_idle, "no busy loop", timeout=2)

    def check_servers(self):
        """Every server of the probed pools is idle and holds nothing, and is the server we know."""
        for database, user in self.probed:
            known = "datname = '%s' AND usename = '%s' AND application_name <> 'past the pooler'" % (
                database, user)
            dirty = ("SELECT pid, state, query, xact_start FROM pg_stat_activity WHERE backend_type ="
                     " 'client backend' AND (state <> 'idle' OR xact_start IS NOT NULL) AND " + known)
            # One that we have closed may still be at work; one of the pool stays what it is.
            wait_for(lambda: self.postgres.sql(dirty) == [], "every server of %s is clean" % database)
            assert self.postgres.value(
                "SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE "
                + known + ")") == 0
            self.probe(database, user)

    def probe(self, database, user):
        """Takes all servers of the pool at once; each must begin a transaction of its own."""
        row = self.pooler.pool(database, user)
        clients = [self.pooler.client(database, user, host=self.pooler.socket_dir)
                   for _ in range(row["sv_idle"] + row["sv_used"])]
        pids = set()
        for client in clients:
            assert client.query("BEGIN").tags == ["BEGIN"]
            pids.add(client.value("SELECT pg_backend_pid() + 0 * (SELECT count(*) FROM pg_cursors)"))
        assert len(pids) == len(clients)
        for client in clients:
            result = client.query("ROLLBACK")
            assert (result.tags, result.status) == (["ROLLBACK"], "I")
        self.pooler.close_clients()
        self.pooler.wait_pool(database, user, cl_active=0, sv_active=0)

