"""
Replication connections: PostgreSQL's own programs through the pooler, and what the pooler does with
the servers of such clients, which are theirs alone.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from support import fake_server as fake
from support import wire
from support.process import SLACK, free_port, give_away, unprivileged, wait_for
from support.postgres import find_program

USER = "replicator"
ENTRIES = {"p0": "", "p1": "", "replication": "dbname=p0"}


@pytest.fixture
def relay(start_pooler):
    """A pooler whose entry `replication` serves programs that name no database."""
    def start(**settings):
        settings.setdefault("pool_mode", "transaction")
        settings.setdefault("databases", dict(ENTRIES))
        settings.setdefault("userlist", {"bob": "bob-pw", USER: "replicator-pw"})
        return start_pooler(**settings)
    return start


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="pgweir-replica-")
    give_away(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def slot(pg):
    """slot(name) is dropped at the end, if it has been made."""
    names = []

    def name(text):
        names.append(text)
        return text
    yield name
    for text in names:
        wait_for(lambda: not pg.sql("SELECT 1 FROM pg_replication_slots WHERE active"),
                 "nobody uses a slot")
        pg.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
               " WHERE slot_name = %s", (text,))


def address(pooler):
    return ["-h", pooler.host, "-p", str(pooler.port), "-U", USER]


def options(folder):
    return {"cwd": folder, "env": {"PATH": os.environ["PATH"], "PGPASSWORD": "replicator-pw"},
            "stdin": subprocess.DEVNULL, **unprivileged()}


def run(folder, program, *arguments):
    done = subprocess.run([find_program(program), *arguments], capture_output=True, text=True,
                          timeout=50 * SLACK, **options(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(folder, program, *arguments):
    return subprocess.Popen([find_program(program), *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options(folder))


def interrupt(process):
    """As Ctrl-C; the program ends well."""
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20 * SLACK)
    assert process.returncode == 0, out + errors
    return out


def replication_rows(pooler, view="SERVERS"):
    return [row for row in pooler.show(view) if row["replication"] != "none"]


def wait_none(pooler):
    wait_for(lambda: not replication_rows(pooler) and not replication_rows(pooler, "CLIENTS"),
             "no replication connection is left")


# PostgreSQL's programs

@pytest.mark.parametrize("wal", ["stream", "fetch"])
def test_pg_basebackup(relay, pg, folder, wal):
    pooler = relay()
    backup = os.path.join(folder, "backup")
    run(folder, "pg_basebackup", *address(pooler), "-D", backup, "-X", wal, "--checkpoint=fast",
        "--no-sync")
    run(folder, "pg_verifybackup", backup)
    wait_none(pooler)
    assert "replication=yes" in pooler.log()
    assert pooler.log().count("closing because: replication client was closed") <= 2


def test_pg_receivewal(relay, pg, folder, slot):
    pooler = relay()
    name = slot("weir_wal")
    run(folder, "pg_receivewal", *address(pooler), "--create-slot", "--slot", name)
    process = start(folder, "pg_receivewal", *address(pooler), "-D", folder, "--slot", name,
                    "--status-interval=1", "--no-sync")
    try:
        wait_for(lambda: [row["replication"] for row in replication_rows(pooler)] == ["physical"],
                 "it streams")
        for _ in range(3):
            pg.sql("CREATE TABLE IF NOT EXISTS received (n int); DROP TABLE received;"
                   "SELECT pg_switch_wal()")
        target = pg.value("SELECT pg_current_wal_lsn()::text")
        # How far it is it tells in status updates, while it streams.
        wait_for(lambda: pg.value("SELECT write_lsn >= %s::pg_lsn FROM pg_stat_replication",
                                  (target,)), "it has told how far it is", timeout=15)
        (client,) = replication_rows(pooler, "CLIENTS")
        assert (client["state"], client["application_name"]) == ("active", "pg_receivewal")
    finally:
        interrupt(process)
    wait_none(pooler)
    assert len([file for file in os.listdir(folder) if len(file) == 24]) >= 2


def test_pg_recvlogical(relay, pg, folder, slot):
    pooler = relay()
    name = slot("weir_logical")
    pg.sql("DROP TABLE IF EXISTS changes; CREATE TABLE changes (n int)")
    run(folder, "pg_recvlogical", *address(pooler), "-d", "p0", "--slot", name, "--create-slot",
        "--plugin", "test_decoding")
    process = start(folder, "pg_recvlogical", *address(pooler), "-d", "p0", "--slot", name,
                    "--start", "-f", "-", "--status-interval=1")
    try:
        for n in range(3):
            pg.sql("INSERT INTO changes VALUES (%s)", (n,))
        read = ""
        while "integer]:2" not in read:
            read += process.stdout.readline()
        assert [row["replication"] for row in replication_rows(pooler)] == ["logical"]
    finally:
        interrupt(process)
    assert [line[-1] for line in read.splitlines() if "INSERT" in line] == ["0", "1", "2"]
    wait_none(pooler)
    pg.sql("DROP TABLE changes")


def test_psql(relay, folder):
    pooler = relay()
    text = "host=%s port=%d user=%s dbname=p0 replication=%%s" % (pooler.host, pooler.port, USER)
    logical = run(folder, "psql", "-AtX", text % "database", "-c", "IDENTIFY_SYSTEM",
                  "-c", "SELECT 7", "-c", "SHOW wal_level").split()
    assert logical[0].endswith("|p0") and logical[1:] == ["7", "logical"]
    physical = run(folder, "psql", "-AtX", text % "true", "-c", "IDENTIFY_SYSTEM")
    assert physical.strip().endswith("|")


@pytest.mark.limit(120)
def test_standby(relay, pg, folder):
    """A standby that follows its primary through the pooler, whose restart it lives through."""
    pooler = relay()
    data, port = os.path.join(folder, "standby"), free_port()
    run(folder, "pg_basebackup", *address(pooler), "-D", data, "-R", "--checkpoint=fast",
        "--no-sync")
    with open(os.path.join(data, "postgresql.auto.conf")) as file:
        assert "port=%d" % pooler.port in file.read()
    with open(os.path.join(data, "postgresql.conf"), "a") as file:
        file.write("port = %d\nunix_socket_directories = '%s'\n"
                   "wal_retrieve_retry_interval = 100ms\n" % (port, folder))

    def count():
        text = run(folder, "psql", "-AtX", "-h", folder, "-p", str(port), "-U", pg.superuser, "-d",
                   "p0", "-c", "SELECT count(*) FROM pg_class WHERE relname = 'followed'")
        return int(text)

    run(folder, "pg_ctl", "-D", data, "-s", "-w", "-l", os.path.join(folder, "log"), "start")
    try:
        wait_for(lambda: [row["application_name"] for row in replication_rows(pooler, "CLIENTS")]
                 == ["walreceiver"], "the standby streams", timeout=15)
        pg.sql("CREATE TABLE followed (n int)")
        wait_for(lambda: count() == 1, "the standby has the table", timeout=15, pause=0.1)
        pooler.admin("RECONNECT")  # the stream ends at once, and is taken up again
        pooler.wait_log("closing because: database configuration changed")
        pg.sql("DROP TABLE followed")
        wait_for(lambda: count() == 0, "the standby follows again", timeout=15, pause=0.1)
    finally:
        run(folder, "pg_ctl", "-D", data, "-s", "-w", "-m", "immediate", "stop")
    wait_none(pooler)


def test_refused_by_the_rules(relay, pg, folder):
    """`all` is not `replication`; logical connections are matched by their database."""
    rules = os.path.join(folder, "hba.conf")
    with open(rules, "w") as file:
        file.write("local all all trust\n")
    pooler = relay(auth_type="hba", auth_hba_file=rules)
    for text, physical, logical in (
            ("host all all 127.0.0.1/32 trust\n", False, True),
            ("host replication all 127.0.0.1/32 trust\n", True, False),
            ("host p1 all 127.0.0.1/32 trust\n", False, False)):
        pooler.write_file(rules, "local all all trust\n" + text)
        pooler.reload()
        for value, welcome in (("true", physical), ("database", logical)):
            client = pooler.wire()
            client.startup(USER, "p0", replication=value)
            if welcome:
                client.authenticate()
                client.welcome()
                client.terminate()
            else:
                client.expect_error("no authentication method is found")


# The server of such a client

def walsender(side):
    """Answers queries with its number; after START it copies in both directions until CopyDone."""
    if not side.log_in():
        return
    while True:
        got = side.read()
        if got.type == "X":
            return
        if got.type == "Q" and got.body.startswith(b"START"):
            side.send("W", b"\0\0\0")
            while True:
                got = side.read()
                if got.type == "c":
                    break
                side.send("d", b"echo " + got.body)
            side.send_raw(wire.message("c") + fake.command_complete("COPY 0") + fake.ready())
        elif got.type == "Q":
            side.send_raw(fake.answer(side.number))


@pytest.fixture
def fake_relay(relay, fake_server):
    """A pooler in front of a scripted walsender: (pooler, server)."""
    def start(script=walsender, entry="", **settings):
        server = fake_server(script)
        databases = {name: "host=127.0.0.1 port=%d dbname=p0 %s" % (server.port, entry)
                     for name in ("p0", "p1")}
        return relay(databases=databases, server=None, **settings), server
    return start


def test_startup_packet(fake_relay):
    """The contract's order; what the client says goes behind what the entry says."""
    pooler, server = fake_relay(entry="client_encoding=LATIN1 timezone=UTC",
                                track_extra_parameters="search_path")
    raw = "-c  wal_sender_timeout=5s --x=\\ y -d 3 "
    client = pooler.client(user=USER, replication="database", application_name="me",
                           options=raw, search_path="a, b", DateStyle="German")
    (side,) = server.logged_in
    assert side.startup_order == ["database", "client_encoding", "timezone", "replication",
                                  "DateStyle", "application_name", "search_path", "options", "user"]
    assert side.startup["replication"] == "database" and side.startup["options"] == raw
    assert (side.startup["application_name"], side.startup["search_path"]) == ("me", "a, b")
    assert client.query("anything").value == "1"
    assert server.queries() == ["anything"]  # no SET before it
    client.terminate()

    pooler.client(user=USER, replication="on")
    assert server.logged_in[1].startup["replication"] == "true"


