"""Section 15 of the catalogue: the administration console."""

import contextlib
import random
import re
import socket
import time

import pytest

from support import wire
from support.contract import SHOW_COLUMNS, columns
from support.fake_server import answer
from support.invariants import fatal, read_to_end
from support.pooler import STATS
from support.process import SLACK, is_running, resident_kib, wait_for

P2 = {"p0": "", "p1": "", "p2": "", "p3": ""}


def error_of(client, sql, sqlstate="08P01"):
    """The text of the ERROR that a command ends with; the session must go on."""
    client.send_raw(wire.query(sql) if isinstance(sql, str) else wire.message("Q", sql + b"\0"))
    result = client.result()
    assert [error["S"] for error in result.errors] == ["ERROR"], (sql, result.messages)
    assert result.errors[0]["C"] == sqlstate
    assert client.query("SHOW VERSION").rows
    return result.errors[0]["M"]


def settles(client, sql):
    """The command returns, with its tag or an error; which is returned."""
    client.send_raw(wire.query(sql))
    return outcome(client)


def outcome(client):
    result = client.result()
    return result.errors[0]["M"] if result.errors else result.tags[-1]


# Rights

def commands_of(pooler):
    """Every command that HELP tells of, by its first word, SHOW apart."""
    (notice,) = pooler.command_result("SHOW HELP").notices
    names = re.findall(r"^\t(\w+)", notice["D"], re.M)
    return sorted(set(names) - {"SHOW"})


def test_ad01_stats_users_only_look(field):
    """Generated from what HELP tells: whoever adds a command meets this test."""
    pooler = field(databases=dict(P2))
    names = commands_of(pooler)
    assert len(names) >= 11
    stats = pooler.console(STATS)
    field.watch.events += 300
    before = pooler.admin("SHOW CONFIG")
    for name in names:
        for argument in ("", " p2", " 1", " verbose = 1", " x = 'y'", " wait_for_servers"):
            for spelling in (name, name.lower(), "  " + name.title()):
                text = error_of(stats, spelling + argument)
                assert text == "admin access needed" or text.startswith("invalid command")
    for sql in ("KILL", "KILL_CLIENT 1", "PAUSE", "RELOAD", "SHUTDOWN", "SET verbose = 1", "RESUME",
                "SHUTDOWN WAIT_FOR_CLIENTS", "DISABLE p2", "WAIT_CLOSE", "RECONNECT"):
        assert error_of(stats, sql) == "admin access needed"
    assert pooler.admin("SHOW CONFIG") == before
    assert not any(row["paused"] or row["disabled"] for row in pooler.show("DATABASES"))
    assert pooler.client("p2").value("SELECT 1") == "1"
    for item in SHOW_COLUMNS:
        assert stats.query("SHOW " + item).columns


# Grammar

BAD_COMMANDS = [
    "SHOW", ";;;;;", "SHOW;;", "SHOW 'x", 'SHOW "x', 'SHOW "', 'SET x = "', "SET x = '",
    "SET x = 'a''",
    'KILL "a""b', "SET x = ''''", "SET = ", "SET x", "SET x =", "SET x = a b", "nonsense",
    "SHOW /* x */ VERSION", "SHOW -- x", "/* x */", "--", "SHOW\x0bVERSION", "SHOW\x01VERSION",
    "\x01", "SHOW VERSION; SHOW VERSION", "SHOW VERSION;;", "(", ")", "%s%n%s%n", "SHOW %s%n",
    "SET %n = 1",
    "KILL %s", "\\", "SHOW \\", "SHOW VERSION \\g", "SHOW ..", "sh ow version", "SHOW ä",
    'PAUSE "%s"' % ("x" * 3000), "x" * 4000, "SHOW " + "x" * 4000, "SHOW " * 700, '"' * 4000,
    "'" * 4000,
    "SET x = '" + "''" * 1900, 'KILL "' + '""' * 1900, ";" * 4000, "KILL_CLIENT", "KILL_CLIENT x",
    "KILL_CLIENT -1", "KILL_CLIENT 99999999999999999999999", "KILL_CLIENT 0x", 'KILL_CLIENT ""',
    "PAUSE nowhere", "DISABLE", "ENABLE", "DISABLE pgbouncer", "RELOAD x", "SHUTDOWN x", "RESUME"]


