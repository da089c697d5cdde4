"""The console: grammar, rights, what SHOW shows, and commands that change what runs."""

import re
import signal
import subprocess

import psycopg
import pytest

from support import contract, wire
from support.pooler import ADMIN_PASSWORD
from support.process import wait_for

VIEWS = [item for item in contract.SHOW_COLUMNS]


def fails(client, sql, text, sqlstate="08P01"):
    with pytest.raises(wire.ServerError) as caught:
        client.query(sql)
    assert (caught.value.severity, caught.value.sqlstate, caught.value.message) == (
        "ERROR", sqlstate, text)


@pytest.fixture
def admin(pooler):
    return pooler.console()


@pytest.fixture
def stats(pooler):
    return pooler.console(user="stats")


# SHOW

@pytest.mark.parametrize("item", VIEWS)
def test_columns(pooler, admin, item):
    pooler.value("SELECT 1")
    result = admin.query("SHOW " + item)
    assert [(c.name, c.oid, c.length) for c in result.columns] == contract.columns(item)
    assert result.tags == ["SHOW"]
    assert all(c.table == 0 and c.number == 0 and c.modifier == -1 and c.format == 0
               for c in result.columns)


@pytest.mark.parametrize("item", VIEWS)
def test_stats_users_see_everything(stats, item):
    assert stats.query("show " + item.lower()).columns


def test_help_names_what_there_is(admin):
    admin.send_raw(wire.query("SHOW HELP"))
    notice = wire.parse_fields(admin.expect("N").body)
    assert (notice["S"], notice["C"], notice["M"]) == ("NOTICE", "00000", "Console usage")
    assert notice["D"].startswith("\n\tSHOW HELP|")
    for word in VIEWS + ["SET key = arg", "RELOAD", "PAUSE [<db>]", "RESUME [<db>]", "DISABLE <db>",
                         "ENABLE <db>", "RECONNECT [<db>]", "KILL [<db>]", "KILL_CLIENT <client_id>",
                         "SHUTDOWN", "WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS", "WAIT_CLOSE [<db>]"]:
        assert word in notice["D"]
    assert admin.expect("C").body == b"SHOW\0"
    admin.expect("Z")