def test_the_welcome_is_that_of_its_own_server(fake_relay):
    def script(side):
        if side.read_startup() is not None:
            name = side.startup.get("application_name", "none")
            side.welcome({**fake.PARAMETERS, "server_version": "for " + name,
                          "application_name": name.upper()})
            side.serve(lambda side, sql: fake.answer(side.number))
    pooler, _ = fake_relay(script)
    wal = pooler.client(user=USER, replication="true", application_name="wal")
    assert wal.parameters["server_version"] == "for wal"
    assert wal.parameters["application_name"] == "WAL"
    other = pooler.client(user=USER, application_name="other")
    assert other.parameters["server_version"] == "for none"  # not what the first one was told
    again = pooler.client(user=USER, replication="true", application_name="again")
    assert again.parameters["server_version"] == "for again"


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
@pytest.mark.parametrize("kind", ["database", "true"])
def test_it_is_never_lent_to_others(fake_relay, mode, kind):
    pooler, server = fake_relay(pool_mode=mode, server_reset_query_always="1",
                                server_reset_query="DISCARD ALL")
    ordinary = pooler.client(user=USER)
    assert ordinary.value("SELECT") == "1"
    wal = pooler.client(user=USER, replication=kind)
    for _ in range(3):
        assert wal.value("IDENTIFY_SYSTEM") == "2"
    assert pooler.client(user=USER).value("SELECT") == ("3" if mode == "session" else "1")
    (row,) = replication_rows(pooler)
    assert (row["replication"], row["state"]) == ({"database": "logical", "true": "physical"}[kind],
                                                  "active")
    wal.terminate()
    pooler.wait_log("closing because: replication client was closed")
    assert "DISCARD ALL" not in server.sides[1].queries()
    assert pooler.stats()["total_server_assignment_count"] == 2
    wait_none(pooler)