def test_ad02_bad_commands(field):
    """An error, the session goes on, and no command takes time to speak of."""
    admin = field().console()
    field.watch.events += len(BAD_COMMANDS)
    for sql in BAD_COMMANDS:
        begin = time.monotonic()
        text = error_of(admin, sql)
        assert len(text) <= 512
        assert time.monotonic() - begin < 0.5 * SLACK
    for sql in (b"\xff\xfe", b"SHOW \xff", b'PAUSE "\xff"'):
        error_of(admin, sql)
    for sql in (" " * 4000, "\t\n\r" * 1000, ""):
        error_of(admin, sql)


def test_ad02_odd_but_good_commands(field):
    pooler = field()
    admin = pooler.console()
    for sql in ("ShOw VeRsIoN", "  SHOW\n\tVERSION ; ", " " * 2000 + "SHOW VERSION" + " " * 2000,
                'SHOW "version"'):
        assert admin.query(sql).rows[0][0].startswith("PgBouncer")
    assert admin.query("SET job_name = 'a''b'").tags
    for sql in ("SET extra_float_digits = 3", "SET client_encoding TO 'UTF8'"):
        assert admin.query(sql).notices[0]["M"] == "SET ignored"


def test_ad02_what_the_console_ends_with(field):
    """Too long, without an end, or no message at all: the session ends, and only that."""
    pooler = field()
    for data, text in (
            (wire.query(" " * (1 << 20)), "incomplete pkt"),
            (wire.query("x" * 5000), "incomplete pkt"), (wire.message("Q"), "incomplete query"),
            (wire.message("Q", b"SHOW VERSION"), "incomplete query"),
            (wire.message("Q", b"SHOW\0VERSION\0"), "incomplete query"),
            (wire.forged("Q", 3), "bad packet header"), (wire.forged("Q", -1), "incomplete pkt"),
            (wire.forged("Q", 1 << 30), "incomplete pkt")):
        client = pooler.console()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send_raw(data)
        assert fatal(client)["M"] == text, data[:40]


# The protocol

def test_ad03_other_messages(field):
    """The extended protocol is not spoken: an ERROR that says so, and the end."""
    pooler = field()
    for kind in "PBEDCSHFpzTZ1\0\x01":
        client = pooler.console()
        client.send(kind, b"\0\0\0\0")
        messages = read_to_end(client, 1)
        assert [got.type for got in messages] == ["E", "Z", "E"], kind
        first, last = (wire.parse_fields(messages[place].body) for place in (0, 2))
        assert (first["S"], last["S"], last["M"]) == ("ERROR", "FATAL", "bad packet")
    client = pooler.console()
    client.send_raw((wire.copy_data(b"x" * 1000) + wire.copy_done() + wire.copy_fail()) * 3)
    assert client.query("SHOW VERSION").rows
    client.cancel()
    assert client.query("SHOW VERSION").rows
    client.send_raw(wire.terminate() + wire.query("SHOW VERSION"))
    assert read_to_end(client, 1) == []


