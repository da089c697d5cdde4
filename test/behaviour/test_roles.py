"""target_session_attrs: which host of an entry serves it, and what happens while none can."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from support import fake_server as fake
from support import wire
from support.fake_server import FakeServer
from support.postgres import find_program
from support.process import SLACK, give_away, unprivileged, wait_for


class Node(FakeServer):
    """A host with a role that may change: primary, read-only, standby, starting or old-*."""

    def __init__(self, name, role, port=0):
        self.role = role
        self.name = name
        super().__init__(self.serve, port, name)

    def serve(self, side):
        role = self.role
        if side.read_startup() is None:
            return
        if role == "starting":
            side.send_error("the database system is starting up", sqlstate="57P03")
            return
        parameters = dict(fake.PARAMETERS)
        if not role.startswith("old-"):  # PostgreSQL before 14 does not tell
            parameters["in_hot_standby"] = "on" if role == "standby" else "off"
            parameters["default_transaction_read_only"] = "on" if role == "read-only" else "off"
        side.role = role
        side.welcome(parameters)
        side.serve(lambda side, sql: self.answer(side, sql))

    def answer(self, side, sql):
        if "pg_is_in_recovery" in sql:
            standby = side.role == "old-standby"
            return (fake.row_description("a", "b") + fake.data_row("on" if standby else "off",
                                                                  "on" if standby else "off")
                    + fake.command_complete() + fake.ready())
        return fake.answer(self.name)

    def end_all(self):
        for side in self.sides:
            with contextlib.suppress(OSError):
                side.sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cluster():
    """Makes nodes on one port of several addresses, from their roles."""
    nodes = []

    def make(*roles):
        for place, role in enumerate(roles):
            nodes.append(Node("127.0.0.%d" % (place + 2), role, nodes[0].port if nodes else 0))
        return nodes
    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def start(start_pooler):
    def start(nodes, target, entry="", **settings):
        settings.setdefault("pool_mode", "transaction")
        return start_pooler(databases={"p0": "host=%s port=%d target_session_attrs=%s %s" % (
            ",".join(node.name for node in nodes), nodes[0].port, target, entry)}, **settings)
    return start


STANDBY, PRIMARY, READ_ONLY = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.mark.parametrize("target,allowed", [
    ("any", {STANDBY, PRIMARY, READ_ONLY}), ("read-write", {PRIMARY}),
    ("READ-ONLY", {STANDBY, READ_ONLY}), ("primary", {PRIMARY, READ_ONLY}),
    ("standby", {STANDBY}), ("prefer-standby", {STANDBY})])
def test_only_hosts_of_the_wanted_role_serve(start, cluster, target, allowed):
    pooler = start(cluster("standby", "primary", "read-only"), target, default_pool_size="6")
    clients = [pooler.client() for _ in range(6)]
    for client in clients:
        client.send_raw(wire.query("BEGIN"))
        client.result()
    seen = {row["addr"] for row in pooler.show("SERVERS")}
    assert seen <= allowed
    wait_for(lambda: {client.value("SELECT 1") for client in clients} <= allowed, "answers")


@pytest.mark.parametrize("target,serves", [("read-write", PRIMARY), ("standby", STANDBY)])
def test_older_servers_are_asked(start, cluster, target, serves):
    pooler = start(cluster("old-standby", "old-primary"), target)
    client = pooler.client()
    assert {client.value("SELECT 1") for _ in range(3)} == {serves}


def test_prefer_standby_falls_back(start, cluster):
    """To a primary, if it is all there is; and a standby is taken as soon as one is there."""
    nodes = cluster("starting", "primary")
    pooler = start(nodes, "prefer-standby")
    client = pooler.client()
    assert client.value("SELECT 1") == PRIMARY
    nodes[0].role = "standby"
    time.sleep(0.3)
    pooler.admin("RECONNECT p0")
    wait_for(lambda: client.value("SELECT 1") == STANDBY, "the standby", timeout=10)


@pytest.mark.parametrize("before", ["standby", "starting", "closed"])
def test_clients_are_held_until_the_role_is_there(start, cluster, before):
    """Nobody is told anything: the first answer comes from the new primary."""
    nodes = cluster("primary", "standby")
    pooler = start(nodes, "read-write", default_pool_size="3", server_login_retry="15")
    clients = [pooler.client() for _ in range(5)]
    assert {client.value("SELECT 1") for client in clients} == {"127.0.0.2"}
    if before == "closed":
        nodes[0].close()
    nodes[0].role = before
    nodes[0].end_all()
    pooler.wait_pool(sv_idle=0)
    for client in clients:
        client.send_raw(wire.query("SELECT 2"))
    pooler.wait_pool(cl_waiting=5)
    late = pooler.client()  # its login is answered from memory
    late.send_raw(wire.query("SELECT 3"))
    clients[0].expect_silence(0.5)
    nodes[1].role = "primary"
    began = time.monotonic()
    assert {client.result().value for client in clients + [late]} == {"127.0.0.3"}
    assert time.monotonic() - began < 2.5 * SLACK
    assert pooler.log().count("the host is a primary (database p0") == 2


def start_replication(pooler):
    client = pooler.wire()
    client.startup("bob", "p0", replication="true")
    return client


def check_replication(client, host):
    """The login, and who serves it."""
    client.authenticate()
    client.welcome()
    assert client.value("SELECT 1") == host


@pytest.mark.parametrize("target,serves", [("read-write", PRIMARY), ("standby", STANDBY)])
def test_replication_gets_a_host_of_the_role(start, cluster, target, serves):
    pooler = start(cluster("standby", "primary"), target, server_login_retry="15")
    for _ in range(3):
        check_replication(start_replication(pooler), serves)


@pytest.mark.parametrize("before", ["standby", "starting", "closed"])
def test_replication_is_held_until_the_role_is_there(start, cluster, before):
    """As every client of the entry, and without knocking all the time."""
    nodes = cluster(before if before != "closed" else "standby", "standby")
    pooler = start(nodes, "read-write", server_login_retry="15")
    if before == "closed":
        nodes[0].stop_listening()
    client = start_replication(pooler)
    client.expect_silence(0.5)
    assert sum(len(node.sides) for node in nodes) < 20
    nodes[1].role = "primary"
    check_replication(client, PRIMARY)


def test_the_wait_has_an_end(start, cluster):
    pooler = start(cluster("standby"), "read-write", query_wait_timeout="1")
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_error("query_wait_timeout")


def test_real_errors_are_told(start, cluster):
    """A password that is wrong everywhere is not a missing role."""
    nodes = cluster("primary", "primary")

    def refuse(side):
        side.read_startup()
        side.send_error('password authentication failed for user "bob"', sqlstate="28P01")
    for node in nodes:
        node.script = refuse
    client = start(nodes, "read-write").wire()
    client.startup("bob", "p0")
    client.expect_error('password authentication failed for user "bob"', sqlstate="28P01")


def test_a_promoted_standby_leaves_the_readers(start, cluster):
    """It says so with an answer, and its connection is not used again."""
    nodes = cluster("standby", "standby")
    pooler = start(nodes[:1], "standby")
    client = pooler.client()
    client.query("SELECT 1")
    nodes[0].role = "primary"
    nodes[0].answer = lambda side, sql: (fake.parameter_status("in_hot_standby", "off")
                                         + fake.answer("promoted"))
    client.send_raw(wire.query("SELECT 2"))
    client.result()
    pooler.wait_pool(sv_active=0, sv_idle=0)
    pooler.wait_log("closing because: wrong role")


def test_unknown_words(make_pooler):
    pooler = make_pooler(databases={"p0": "host=a target_session_attrs=master"})
    pooler.write()
    code, out, err = pooler.run("--check", pooler.ini)
    assert code == 1 and "invalid target_session_attrs: master" in out + err


def test_a_port_for_each_host(start_pooler, cluster):
    """Hosts that share an address are told apart."""
    standby, primary = Node("127.0.0.1", "standby"), Node("127.0.0.1", "primary")
    with contextlib.closing(standby), contextlib.closing(primary):
        primary.answer = lambda side, sql: fake.answer("the primary")
        hosts = "host=127.0.0.1,127.0.0.1 port=%d,%d" % (standby.port, primary.port)
        pooler = start_pooler(databases={"p0": hosts + " target_session_attrs=primary"})
        assert pooler.client().value("SELECT 1") == "the primary"
        assert pooler.show("DATABASES", name="p0")[0]["port"] == standby.port


# Real servers

@pytest.fixture
def standby(pg):
    """Follows the server of the tests, on another address and the same port."""
    folder = tempfile.mkdtemp(prefix="pgweir-standby-")
    give_away(folder)
    data = os.path.join(folder, "standby")

    def run(program, *arguments):
        done = subprocess.run([find_program(program), *arguments], capture_output=True, text=True,
                              cwd=folder, **unprivileged())
        assert done.returncode == 0, done.stdout + done.stderr
    run("pg_basebackup", "-h", "127.0.0.1", "-p", str(pg.port), "-U", "replicator", "-D", data,
        "-R", "--checkpoint=fast", "--no-sync")
    with open(os.path.join(data, "postgresql.conf"), "a") as file:
        file.write("port = %d\nlisten_addresses = '127.0.0.2'\nunix_socket_directories = ''\n"
                   % pg.port)
    run("pg_ctl", "-D", data, "-s", "-w", "-l", os.path.join(folder, "standby.log"), "start")
    try:
        yield lambda: run("pg_ctl", "-D", data, "-s", "-w", "promote")
    finally:
        run("pg_ctl", "-D", data, "-s", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.limit(120)
def test_a_switchover(start_pooler, pg, standby):
    """The primary is stopped and the standby promoted: clients between transactions lose nothing."""
    hosts = "host=127.0.0.1,127.0.0.2 port=%d dbname=p0 target_session_attrs=" % pg.port
    pooler = start_pooler(pool_mode="transaction", default_pool_size="2", databases={
        "app": hosts + "read-write", "app_ro": hosts + "prefer-standby"})
    where = "SELECT host(inet_server_addr()) || ' ' || pg_is_in_recovery()"
    client, reader = pooler.client("app"), pooler.client("app_ro")
    assert client.value(where) == "127.0.0.1 false"
    assert reader.value(where) == "127.0.0.2 true"
    client.query("CREATE TABLE IF NOT EXISTS counted (n int)")
    stop, failures, counts = threading.Event(), [], [0] * 4

    def work(place):
        own = pooler.client("app")
        own.sock.settimeout(30)
        while not stop.is_set():
            try:
                own.query("INSERT INTO counted VALUES (1)").check()
                counts[place] += 1
            except (wire.ServerError, EOFError, OSError) as error:
                failures.append(error)
                own = pooler.client("app")
                own.sock.settimeout(30)
            time.sleep(0.02)
    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for worker in workers:
        worker.start()
    try:
        wait_for(lambda: min(counts) > 3, "work")
        pg.stop("fast")
        standby()
        done = list(counts)
        wait_for(lambda: min(a - b for a, b in zip(counts, done)) > 3, "work goes on", timeout=20)
        assert client.value(where) == "127.0.0.2 false"
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        pg.start()
        pg.sql("DROP TABLE IF EXISTS counted")
    assert len(failures) <= len(workers), failures  # those in flight when the server ended