def test_copy_in_both_directions(fake_relay):
    pooler, _ = fake_relay()
    wal = pooler.client(user=USER, replication="true")
    wal.send_raw(wire.query("START_REPLICATION"))
    wal.expect("W")
    for n in range(300):
        wal.send_raw(wire.copy_data(b"r%d" % n))
        assert wal.expect("d").body == b"echo r%d" % n
    large = os.urandom(3000000)
    wal.send_raw(wire.copy_data(large))
    assert wal.expect("d").body == b"echo " + large
    wal.send_raw(wire.copy_done() + wire.query("IDENTIFY_SYSTEM"))
    assert "".join(message.type for message in wal.result().messages) == "cCZ"
    assert wal.result().value == "1"
    wal.send_raw(wire.copy_data(b"late") + wire.copy_done())  # PostgreSQL ignores it
    assert wal.value("IDENTIFY_SYSTEM") == "1"


def test_both_sides_flood_each_other(fake_relay):
    """Neither direction waits for the other."""
    amount = 64
    piece = wire.copy_data(b"x" * (1 << 20))

    def script(side):
        if side.log_in():
            side.read()
            side.send("W", b"\0\0\0")
            for _ in range(amount):
                side.send_raw(piece)  # without reading
            for _ in range(amount):
                assert side.read().type == "d"
            side.send_raw(wire.message("c"))
            side.read()
    pooler, server = fake_relay(script)
    wal = pooler.client(user=USER, replication="true")
    wal.send_raw(wire.query("START_REPLICATION"))
    wal.expect("W")
    for _ in range(amount):
        assert len(wal.expect("d").body) == 1 << 20
    for _ in range(amount):
        wal.send_raw(piece)
    wal.expect("c")