def test_ad03_replies_without_a_reader(field):
    """A console that does not read is not read either; its replies do not pile up."""
    pooler = field(tcp_socket_buffer="65536")
    memory = resident_kib(pooler.pid)
    lazy = [pooler.console(host=pooler.host) for _ in range(5)]
    for client in lazy:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sock.settimeout(0.2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 16 << 20:
                sent += client.sock.send(wire.query("SHOW CONFIG") * 1000)
        assert sent < 16 << 20
    if not field.watch.sanitized:
        assert resident_kib(pooler.pid) - memory <= 1024
    assert pooler.show("VERSION")
    lazy[0].sock.settimeout(10 * SLACK)
    for _ in range(50):
        assert len(lazy[0].result().rows) > 90


# Waiting commands

@pytest.fixture
def busy(field):
    """A pooler with an open transaction on p2, which a PAUSE of p2 waits for."""
    pooler = field(databases=dict(P2))
    client = pooler.client("p2")
    client.query("BEGIN")
    pooler.busy_client = client
    return pooler


def waiting(pooler, sql):
    """A console whose command waits."""
    client = pooler.console()
    client.send_raw(wire.query(sql))
    client.expect_silence(0.05)
    return client


PAUSED = "the pause was ended by RESUME"


@pytest.mark.parametrize("other,expected", [
    ("RESUME p2", {PAUSED}), ("PAUSE p2", None), ("KILL p2", {"PAUSE", "KILL"}),
    ("RECONNECT p2", None), ("RELOAD", None), ("DISABLE p2", None), ("KILL_CLIENT", {"PAUSE"})])
def test_ad04_what_meets_a_waiting_pause(busy, other, expected):
    """Every command returns: done, or an error that says what came instead. Nothing hangs."""
    first = waiting(busy, "PAUSE p2")
    second = busy.console()
    if other == "KILL_CLIENT":
        (row,) = busy.show("CLIENTS", database="p2")
        other += " %d" % row["id"]
    second.send_raw(wire.query(other))
    if expected is None:
        if other != "PAUSE p2":
            assert outcome(second) == other.split()[0]
        first.expect_silence(0.05)
        busy.busy_client.query("COMMIT")
        assert outcome(first) == "PAUSE"
        if other == "PAUSE p2":
            assert outcome(second) == "PAUSE"
    else:
        outcome(second)
        assert outcome(first) in expected
    for sql in ("RESUME p2", "ENABLE p2"):
        settles(second, sql)
    assert busy.client("p2").value("SELECT 1") == "1"


def test_ad04_a_reload_that_removes_the_paused_database(busy):
    first = waiting(busy, "PAUSE p2")
    del busy.databases["p2"]
    busy.reload()
    assert outcome(first) in ("PAUSE", "no such database: p2")
    fatal(busy.busy_client, "database removed")


def test_ad04_wait_close_beside_everything(busy):
    """Each waits for its own condition and gets its own answer."""
    busy.command_result("RECONNECT p2")
    close = waiting(busy, "WAIT_CLOSE p2")
    pause = waiting(busy, "PAUSE p2")
    other = waiting(busy, "WAIT_CLOSE")
    assert settles(busy.console(), "RECONNECT p2") == "RECONNECT"
    assert settles(busy.console(), "PAUSE p3") == "PAUSE"
    assert settles(busy.console(), "RESUME p3") == "RESUME"
    for client in (close, pause, other):
        client.expect_silence(0.02)
    busy.busy_client.query("COMMIT")
    assert [outcome(client) for client in (close, pause, other)] == [
        "WAIT_CLOSE", "PAUSE", "WAIT_CLOSE"]
    busy.command_result("RESUME p2")


@pytest.mark.parametrize("sql", ["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS",
                                 "SHUTDOWN WAIT_FOR_CLIENTS"])
def test_ad04_a_shutdown_meets_a_waiting_pause(start_pooler, sql):
    """It ends, whatever waits; so this pooler has no watch."""
    pooler = start_pooler(databases=dict(P2), pool_mode="transaction")
    client = pooler.client("p2", host=pooler.socket_dir)
    client.query("BEGIN")
    paused = waiting(pooler, "PAUSE p2")
    second = pooler.console()
    second.send_raw(wire.query(sql))
    if sql == "SHUTDOWN":
        second.expect_eof()
        paused.expect_eof()
    else:
        assert outcome(second) == "SHUTDOWN"
        client.query("COMMIT")
        assert outcome(paused) == "PAUSE"
        pooler.close_clients()
    pooler.expect_exit(0)


def test_ad04_random_commands(field):
    """Many consoles, all at once, on a database with traffic: every command returns in the end."""
    pooler = field(databases=dict(P2))
    draw = random.Random(4)
    commands = ["PAUSE p2", "RESUME p2", "RECONNECT p2", "KILL p2", "RELOAD", "DISABLE p2",
                "ENABLE p2",
                "WAIT_CLOSE p2", "SHOW POOLS", "SHOW CLIENTS", "RECONNECT p3", "PAUSE p3",
                "RESUME p3"]
    consoles = [pooler.console() for _ in range(6)]
    open_commands = dict.fromkeys(consoles, 0)
    clients = []
    for _ in range(150):
        console = draw.choice(consoles)
        console.send_raw(wire.query(draw.choice(commands)))
        open_commands[console] += 1
        if draw.random() < 0.3:
            client = wire.Client(pooler.socket_dir, pooler.port)
            client.startup("bob", draw.choice(["p2", "p3"]))
            client.send_raw(draw.choice([wire.query("SELECT 1"), wire.query("BEGIN")]))
            clients.append(client)
        if clients and draw.random() < 0.2:
            clients.pop(draw.randrange(len(clients))).close()
    field.watch.events += 300
    for client in clients:
        client.close()
    for database in ("p2", "p3"):
        for sql in ("ENABLE", "RESUME"):
            settles(pooler.console(), "%s %s" % (sql, database))
    deadline = time.monotonic() + 10 * SLACK
    for console, count in open_commands.items():
        for _ in range(count):
            while not console.has_data(0.05):
                assert time.monotonic() < deadline, "a command hangs"
            outcome(console)
    for database in ("p2", "p3"):
        settles(pooler.console(), "RESUME %s" % database)
        assert pooler.client(database).value("SELECT 1") == "1"


@pytest.mark.parametrize("ending", ["close", "reset", "terminate"])
@pytest.mark.parametrize("sql", ["PAUSE p2", "WAIT_CLOSE p2"])
def test_ad05_the_console_leaves_while_its_command_waits(busy, ending, sql):
    """The command is forgotten; the database stays paused until somebody resumes it."""
    busy.command_result("RECONNECT p2")
    client = waiting(busy, sql)
    getattr(client, ending)()
    wait_for(lambda: len(busy.show("CLIENTS", database="pgbouncer")) == 2, "it has left")
    busy.busy_client.query("COMMIT")
    (row,) = busy.show("DATABASES", name="p2")
    assert row["paused"] == (sql == "PAUSE p2")
    if row["paused"]:
        busy.command_result("RESUME p2")
    assert busy.client("p2").value("SELECT 1") == "1"


# KILL

def test_ad06_kill_clients(field):
    """In every state, oneself included; ids are never used again, and unknown ones do nothing."""
    pooler = field(databases={"p0": "", "p1": "", "p2": "pool_size=1"})
    admin = pooler.console()
    seen = set()

    def ids():
        return {row["id"] for row in pooler.show("CLIENTS", database="p2")}
    for state in ("idle", "linked", "transaction", "running", "waiting", "copy", "half") * 2:
        other = pooler.client("p2")
        if state == "waiting":
            other.query("BEGIN")
        known = ids()
        victim = pooler.client("p2")
        data = {"idle": b"", "linked": wire.extended("SELECT 1") + wire.flush(),
                "transaction": wire.query("BEGIN"), "running": wire.query("SELECT pg_sleep(5)"),
                "waiting": wire.query("SELECT 1"), "copy": wire.query("COPY pg_class TO STDOUT"),
                "half": wire.query("SELECT 1")[:7]}[state]
        victim.send_raw(data)
        victim.has_data(0.01)
        (own,) = ids() - known
        assert own not in seen
        seen.add(own)
        assert admin.query("KILL_CLIENT %d" % own).tags == ["KILL_CLIENT"]
        last = repr(victim.wait_closed()[-1:])
        assert "admin forced disconnect" in last or state == "copy"
        for wrong in (own, 0, own + 100000, 2 ** 63, 2 ** 64 + own):
            assert error_of(admin, "KILL_CLIENT %d" % wrong) == "client not found"
        if state == "waiting":
            other.query("COMMIT")
        assert other.value("SELECT 1") == "1"
        other.close()
        pooler.wait_pool("p2", cl_active=0, cl_waiting=0)


def test_ad06_many_kills(field):
    """A thousand at once of clients that come and go, and of a console that kills itself."""
    pooler = field(databases=dict(P2))
    admin = pooler.console()
    first = max(row["id"] for row in pooler.show("CLIENTS"))
    clients = [wire.Client(pooler.socket_dir, pooler.port).login("bob", "p2") for _ in range(50)]
    admin.send_raw(b"".join(wire.query("KILL_CLIENT %d" % (first + place))
                            for place in range(1, 1001)))
    for client in clients[:25]:
        client.close()
    results = [outcome(admin) for _ in range(1000)]
    assert set(results) == {"KILL_CLIENT", "client not found"}
    field.watch.events += 1100
    for client in clients[25:]:
        fatal(client, "admin forced disconnect")
        client.close()
    suicide = pooler.console()
    own = max(row["id"] for row in pooler.show("CLIENTS", user="admin")) - 1
    suicide.send_raw(b"".join(wire.query("KILL_CLIENT %d" % (own + place))
                              for place in range(-3, 3)))
    messages = read_to_end(suicide, 1)
    assert wire.parse_fields(messages[-1].body)["M"] == "admin forced disconnect"
    assert pooler.show("VERSION")


# SET

VALUES = ["-1", "-2147483648", "2147483648", "4294967296", "99999999999999999999999", "1e400",
          "nan",
          "inf", "x", "", " ", "0x", "1s", "1 000", "%s%n", "\x01", "/nowhere/at/all", "on",
          "'", "require", "hba", "x" * 255]
# What may be set to anything without harm to the canaries; the rest only to what is refused.
HARMFUL_WHEN_SET = {"admin_users", "stats_users", "logfile", "auth_type", "query_timeout",
                    "transaction_timeout", "idle_transaction_timeout", "client_idle_timeout",
                    "query_wait_timeout", "pool_mode", "max_packet_size", "server_lifetime",
                    "server_idle_timeout", "default_pool_size", "max_client_conn",
                    "log_connections",
                    "log_disconnections", "log_pooler_errors", "verbose", "syslog",
                    "server_check_query", "server_reset_query", "server_reset_query_always",
                    "max_db_connections", "max_user_connections", "server_connect_timeout",
                    "max_db_client_connections", "max_user_client_connections", "auth_file"}


def test_ad07_set_of_everything_to_nonsense(field):
    """Refused, and nothing changes; or taken, and shown as it is then. RELOAD brings all back."""
    pooler = field()
    admin = pooler.console()
    field.watch.events += 4000

    def config():
        return {row[0]: row[1] for row in admin.query("SHOW CONFIG").rows}
    start = before = config()
    # A key without a default keeps what was SET, as with PgBouncer: a file that is not there.
    left_out = {row["key"] for row in pooler.show("CONFIG") if row["default"] is None}
    left_out |= {"logfile", "admin_users", "stats_users", "server_check_query", "server_reset_query"}
    for name in set(start) - left_out:
        for value in VALUES:
            if name in HARMFUL_WHEN_SET and value not in ("x" * 255, "1e400", "nan", "1s", "0x"):
                continue
            admin.send_raw(wire.query("SET %s = '%s'" % (name, value.replace("'", "''"))))
            result = admin.result()
            after = config()
            changed = {key for key in after if after[key] != before[key]}
            if result.errors:
                assert result.errors[0]["M"] in ("SET failed", "bad arguments"), (name, value)
                assert changed == set(), (name, value)
            else:
                assert changed <= {name}, (name, value)
            before = after
    for name, value in (("listen_port", "65536"), ("scram_iterations", "0"), ("peer_id", "65536"),
                        ("scram_iterations", "2147483647"), ("stats_period", "0"),
                        ("auth_type", "nonsense"), ("pool_mode", ""), ("nonsense", "1")):
        assert error_of(admin, "SET %s = '%s'" % (name, value)) == "SET failed"
    assert settles(admin, "RELOAD") == "RELOAD"
    assert config() == start


TIMES = ["query_timeout", "transaction_timeout", "idle_transaction_timeout", "client_idle_timeout",
         "query_wait_timeout", "client_login_timeout", "server_idle_timeout", "server_lifetime",
         "server_connect_timeout", "server_login_retry", "server_check_delay",
         "cancel_wait_timeout",
         "autodb_idle_timeout", "reserve_pool_timeout", "dns_max_ttl", "suspend_timeout"]


def test_ad07_the_largest_values(field):
    """They mean never, or no limit: nobody is thrown out because a sum ran over."""
    pooler = field()
    admin = pooler.console()
    field.watch.events += 300
    names = TIMES + ["default_pool_size", "max_client_conn", "max_db_connections",
                     "max_packet_size",
                     "max_user_connections", "reserve_pool_size", "max_db_client_connections",
                     "max_user_client_connections", "query_wait_notify", "tcp_keepidle"]
    kept = pooler.client()
    kept.query("BEGIN")
    for name in names:
        for value in ("2147483647", "4000000000", "4294967295", "1000000000"):
            settles(admin, "SET %s = '%s'" % (name, value))
    assert kept.query("COMMIT").tags == ["COMMIT"]
    for _ in range(3):
        assert pooler.client().value("SELECT 1") == "1"
    time.sleep(0.1)
    assert kept.value("SELECT 1") == "1"
    pooler.admin("RELOAD")


# Rows

ODD = ["quo'te", 'dou"ble', "new\nline", "tab\t", "back\\slash", "\x1b[31m", "%s%n", "ä€", "|", "",
       "x" * 63]
NO_UTF8 = [b"\xff\xfe", b"\xc3", b"a\x80b", b"\xed\xa0\x80"]


def test_ad08_odd_names_in_rows(field, fake_server):
    """Rows are well formed, whatever stands in them, and in UTF-8, as the console's welcome says."""
    server = fake_server(lambda side: side.log_in() and side.serve(lambda side, sql: answer("1")))
    pooler = field(canaries=(("p0", "bob"),), auth_type="any", databases={
        "p0": "user=bob", '"odd ""%s;"': "user=carol dbname=p1",
        "fake": "user='a''b' host=127.0.0.1 port=%d" % server.port})
    for name in ODD:
        pooler.client('odd "%s;', application_name=name)
    for name in NO_UTF8:
        client = pooler.wire()
        client.send_raw(wire.startup_packet({
            "user": "bob", "database": 'odd "%s;', "application_name": name}))
        while client.read().type != "Z":
            pass
    pooler.client("fake").query("SELECT 1")
    admin = pooler.console()
    for item in SHOW_COLUMNS:
        result = admin.query("SHOW " + item)
        assert [column.name for column in result.columns] == [name for name, *_ in columns(item)]
        for row in result.rows:
            assert len(row) == len(result.columns)
            for value in row:
                (value or "").encode()  # raises where there was a byte that is no UTF-8
    rows = pooler.show("CLIENTS", database='odd "%s;')
    assert len(rows) == len(ODD) + len(NO_UTF8)
    assert set(ODD) <= {row["application_name"] for row in rows}
    assert "a'b" in {row["user"] for row in pooler.show("POOLS")}


@pytest.mark.limit(120)
def test_ad08_many_rows(field):
    """A thousand clients, shown again and again: the canary goes on."""
    pooler = field(max_client_conn="2000", listen_backlog="2000", log_connections="0",
                   log_disconnections="0")
    clients = [wire.Client(pooler.socket_dir, pooler.port).login("bob", "p0") for _ in range(1000)]
    admin = pooler.console()
    for _ in range(30):
        assert len(admin.query("SHOW CLIENTS").rows) == 1000 + 2 + 2
    for client in clients:
        client.close()
    field.watch.memory_kib += 2048  # a thousand clients' structs stay for the next thousand
    assert is_running(pooler.pid)
