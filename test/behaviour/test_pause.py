"""PAUSE with a deadline, PAUSE until a switchover is over, and SHOW PAUSES."""

import contextlib
import signal
import time

import pytest

from support import fake_server as fake
from support import wire
from support.process import SLACK, wait_for
from test_roles import cluster, start  # noqa: F401

ENDED = "the pause was ended by its TIMEOUT, still active: "


def fails(client, sql, text, sqlstate="08P01"):
    with pytest.raises(wire.ServerError) as caught:
        client.query(sql)
    assert (caught.value.severity, caught.value.sqlstate, caught.value.message) == (
        "ERROR", sqlstate, text)


def begin(pooler, database="p0"):
    client = pooler.client(database)
    client.query("BEGIN")
    return client


def told(client):
    """The error that a command which waits is answered with."""
    (error,) = client.result().errors
    return error["C"], error["M"]


# TIMEOUT

@pytest.mark.parametrize("target", ["", " p0"])
def test_a_pause_that_is_not_complete_in_time(pooler, target):
    """It is told what was in the way, nothing was broken, and everybody goes on."""
    busy, waiting = begin(pooler), pooler.client()
    admin = pooler.console()
    began = time.monotonic()
    admin.send_raw(wire.query("PAUSE%s TIMEOUT 0.3" % target))
    pooler.wait_pool(sv_idle=0)
    waiting.send_raw(wire.query("SELECT 1"))
    assert told(admin) == ("57014", ENDED + "1 server of database p0")
    assert 0.3 <= time.monotonic() - began < 0.3 + 1 * SLACK
    assert waiting.result().value == "1"
    assert busy.value("SELECT 2") == "2"
    busy.query("COMMIT")
    assert pooler.show("PAUSES") == []
    pooler.wait_log("has reached its TIMEOUT")


def test_what_is_still_active_of_several_databases(pooler):
    held = [begin(pooler, name) for name in ("p0", "p2", "p2")]
    fails(pooler.console(), "PAUSE TIMEOUT .2",
          ENDED + "1 server of database p0, 2 servers of database p2", "57014")
    for client in held:
        client.query("COMMIT")


def test_many_names_are_cut_off(start_pooler):
    names = ["%s%d" % ("x" * 50, n) for n in range(9)]
    pooler = start_pooler(databases={name: "dbname=p0" for name in names}, pool_mode="transaction")
    held = [begin(pooler, name) for name in names]
    admin = pooler.console()
    admin.send_raw(wire.query("PAUSE TIMEOUT 0.1"))
    _, text = told(admin)
    assert text.startswith(ENDED + "1 server of database " + names[0]) and len(text) < 320
    assert held[0].value("SELECT 1") == "1"


@pytest.mark.parametrize("target", ["", " p0"])
def test_a_complete_pause_ends_by_itself(pooler, target):
    client, admin = pooler.client(), pooler.console()
    client.query("SELECT 1")
    began = time.monotonic()
    assert admin.query("PAUSE%s TIMEOUT 0.3" % target).tags == ["PAUSE"]
    assert time.monotonic() - began < 0.3 * SLACK
    assert pooler.servers() == 0
    client.send_raw(wire.query("SELECT 2"))
    assert client.result().value == "2"
    assert time.monotonic() - began >= 0.3
    assert pooler.show("PAUSES") == [] and pooler.show("STATE", key="active", value="yes")
    assert admin.query("PAUSE%s" % target).tags == ["PAUSE"]  # nothing is left of the deadline
    client.send_raw(wire.query("SELECT 3"))
    client.expect_silence(0.5)
    admin.query("RESUME%s" % target)
    assert client.result().value == "3"