@pytest.mark.parametrize("how", ["eof", "half", "reset", "terminate", "mid_message"])
def test_client_leaves_the_stream(fake_relay, how):
    """Its server goes with it, also when nothing is ever sent to the client any more."""
    pooler, server = fake_relay()
    wal = pooler.client(user=USER, replication="true")
    wal.send_raw(wire.query("START_REPLICATION"))
    wal.expect("W")
    if how == "eof":
        wal.send_raw(wire.copy_data(b"last"))
        wal.close()
    elif how == "half":
        wal.sock.shutdown(socket.SHUT_WR)
    elif how == "reset":
        wal.reset()
    elif how == "terminate":
        wal.terminate()
    else:
        wal.send_raw(wire.copy_data(b"cut" * 100)[:50])
        wal.close()
    wait_none(pooler)
    wait_for(lambda: hasattr(server.sides[0], "ended"), "the server's connection has ended")


@pytest.mark.parametrize("when", ["refused", "lost", "unreachable"])
def test_failed_login_concerns_that_client_only(fake_relay, when):
    def script(side):
        if side.read_startup() is None:
            return
        if "replication" not in side.startup:
            side.welcome()
            side.serve(lambda side, sql: fake.answer(side.number))
        elif when == "refused":
            side.send_error("no walsender for you", sqlstate="53300")
    pooler, server = fake_relay(script, server_login_retry="30")
    if when != "unreachable":
        ordinary = pooler.client(user=USER)
        assert ordinary.value("SELECT") == "1"
    else:
        server.stop_listening()
    for _ in range(2):
        wal = pooler.wire()
        wal.startup(USER, "p0", replication="true")
        wal.expect_error("login failed")
    if when == "refused":
        assert pooler.log().count("S: login failed: FATAL: no walsender for you") == 2
        assert pooler.log().count("no walsender for you") == 2
    if when != "unreachable":
        assert ordinary.value("SELECT") == "1"
        assert pooler.client(user=USER).value("SELECT") == "1"
    else:
        server.listen(server.port)
        assert pooler.client(user=USER).value("SELECT") == "1"  # nobody waits for a retry
    wait_none(pooler)


@pytest.mark.parametrize("command", ["RECONNECT", "RECONNECT p0", "reload"])
def test_marked_servers_are_closed_at_once(fake_relay, command):
    pooler, _ = fake_relay()
    wal = pooler.client(user=USER, replication="true")
    wal.send_raw(wire.query("START_REPLICATION"))
    wal.expect("W")
    if command == "reload":
        pooler.databases["p0"] += " dbname=elsewhere"
        pooler.reload()
    else:
        pooler.admin(command)
    wal.expect_error("database configuration changed")
    wait_none(pooler)
    assert pooler.client(user=USER, replication="true").value("IDENTIFY_SYSTEM") == "2"


# Limits and waiting

def test_it_counts_and_makes_room_in_its_pool(fake_relay):
    pooler, server = fake_relay(default_pool_size="2")
    first, second = pooler.client(user=USER), pooler.client(user=USER)
    first.send_raw(wire.query("one"))
    second.send_raw(wire.query("two"))
    assert {first.result().value, second.result().value} <= {"1", "2"}
    wal = pooler.client(user=USER, replication="true")
    if len(server.logged_in) == 3:  # two were open, and idle
        assert "closing because: evicted" in pooler.log()
    other = pooler.client(user=USER, replication="database")
    late = pooler.wire()
    late.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, sv_active=2, sv_idle=0, cl_waiting=1)
    first.send_raw(wire.query("three"))  # behind the replication client
    pooler.wait_pool(user=USER, cl_waiting=2)
    late.expect_silence()
    wal.terminate()
    late.authenticate()
    late.welcome()
    first.expect_silence()
    other.terminate()
    assert first.result().status == "I"
    assert late.value("IDENTIFY_SYSTEM")