@pytest.mark.parametrize("name,value", [
    ("client_encoding", "UTF-8"), ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"), ("datestyle", "ISO"), ("timezone", "GMT")])
def test_fixed_parameters(stats, name, value):
    result = stats.query("SHOW " + name.upper())
    assert (result.names, result.rows) == ([name], [[value]])


def test_totals_and_lists_have_their_rows(pooler):
    assert [row["name"] for row in pooler.show("TOTALS")] == contract.TOTALS
    assert [row["list"] for row in pooler.show("LISTS")] == contract.LISTS


def test_config_is_every_setting(pooler):
    rows = pooler.show("CONFIG")
    known = [tuple(setting) for setting in contract.SETTINGS]
    names = {setting[0] for setting in known}
    shown = [(row["key"], row["default"], row["changeable"]) for row in rows]
    assert [setting for setting in shown if setting[0] in names] == known
    assert [setting[0] for setting in shown if setting[0] not in names] == contract.OWN_SETTINGS


def test_databases(start_pooler, pg):
    pooler = start_pooler(databases={"zz": "dbname=p1 user=bob pool_size=3 pool_mode=session",
                                     "aa": "host=127.0.0.1 port=1 max_db_connections=4"})
    rows = pooler.show("DATABASES")
    assert [row["name"] for row in rows] == ["aa", "pgbouncer", "zz"]
    assert (rows[0]["database"], rows[0]["port"], rows[0]["force_user"], rows[0]["pool_size"],
            rows[0]["max_connections"], rows[0]["pool_mode"]) == ("aa", 1, None, 20, 4, None)
    assert (rows[1]["host"], rows[1]["port"], rows[1]["force_user"], rows[1]["pool_size"],
            rows[1]["pool_mode"]) == (None, pooler.port, "pgbouncer", 2, "statement")
    assert (rows[2]["database"], rows[2]["port"], rows[2]["force_user"], rows[2]["pool_size"],
            rows[2]["pool_mode"]) == ("p1", pg.port, "bob", 3, "session")


def test_users(start_pooler):
    pooler = start_pooler(users={"bob": "pool_size=3 pool_mode=session", "ghost": ""},
                          databases={"p0": "user=forced"})
    rows = {row["name"]: row for row in pooler.show("USERS")}
    assert list(rows) == sorted(rows)
    assert {"bob", "ghost", "forced", "alice", "admin", "pgbouncer"} <= set(rows)
    assert (rows["bob"]["pool_size"], rows["bob"]["pool_mode"]) == ("        3", "session")
    assert (rows["alice"]["pool_size"], rows["alice"]["pool_mode"]) == ("", None)


def test_clients_and_servers(pooler):
    linked, idle = pooler.client(application_name="app"), pooler.client()
    linked.query("BEGIN")
    idle.query("SELECT 1")
    rows = {row["state"]: row for row in pooler.show("CLIENTS", database="p0")}
    assert set(rows) == {"active", "idle"}
    server = next(row for row in pooler.show("SERVERS") if row["link"])
    assert rows["active"]["link"] == server["ptr"] and server["link"] == rows["active"]["ptr"]
    assert rows["active"]["application_name"] == "app"
    assert rows["active"]["port"] == linked.sock.getsockname()[1]
    assert rows["active"]["addr"] == "127.0.0.1" and rows["idle"]["link"] == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+", rows["idle"]["connect_time"])
    assert server["remote_pid"] == int(linked.value("SELECT pg_backend_pid()"))
    ids = [row["id"] for item in ("CLIENTS", "SERVERS") for row in pooler.show(item)]
    assert len(ids) == len(set(ids))


def test_maxwait(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    holder, waiting = pooler.client(), pooler.client()
    holder.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=1, cl_active=1, sv_active=1)
    wait_for(lambda: pooler.pool()["maxwait_us"] > 100000, "it grows")
    assert [row["state"] for row in pooler.show("CLIENTS", database="p0")] == ["active", "waiting"]


def test_state(pooler):
    def state():
        return {row["key"]: row["value"] for row in pooler.show("STATE")}
    assert state() == {"active": "yes", "paused": "no", "suspended": "no"}
    pooler.admin("PAUSE")
    assert state() == {"active": "no", "paused": "yes", "suspended": "no"}
    pooler.admin("RESUME")
    pooler.admin("PAUSE p0")
    assert state()["active"] == "yes"


def test_averages(start_pooler):
    pooler = start_pooler(pool_mode="transaction", stats_period="1")
    client = pooler.client()
    for _ in range(50):
        client.query("SELECT 1")
    wait_for(lambda: pooler.stats()["avg_query_count"] > 0, "an average")
    assert pooler.stats()["avg_query_time"] > 0
    wait_for(lambda: pooler.stats()["avg_query_count"] == 0, "and no more")
    assert pooler.stats()["total_query_count"] == 50


# Grammar

@pytest.mark.parametrize("sql", [
    "show version", "SHOW VERSION;", "  SHOW\t\r\n VERSION ; ", 'SHOW "version"', "select version"])
def test_forms_of_a_command(stats, sql):
    assert stats.query(sql).rows[0][0].startswith("PgBouncer 1.25.2")


@pytest.mark.parametrize("sql", [
    "", ";", "  ", "nonsense", "SHOW nonsense", "SHOW", "SHOW version; SHOW version", "SHOW -- x",
    "SHOW; version", "PAUSE;p0", "PAUSE; RESUME", 'PAUSE"p0"',
    "SHOW 'version'", "SELECT 1", "SHOW version extra", "RELOAD now", "SHUTDOWN later", "SET x",
    "SET x =", "SET = 1", "SET a.b = 1", '"SHOW" version', 'SHOW "version', "SET x = 'a"])
def test_syntax_errors(admin, sql):
    fails(admin, sql, "invalid command '%s', use SHOW HELP;" % sql.rstrip() if sql.strip() == sql
          else "invalid command '%s', use SHOW HELP;" % sql)
    assert admin.query("SHOW VERSION").rows


@pytest.mark.parametrize("sql", [
    "PAUSE " + "x" * 64, "SET " + "x" * 64 + " = 1", "SET verbose = '%s'" % ("x" * 256),
    "x" * 16])
def test_words_that_are_too_long(admin, sql):
    fails(admin, sql, "bad arguments")


def test_pipelined_commands(admin):
    admin.send_raw(b"".join(wire.query("SHOW VERSION") for _ in range(100)))
    assert all(admin.result().rows for _ in range(100))


def test_too_large_a_command(pooler):
    client = pooler.console()
    client.send_raw(wire.query("SHOW " + "x" * 5000))
    client.expect_error("incomplete pkt")


def test_query_without_its_end(pooler):
    client = pooler.console()
    client.send("Q", b"SHOW VERSION")
    client.expect_error("incomplete query")


@pytest.mark.parametrize("data,text", [
    (wire.parse("SHOW VERSION"), "extended query protocol not supported by admin console"),
    (wire.bind(), "extended query protocol not supported by admin console"),
    (wire.execute(), "extended query protocol not supported by admin console"),
    (wire.sync(), "unsupported packet type for admin console: 83"),
    (wire.flush(), "unsupported packet type for admin console: 72")])
def test_extended_protocol(pooler, data, text):
    client = pooler.console()
    client.send_raw(data)
    assert wire.parse_fields(client.read().body)["M"] == text
    client.expect("Z")
    client.expect_error("bad packet")


def test_copy_messages_are_dropped(admin):
    admin.send_raw(wire.copy_data(b"x") + wire.copy_done() + wire.copy_fail())
    assert admin.query("SHOW VERSION").rows


# Rights

@pytest.mark.parametrize("sql", [
    "RELOAD", "PAUSE", "RESUME", "DISABLE p0", "ENABLE p0", "RECONNECT", "KILL", "KILL_CLIENT 1",
    "SHUTDOWN", "WAIT_CLOSE", "SET verbose = 1"])
def test_stats_users_may_not(stats, sql):
    fails(stats, sql, "admin access needed")


def test_others_may_not_enter(pooler):
    client = pooler.wire()
    client.startup("bob", "pgbouncer")
    client.expect_error("not allowed")


def test_own_user_on_the_unix_socket(start_pooler):
    pooler = start_pooler(auth_type="md5")
    code = ("import sys; sys.path.insert(0, %r); from support import wire; "
            "c = wire.Client(%r, %d).login('pgbouncer', 'pgbouncer'); "
            "print(c.query('SHOW VERSION').rows)")
    from support import process
    import os
    done = subprocess.run(["/usr/bin/python3", "-B", "-c", code % (
        os.path.dirname(__file__), pooler.socket_dir, pooler.port)], capture_output=True,
        text=True, **process.unprivileged())
    assert "PgBouncer" in done.stdout, done.stderr
    assert "pgbouncer access from unix socket" in pooler.log()


def test_auth_any_lets_everybody_look(start_pooler):
    pooler = start_pooler(auth_type="any", databases={"p0": "user=bob"})
    client = pooler.wire().login("whoever", "pgbouncer")
    assert client.query("SHOW VERSION").rows
    fails(client, "RELOAD", "admin access needed")


def test_welcome_of_the_console(admin):
    assert admin.parameters["server_version"] == "1.25.2/bouncer"
    assert admin.parameter_order[:7] == ["server_version", "client_encoding", "server_encoding",
                                         "DateStyle", "TimeZone", "standard_conforming_strings",
                                         "is_superuser"]


def test_psql_and_psycopg(pooler):
    done = subprocess.run(["psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(pooler.port), "-U",
                           "admin", "-c", "SHOW VERSION", "pgbouncer"], capture_output=True,
                          text=True, env={"PGPASSWORD": ADMIN_PASSWORD, "PATH": "/usr/bin:/bin"})
    assert done.stdout.startswith("PgBouncer 1.25.2 (pgweir "), done.stderr
    with psycopg.connect(host="127.0.0.1", port=pooler.port, user="admin", dbname="pgbouncer",
                         password=ADMIN_PASSWORD, autocommit=True, sslmode="disable") as connection:
        assert connection.execute("SHOW POOLS").fetchall()


# PAUSE and RESUME

def test_pause_waits_for_transactions(pooler, admin):
    busy, waiting = pooler.client(), pooler.client()
    waiting.query("SELECT 1")
    busy.query("BEGIN")
    admin.send_raw(wire.query("PAUSE"))
    admin.expect_silence()
    waiting.send_raw(wire.query("SELECT 2"))
    busy.query("COMMIT")
    assert admin.result().tags == ["PAUSE"]
    assert pooler.servers() == 0
    waiting.expect_silence()
    assert pooler.command_result("RESUME").tags == ["RESUME"]
    assert waiting.result().value == "2"


def test_pause_of_one_database(pooler, admin):
    pooler.value("SELECT 1")
    assert admin.query("PAUSE p0").tags == ["PAUSE"]
    paused, free = pooler.client(), pooler.client("p1")
    paused.send_raw(wire.query("SELECT 1"))
    assert free.value("SELECT 2") == "2"
    paused.expect_silence()
    admin.query("RESUME p0")
    assert paused.result().value == "1"


def test_pause_ended_by_resume(pooler, admin):
    busy = pooler.client()
    busy.query("BEGIN")
    admin.send_raw(wire.query("PAUSE"))
    admin.expect_silence()
    pooler.admin("RESUME")
    with pytest.raises(wire.ServerError, match="RESUME"):
        admin.result().check()
    assert admin.query("SHOW VERSION").rows
    assert busy.value("SELECT 1") == "1"


def test_pause_ended_by_a_cancel_request(pooler, admin):
    """As by RESUME: Ctrl-C in psql takes the pause back."""
    client = pooler.client()
    client.query("BEGIN")
    admin.send_raw(wire.query("PAUSE"))
    wait_for(lambda: pooler.show("STATE", key="paused", value="yes"), "paused")
    admin.cancel()
    admin.expect_error("the pause was ended by RESUME", severity="ERROR")
    admin.expect("Z")
    assert pooler.show("STATE", key="paused", value="no")
    assert pooler.value("SELECT 1") == 1


@pytest.mark.parametrize("command", ["PAUSE p0", "WAIT_CLOSE"])
def test_waiting_command_ended_by_a_cancel_request(pooler, admin, command):
    client = pooler.client()
    client.query("BEGIN")
    pooler.admin("RECONNECT")
    admin.send_raw(wire.query(command))
    wait_for(lambda: "%s" % command.split()[0] in pooler.log(), "it waits")
    admin.expect_silence()
    admin.cancel()
    admin.expect_error("canceling statement due to user request", severity="ERROR")
    admin.expect("Z")
    client.query("COMMIT")
    assert admin.query("SHOW VERSION").rows


def test_console_answers_while_a_command_waits(pooler, admin):
    busy = pooler.client()
    busy.query("BEGIN")
    admin.send_raw(wire.query("PAUSE") + wire.query("SHOW VERSION"))
    assert admin.result().rows
    busy.query("COMMIT")
    assert admin.result().tags == ["PAUSE"]
    pooler.admin("RESUME")


def test_console_that_leaves_while_a_command_waits(pooler, admin):
    busy = pooler.client()
    busy.query("BEGIN")
    admin.send_raw(wire.query("PAUSE"))
    admin.expect_silence()
    admin.close()
    busy.query("COMMIT")
    pooler.admin("RESUME")
    assert busy.value("SELECT 1") == "1"


def test_errors_of_pause_and_resume(pooler, admin):
    fails(admin, "RESUME", "pooler is not paused/suspended")
    fails(admin, "RESUME p0", "database p0 is not paused")
    fails(admin, "PAUSE nowhere", "no such database: nowhere")
    fails(admin, "PAUSE pgbouncer", "cannot pause admin db: pgbouncer")
    admin.query("PAUSE")
    fails(admin, "PAUSE", "already suspended/paused")
    fails(admin, "KILL", "already suspended/paused")
    admin.query("RESUME")


# DISABLE, RECONNECT, WAIT_CLOSE, KILL

def test_disable_and_enable(pooler, admin):
    client = pooler.client()
    assert admin.query("DISABLE p0").tags == ["DISABLE"]
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error('database "p0" is disabled')
    assert client.value("SELECT 1") == "1"
    assert admin.query("ENABLE p0").tags == ["ENABLE"]
    assert pooler.client().value("SELECT 1") == "1"
    fails(admin, "DISABLE", "a database is required")
    fails(admin, "DISABLE pgbouncer", "cannot disable admin db: pgbouncer")


def test_reconnect_and_wait_close(pooler, admin):
    idle, busy = pooler.client(), pooler.client()
    busy.query("BEGIN")
    idle.query("SELECT 1")
    before = busy.value("SELECT pg_backend_pid()")
    assert admin.query("RECONNECT p0").tags == ["RECONNECT"]
    admin.send_raw(wire.query("WAIT_CLOSE p0"))
    admin.expect_silence()
    assert busy.value("SELECT pg_backend_pid()") == before
    busy.query("COMMIT")
    assert admin.result().tags == ["WAIT_CLOSE"]
    assert busy.value("SELECT pg_backend_pid()") != before


def test_kill(pooler, admin):
    busy, idle, other = pooler.client(), pooler.client(), pooler.client("p1")
    busy.query("BEGIN")
    other.query("BEGIN")
    assert admin.query("KILL p0").tags == ["KILL"]
    busy.expect_error("database removed")
    idle.expect_error("database removed")
    other.query("COMMIT")
    assert pooler.show("DATABASES", name="p0")[0]["paused"] == 1
    late = pooler.wire()
    late.startup("bob", "p0")
    late.expect_silence()
    admin.query("RESUME p0")
    late.authenticate()


def test_kill_of_all(pooler, admin):
    clients = [pooler.client(name) for name in ("p0", "p1")]
    for client in clients:
        client.query("SELECT 1")
    admin.query("KILL")
    for client in clients:
        client.expect_error("database removed")
    assert [row["database"] for row in pooler.show("POOLS")] == ["pgbouncer"]


@pytest.mark.parametrize("state", ["idle", "active", "waiting"])
def test_kill_client(start_pooler, state):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    victim, other = pooler.client(), pooler.client()
    if state == "active":
        victim.query("BEGIN")
    if state == "waiting":
        other.query("BEGIN")
        victim.send_raw(wire.query("SELECT 1"))
        pooler.wait_pool(cl_waiting=1)
    (row,) = [row for row in pooler.show("CLIENTS", database="p0")
              if row["port"] == victim.sock.getsockname()[1]]
    assert row["state"] == state
    assert pooler.command_result("KILL_CLIENT %d" % row["id"]).tags == ["KILL_CLIENT"]
    victim.expect_error("admin forced disconnect")
    assert other.value("SELECT 1") == "1"


def test_kill_client_errors(admin):
    fails(admin, "KILL_CLIENT", "invalid client pointer supplied")
    fails(admin, "KILL_CLIENT x", "invalid client pointer supplied")
    fails(admin, "KILL_CLIENT 999999", "client not found")


def test_kill_of_oneself(pooler, admin):
    (row,) = pooler.show("CLIENTS", user="admin", state="idle")[:1]
    own = [r for r in pooler.show("CLIENTS", user="admin")][0]["id"]
    admin.send_raw(wire.query("KILL_CLIENT %d" % own))
    admin.expect_error("admin forced disconnect")
    assert row


def test_commands_are_logged(pooler, admin):
    admin.query("RECONNECT p0")
    admin.query("RELOAD")
    assert "LOG RECONNECT 'p0' command issued" in pooler.log()
    assert "LOG RELOAD command issued" in pooler.log()


def test_errors_are_logged(pooler, admin):
    fails(admin, "PAUSE nowhere", "no such database: nowhere")
    assert "ERROR no such database: nowhere" in pooler.log()
    assert "pooler error: no such database: nowhere" in pooler.log()


# SHUTDOWN

def test_shutdown_at_once(pooler, admin):
    client = pooler.client()
    client.query("BEGIN")
    admin.send_raw(wire.query("SHUTDOWN"))
    admin.expect_eof()
    client.expect_eof()
    pooler.expect_exit(0)


def test_shutdown_that_waits_for_clients(pooler, admin):
    client = pooler.client(host=pooler.socket_dir)
    assert admin.query("SHUTDOWN WAIT_FOR_CLIENTS").tags == ["SHUTDOWN"]
    with pytest.raises(OSError):
        pooler.wire()
    refused = pooler.wire(pooler.socket_dir)
    refused.startup("bob", "p0")
    refused.expect_error("pooler is shutting down")
    assert client.value("SELECT 1") == "1"
    client.terminate()
    admin.terminate()
    pooler.expect_exit(0)
    assert "client connections dropped, exiting" in pooler.log()


def test_shutdown_that_waits_for_servers(pooler, admin):
    busy, idle = pooler.client(), pooler.client()
    busy.query("BEGIN")
    assert admin.query("SHUTDOWN WAIT_FOR_SERVERS").tags == ["SHUTDOWN"]
    idle.send_raw(wire.query("SELECT 1"))
    idle.expect_error("server shutting down")
    fails(admin, "RESUME", "pooler is shutting down")
    busy.query("COMMIT")
    pooler.expect_exit(0)
    assert "server connections dropped, exiting" in pooler.log()


def test_shutdown_mode_may_change(pooler, admin):
    client = pooler.client()
    admin.query("SHUTDOWN WAIT_FOR_CLIENTS")
    assert client.value("SELECT 1") == "1"
    admin.query("SHUTDOWN WAIT_FOR_SERVERS")
    pooler.expect_exit(0)


# Under pressure

def test_console_reader_that_does_not_read(pooler):
    """Replies do not pile up."""
    lazy = pooler.console()
    lazy.sock.setblocking(False)
    sent = 0
    try:
        while sent < 200000:
            sent += lazy.sock.send(wire.query("SHOW CONFIG") * 50)
    except BlockingIOError:
        pass
    assert pooler.show("VERSION")
    lazy.sock.setblocking(True)
    lazy.reset()
    assert pooler.value("SELECT 1") == 1


def test_hang_up_beside_the_console(pooler, admin):
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("got SIGHUP, re-reading config")
    assert admin.query("SHOW VERSION").rows