def test_the_deadline_outlives_the_console(pooler):
    """Whoever paused may be killed: what he began ends."""
    busy, admin = begin(pooler), pooler.console()
    admin.send_raw(wire.query("PAUSE TIMEOUT 0.3"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    admin.reset()
    waiting = pooler.client()
    waiting.send_raw(wire.query("SELECT 1"))
    assert waiting.result().value == "1"
    busy.query("COMMIT")


@pytest.mark.parametrize("first,second,ends", [
    ("TIMEOUT 0.2", "", False), ("TIMEOUT 0.2", "TIMEOUT 30", False), ("", "TIMEOUT 0.2", True),
    ("TIMEOUT 30", "TIMEOUT 0.2", True)])
def test_the_later_command_counts(pooler, first, second, ends):
    busy = begin(pooler)
    one, other = pooler.console(), pooler.console()
    one.send_raw(wire.query("PAUSE p0 " + first))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    other.send_raw(wire.query("PAUSE p0 " + second))
    if ends:
        assert told(one) == told(other) == ("57014", ENDED + "1 server of database p0")
        return
    one.expect_silence(0.4)
    assert len(pooler.show("PAUSES")) == 1
    busy.query("COMMIT")
    assert one.result().tags == other.result().tags == ["PAUSE"]
    assert pooler.command_result("RESUME p0").tags == ["RESUME"]


def test_pauses_of_all_and_of_one_are_two(pooler):
    client, admin = pooler.client(), pooler.console()
    admin.query("PAUSE p0")
    admin.query("PAUSE TIMEOUT 0.2")
    assert [row["database"] for row in pooler.show("PAUSES")] == ["*", "p0"]
    wait_for(lambda: len(pooler.show("PAUSES")) == 1, "that of all has ended")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_silence()
    assert pooler.client("p1").value("SELECT 1") == "1"
    admin.query("RESUME p0")
    assert client.result().value == "1"


def test_resume_answers_a_pause_with_a_deadline(pooler):
    busy, admin = begin(pooler), pooler.console()
    admin.send_raw(wire.query("PAUSE p0 TIMEOUT 30"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    pooler.command_result("RESUME p0")
    assert told(admin) == ("08P01", "the pause was ended by RESUME")
    busy.query("COMMIT")


def test_a_pause_of_all_refuses_another(pooler):
    admin = pooler.console()
    admin.query("PAUSE TIMEOUT 30")
    for sql in ("PAUSE", "PAUSE TIMEOUT 1", "PAUSE p0 TIMEOUT 1"):
        fails(admin, sql, "already suspended/paused")
    admin.query("RESUME")


def test_a_kill_takes_the_deadline_away(pooler):
    busy, admin = begin(pooler), pooler.console()
    admin.send_raw(wire.query("PAUSE p0 TIMEOUT 0.3"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    pooler.command_result("KILL p0")
    busy.expect_error("database removed")
    assert admin.result().tags == ["PAUSE"]
    time.sleep(0.4)
    (row,) = pooler.show("PAUSES")
    assert (row["database"], row["until"], row["state"]) == ("p0", None, "paused")
    admin.query("RESUME p0")


def test_a_reload_leaves_the_pause(pooler):
    admin = pooler.console()
    admin.query("PAUSE p0 TIMEOUT 0.5")
    before = pooler.show("PAUSES")
    pooler.reload()
    assert pooler.show("PAUSES") == before
    wait_for(lambda: not pooler.show("PAUSES"), "it ends")
    assert pooler.client().value("SELECT 1") == "1"


def test_a_reload_that_drops_the_database(pooler):
    busy, admin = begin(pooler), pooler.console()
    admin.send_raw(wire.query("PAUSE p0 TIMEOUT 0.3"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    del pooler.databases["p0"]
    pooler.reload()
    busy.expect_error("database removed")
    assert admin.result().tags == ["PAUSE"]
    assert pooler.show("PAUSES") == []
    time.sleep(0.4)
    assert pooler.client("p1").value("SELECT 1") == "1"


def test_who_waits_has_his_own_limit(start_pooler):
    pooler = start_pooler(pool_mode="transaction", query_wait_timeout="0.3")
    client = pooler.client()
    pooler.command_result("PAUSE p0 TIMEOUT 30")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("query_wait_timeout")


def test_an_automatic_database_may_be_paused(start_pooler):
    pooler = start_pooler(databases={"*": ""}, pool_mode="transaction", autodb_idle_timeout="0.1")
    pooler.command_result("PAUSE p3 TIMEOUT 0.3")
    assert pooler.show("PAUSES", database="p3")
    wait_for(lambda: not pooler.show("DATABASES", name="p3"), "it goes when the pause has ended")


def test_a_signal_and_a_shutdown_have_no_deadline(pooler):
    busy = begin(pooler)
    pooler.command_result("PAUSE p1 TIMEOUT 0.2")
    pooler.signal(signal.SIGUSR1)
    wait_for(lambda: pooler.show("PAUSES", database="*"), "paused")
    (row,) = pooler.show("PAUSES", database="*")
    assert (row["user"], row["addr"], row["until"], row["state"]) == (None, None, None, "draining")
    wait_for(lambda: not pooler.show("PAUSES", database="p1"), "p1 goes on")
    pooler.signal(signal.SIGUSR2)
    wait_for(lambda: not pooler.show("PAUSES"), "resumed")
    pooler.command_result("SHUTDOWN WAIT_FOR_SERVERS")
    busy.query("COMMIT")
    pooler.expect_exit(0)


def test_ended_while_paused(pooler):
    """The deadline is no reason to live longer, nor is its memory lost."""
    pooler.command_result("PAUSE p0 TIMEOUT 30")
    pooler.command_result("PAUSE TIMEOUT 30")
    pooler.signal(signal.SIGQUIT)
    pooler.expect_exit(0)


@pytest.mark.parametrize("sql,text", [
    ("PAUSE TIMEOUT 0", "invalid TIMEOUT: 0"), ("PAUSE p0 TIMEOUT 0.0", "invalid TIMEOUT: 0.0"),
    ("PAUSE TIMEOUT 1.2.3", "invalid TIMEOUT: 1.2.3"), ("PAUSE TIMEOUT .", "invalid TIMEOUT: ."),
    ("PAUSE TIMEOUT 99999999999", "invalid TIMEOUT: 99999999999"),
    ("PAUSE TIMEOUT " + "9" * 20, "bad arguments"),
    ("PAUSE TIMEOUT -1", "invalid command 'PAUSE TIMEOUT -1', use SHOW HELP;"),
    ("PAUSE TIMEOUT 1s", "invalid command 'PAUSE TIMEOUT 1s', use SHOW HELP;"),
    ("PAUSE p0 TIMEOUT", "invalid command 'PAUSE p0 TIMEOUT', use SHOW HELP;"),
    ("PAUSE TIMEOUT 1 p0", "invalid command 'PAUSE TIMEOUT 1 p0', use SHOW HELP;"),
    ("PAUSE TIMEOUT", "no such database: TIMEOUT"), ("PAUSE until", "no such database: until"),
    ("PAUSE \"timeout\" TIMEOUT 1", "no such database: timeout"),
    ("PAUSE pgbouncer TIMEOUT 1", "cannot pause admin db: pgbouncer"),
    ("PAUSE p0 UNTIL SWITCHOVER", "UNTIL SWITCHOVER needs a TIMEOUT"),
    ("PAUSE UNTIL SWITCHOVER TIMEOUT 1",
     "no database has target_session_attrs=read-write or primary"),
    ("RESUME TIMEOUT 1", "invalid command 'RESUME TIMEOUT 1', use SHOW HELP;")])
def test_errors(pooler, sql, text):
    fails(pooler.console(), sql, text)
    assert pooler.show("PAUSES") == []


def test_psycopg(pooler):
    with contextlib.closing(pooler.connect("pgbouncer", "admin", password="admin-pw")) as admin:
        assert admin.execute("PAUSE p0 TIMEOUT 30").statusmessage == "PAUSE"
        row = admin.execute("SHOW PAUSES").fetchone()
        assert row[0] == "p0" and row[5] == "30"
        admin.execute("RESUME p0")


# SHOW PAUSES

def test_show_pauses(pooler):
    assert pooler.show("PAUSES") == []
    busy, waiting = begin(pooler), [pooler.client() for _ in range(2)]
    admin = pooler.console(host=pooler.host)
    admin.send_raw(wire.query("PAUSE p0 TIMEOUT 12.5"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    for client in waiting:
        client.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=2)
    (row,) = pooler.show("PAUSES")
    assert (row["database"], row["state"], row["timeout"], row["user"], row["addr"], row["port"],
            row["servers"], row["waiting"], row["until_switchover"],
            row["target_session_attrs"]) == (
        "p0", "draining", "12.5", "admin", "127.0.0.1", admin.sock.getsockname()[1], 1, 2, 0, "any")
    assert row["since"] < row["until"]
    busy.query("COMMIT")
    assert admin.result().tags == ["PAUSE"]
    (row,) = pooler.show("PAUSES")
    assert (row["state"], row["servers"], row["waiting"]) == ("paused", 0, 2)
    pooler.command_result("RESUME p0")
    assert [client.result().value for client in waiting] == ["1", "1"]


# UNTIL SWITCHOVER

OLD, NEW = "127.0.0.2", "127.0.0.3"


def test_until_the_new_primary_is_there(start, cluster):  # noqa: F811
    """Not by the old one, which still serves; at once by the new one, with everybody's query."""
    nodes = cluster("primary", "standby")
    pooler = start(nodes, "read-write", server_login_retry="15")
    clients = [pooler.client() for _ in range(3)]
    clients[0].query("SELECT 1")
    admin = pooler.console()
    assert admin.query("PAUSE UNTIL SWITCHOVER TIMEOUT 30").tags == ["PAUSE"]
    for client in clients:
        client.send_raw(wire.query("SELECT 2"))
    clients[0].expect_silence(0.5)
    (row,) = pooler.show("PAUSES")
    assert (row["database"], row["state"], row["until_switchover"], row["waiting"],
            row["target_session_attrs"]) == ("p0", "paused", 1, 3, "read-write")
    nodes[0].role = "starting"
    clients[0].expect_silence(0.3)
    nodes[1].role = "primary"
    began = time.monotonic()
    assert {client.result().value for client in clients} == {NEW}
    assert time.monotonic() - began < 0.4 * SLACK
    assert pooler.show("PAUSES") == []
    pooler.wait_log("the switchover of database p0 is over")


@pytest.mark.parametrize("target", ["read-write", "any"])
@pytest.mark.parametrize("between", ["starting", "closed"])
def test_until_the_old_primary_is_back(start, cluster, target, between):  # noqa: F811
    """A restart in place, with and without a role."""
    nodes = cluster("primary")
    port = nodes[0].port
    pooler = start(nodes, target, server_login_retry="15")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.command_result("PAUSE p0 UNTIL SWITCHOVER TIMEOUT 30")
    client.send_raw(wire.query("SELECT 2"))
    client.expect_silence(0.3)
    nodes[0].role = "starting"
    if between == "closed":
        nodes[0].close()
    client.expect_silence(0.3)
    if between == "closed":
        nodes[0] = type(nodes[0])(OLD, "primary", port)
    nodes[0].role = "primary"
    assert client.result().value == OLD
    assert pooler.show("PAUSES") == []


def test_the_deadline_ends_a_switchover_that_never_comes(start, cluster):  # noqa: F811
    """And then the host is tried at once, whatever server_login_retry says."""
    nodes = cluster("primary")
    pooler = start(nodes, "any", server_login_retry="15")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.command_result("PAUSE p0 UNTIL SWITCHOVER TIMEOUT 0.4")
    client.send_raw(wire.query("SELECT 2"))
    began = time.monotonic()
    assert client.result().value == OLD
    assert time.monotonic() - began < 0.4 + 1 * SLACK


def test_a_switchover_waits_for_transactions(start_pooler, pg):
    """Nothing is opened before; a RESUME that comes instead is told."""
    pooler = start_pooler(pool_mode="transaction", databases={
        "p0": "host=127.0.0.1 port=%d target_session_attrs=primary" % pg.port})
    busy = begin(pooler)
    admin = pooler.console()
    admin.send_raw(wire.query("PAUSE UNTIL SWITCHOVER TIMEOUT 30"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    admin.expect_silence(0.3)
    assert pooler.show("PAUSES")[0]["state"] == "draining"
    pooler.command_result("RESUME p0")
    assert told(admin) == ("08P01", "the pause was ended by RESUME")
    admin.send_raw(wire.query("PAUSE UNTIL SWITCHOVER TIMEOUT 0.2"))
    assert told(admin) == ("57014", ENDED + "1 server of database p0")
    assert busy.value("SELECT 1") == "1" and pooler.show("PAUSES") == []
    admin.send_raw(wire.query("PAUSE UNTIL SWITCHOVER TIMEOUT 30"))
    wait_for(lambda: pooler.show("PAUSES"), "paused")
    busy.query("COMMIT")
    assert admin.result().tags == ["PAUSE"]


def test_all_means_who_wants_a_primary(start_pooler, cluster):  # noqa: F811
    nodes = cluster("primary", "standby")
    hosts = "host=%s,%s port=%d " % (OLD, NEW, nodes[0].port)
    pooler = start_pooler(pool_mode="transaction", databases={
        "app": hosts + "target_session_attrs=read-write", "plain": hosts,
        "app_ro": hosts + "target_session_attrs=standby",
        "prime": hosts + "target_session_attrs=primary"})
    assert pooler.command_result("PAUSE UNTIL SWITCHOVER TIMEOUT 30").tags == ["PAUSE"]
    assert [row["database"] for row in pooler.show("PAUSES")] == ["app", "prime"]
    assert pooler.client("app_ro").value("SELECT 1") == NEW


def test_a_host_that_refuses_the_user_has_not_gone(start, cluster):  # noqa: F811
    """Only what says that the host stops, or no answer at all, is a sign; the client is told."""
    nodes = cluster("primary")
    pooler = start(nodes, "read-write")
    client = pooler.client()
    client.query("SELECT 1")
    serve = nodes[0].script

    def refuse(side):
        side.read_startup()
        side.send_error("too many connections", sqlstate="53300")
    nodes[0].script = refuse
    pooler.command_result("PAUSE p0 UNTIL SWITCHOVER TIMEOUT 1")
    time.sleep(0.3)
    nodes[0].script = serve
    client.send_raw(wire.query("SELECT 2"))
    client.expect_silence(0.4)
    assert pooler.show("PAUSES")
    assert client.result().value == OLD


def test_a_second_pause_begins_anew(start, cluster):  # noqa: F811
    """pgweir-switchover paused, then the host's own hook does: the old primary still serves."""
    nodes = cluster("primary", "standby")
    pooler = start(nodes, "read-write")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.command_result("PAUSE UNTIL SWITCHOVER TIMEOUT 30")
    nodes[0].role = "starting"
    time.sleep(0.3)
    pooler.command_result("PAUSE p0 UNTIL SWITCHOVER TIMEOUT 20")
    nodes[0].role = "primary"  # the sign of before does not count any more
    client.send_raw(wire.query("SELECT 2"))
    client.expect_silence(0.4)
    nodes[0].role = "starting"
    time.sleep(0.3)
    nodes[1].role = "primary"
    assert client.result().value == NEW


def test_a_shared_limit_holds(start_pooler, cluster, pg):  # noqa: F811
    """The looking counts like any server; a full limit only delays it."""
    nodes = cluster("primary", "standby")
    pooler = start_pooler(pool_mode="transaction", max_server_connections="1", databases={
        "app": "host=%s,%s port=%d target_session_attrs=primary" % (OLD, NEW, nodes[0].port),
        "p1": "host=127.0.0.1 port=%d" % pg.port})
    client = pooler.client("app")
    client.query("SELECT 1")
    pooler.command_result("PAUSE app UNTIL SWITCHOVER TIMEOUT 30")
    busy = pooler.client("p1")
    busy.query("BEGIN")
    client.send_raw(wire.query("SELECT 2"))
    client.expect_silence(0.3)
    nodes[0].role, nodes[1].role = "standby", "standby"
    assert len(pooler.show("SERVERS")) <= 1
    busy.query("COMMIT")
    client.expect_silence(0.5)
    nodes[1].role = "primary"
    assert client.result().value == NEW