@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_shared_limits(fake_relay, limit):
    """Never exceeded; idle servers of others go, and who finds none waits."""
    pooler, server = fake_relay(**{limit: "1"})
    database, user = ("p0", "bob") if limit == "max_db_connections" else ("p1", USER)
    other = pooler.client(database=database, user=user)
    assert other.value("SELECT") == "1"
    wal = pooler.client(user=USER, replication="true")
    assert wal.value("IDENTIFY_SYSTEM") == "2"
    other.send_raw(wire.query("SELECT"))
    pooler.wait_pool(database, user, cl_waiting=1)
    assert len([row for row in pooler.show("SERVERS")]) == 1
    wal.terminate()
    assert other.result().value == "3"


def test_ordinary_clients_do_not_wait_for_its_login(fake_relay):
    """Its login hangs; a server that is free serves the others meanwhile."""
    def script(side):
        if side.read_startup() is None:
            return
        if "replication" in side.startup:
            side.read()
        side.welcome()
        side.serve(lambda side, sql: fake.answer(side.number))
    pooler, _ = fake_relay(script)
    ordinary = pooler.client(user=USER)
    assert ordinary.value("SELECT") == "1"
    wal = pooler.wire()
    wal.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, sv_login=1)
    assert ordinary.value("SELECT") == "1"
    (row,) = replication_rows(pooler, "CLIENTS")
    assert row["state"] == "waiting"
    wal.close()  # gives up: the half-open server goes, too
    pooler.wait_pool(user=USER, sv_login=0)
    pooler.wait_log("closing because: replication client disconnected")


@pytest.mark.parametrize("known", [True, False], ids=["query", "login"])
def test_it_is_no_help_to_others_whose_logins_fail(fake_relay, known):
    """They are told why at once, as if it were not there."""
    full = []

    def script(side):
        if side.read_startup() is None:
            return
        if full and "replication" not in side.startup:
            side.send_error("no room for you", sqlstate="53300")
            return
        side.welcome()
        while (got := side.read()).type == "Q" and b"die" not in got.body:
            side.send_raw(fake.answer(side.number))
    pooler, _ = fake_relay(script)
    if known:
        other, ordinary = pooler.client(user=USER), pooler.client(user=USER)
        other.send_raw(wire.query("die"))
        other.wait_closed()
    wal = pooler.client(user=USER, replication="true")
    full.append(True)
    if known:
        ordinary.send_raw(wire.query("SELECT"))
    else:
        ordinary = pooler.wire()
        ordinary.startup(USER, "p0")
    assert "no room for you" in str(ordinary.wait_closed(8))
    assert wal.value("IDENTIFY_SYSTEM")


def test_it_does_not_count_for_the_minimum(fake_relay):
    pooler, _ = fake_relay(min_pool_size="1", server_idle_timeout="0.5")
    wal = pooler.client(user=USER, replication="true")
    pooler.wait_pool(user=USER, sv_active=1, sv_idle=1)
    (before,) = [row for row in pooler.show("SERVERS") if row["replication"] == "none"]
    time.sleep(1.2)  # the idle server is kept
    assert before["remote_pid"] in [row["remote_pid"] for row in pooler.show("SERVERS")]
    assert wal.value("IDENTIFY_SYSTEM")


def test_the_queue_is_bounded_for_it_too(fake_relay):
    pooler, _ = fake_relay(default_pool_size="1", max_waiting_clients="1")
    wal = pooler.client(user=USER, replication="true")
    waiting = pooler.wire()
    waiting.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, cl_waiting=1)
    refused = pooler.wire()
    refused.startup(USER, "p0", replication="true")
    refused.expect_error("too many clients wait for a server (max_waiting_clients)", sqlstate="53300")
    wal.terminate()
    waiting.authenticate()
    waiting.welcome()


@pytest.mark.parametrize("first", ["login", "command"])
def test_marked_before_its_client_has_it(fake_relay, first):
    """RECONNECT in the very moment in which the login ends."""
    gate = threading.Event()

    def script(side):
        if side.read_startup() is None:
            return
        side.send_raw(wire.message("R", struct.pack("!i", 0)) + wire.message("K", side.key))
        gate.wait(20)
        side.send_raw(fake.ready())
        side.serve(lambda side, sql: fake.answer(side.number))
    pooler, _ = fake_relay(script)
    console = pooler.client("pgbouncer", "admin")
    wal = pooler.wire()
    wal.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, sv_login=1)
    pooler.signal(signal.SIGSTOP)
    for step in sorted(("login", "command"), key=lambda step: step != first):
        if step == "login":
            gate.set()
        else:
            console.send_raw(wire.query("RECONNECT"))
        time.sleep(0.1)
    pooler.signal(signal.SIGCONT)
    console.result().check()
    wait_for(lambda: not [row for row in pooler.show("SERVERS") if row["close_needed"]],
             "no server is left that is not to be used")


def test_timeout_of_the_login(fake_relay):
    pooler, _ = fake_relay(lambda side: side.read_startup() and side.read(),
                           client_login_timeout="0.5")
    wal = pooler.wire()
    wal.startup(USER, "p0", replication="true")
    wal.expect_error("client_login_timeout (server down)")
    wait_none(pooler)


def test_pause(fake_relay):
    """It waits for RESUME; a login that was under way begins again."""
    gate = []

    def script(side):
        if side.read_startup() is None:
            return
        if not gate:
            side.read()
        side.welcome()
        side.serve(lambda side, sql: fake.answer(side.number))
    pooler, server = fake_relay(script)
    wal = pooler.wire()
    wal.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, sv_login=1)
    pooler.admin("PAUSE")
    pooler.wait_pool(user=USER, sv_login=0, cl_waiting=1)
    gate.append(True)
    late = pooler.wire()
    late.startup(USER, "p0", replication="true")
    pooler.wait_pool(user=USER, cl_waiting=2)
    pooler.admin("RESUME")
    for client in (wal, late):
        client.authenticate()
        client.welcome()
    assert (wal.value("x"), late.value("x")) == ("2", "3")


def test_what_came_before_the_welcome_is_not_lost(fake_relay):
    pooler, _ = fake_relay()
    wal = pooler.wire()
    wal.send_raw(wire.startup_packet({"user": USER, "database": "p0", "replication": "true"})
                 + wire.query("IDENTIFY_SYSTEM"))
    wal.authenticate()
    wal.welcome()
    assert wal.result().value == "1"


def test_server_that_speaks_out_of_turn(fake_relay):
    """More than the login was due: the server is not to be trusted, and is not tried for ever."""
    def script(side):
        if side.read_startup() is not None:
            side.send_raw(wire.message("R", struct.pack("!i", 0)) + wire.message("K", side.key)
                          + fake.ready() + fake.ready())
            side.read()
    pooler, server = fake_relay(script)
    wal = pooler.wire()
    wal.startup(USER, "p0", replication="true")
    wal.expect_error("login failed")
    assert len(server.sides) == 1


def test_connect_query_is_not_for_physical_replication(fake_relay):
    pooler, server = fake_relay(entry="connect_query='SELECT hello'")
    pooler.client(user=USER, replication="true")
    pooler.client(user=USER, replication="database")
    assert [side.queries() for side in server.logged_in] == [[], ["SELECT hello"]]


def test_console_replicates_nothing(relay):
    pooler = relay()
    client = pooler.client("pgbouncer", "admin", password="admin-pw", replication="true")
    assert client.query("SHOW VERSION").rows


def test_cancel_of_a_replication_command(relay, pg):
    """The key of the client is that of its own server."""
    pooler = relay()
    wal = pooler.client(user=USER, replication="database")
    wal.send_raw(wire.query("SELECT pg_sleep(30)"))
    wait_for(lambda: pg.backends("query LIKE '%pg_sleep(30)%'") or
             pg.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND"
                    " pid <> pg_backend_pid()"), "it runs")
    wal.cancel()
    assert wal.result().errors[0]["C"] == "57014"
    assert wal.value("SELECT 1") == "1"


def test_many_come_and_go(fake_relay):
    """At every moment of the login; nothing is left of them."""
    pooler, server = fake_relay(default_pool_size="3")
    packet = wire.startup_packet({"user": USER, "database": "p0", "replication": "true"})
    for n in range(60):
        client = pooler.wire()
        client.send_raw(packet)
        time.sleep(0.0003 * (n % 12))
        client.reset() if n % 2 else client.close()
    wait_none(pooler)
    assert pooler.client(user=USER).query("SELECT").value
    wait_for(lambda: pooler.pool(user=USER)["cl_waiting"] == 0, "nobody waits")
