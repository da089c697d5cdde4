"""Signals, reload and the end."""

import os
import signal

import pytest

from support import wire
from support.process import wait_for


def test_term_waits_for_clients(pooler):
    client = pooler.client()
    client.query("SELECT 1")
    pooler.signal(signal.SIGTERM)
    pooler.wait_log("got SIGTERM, shutting down, waiting for all clients disconnect")
    assert client.value("SELECT 2") == "2"
    with pytest.raises(OSError):
        pooler.wire()
    client.terminate()
    pooler.expect_exit(0)
    assert "client connections dropped, exiting" in pooler.log()


def test_term_without_clients_ends_at_once(pooler):
    pooler.signal(signal.SIGTERM)
    pooler.expect_exit(0)


def test_int_waits_for_servers(pooler):
    busy, idle = pooler.client(), pooler.client()
    busy.query("BEGIN")
    pooler.signal(signal.SIGINT)
    pooler.wait_log("got SIGINT, shutting down, waiting for all servers connections to be released")
    idle.send_raw(wire.query("SELECT 1"))
    idle.expect_error("server shutting down")
    busy.query("COMMIT")
    pooler.expect_exit(0)
    assert "server connections dropped, exiting" in pooler.log()


def test_int_tells_waiting_clients(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    busy, waiting = pooler.client(), pooler.client()
    busy.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool(cl_waiting=1)
    pooler.signal(signal.SIGINT)
    waiting.expect_error("server shutting down")
    assert busy.value("SELECT 1") == "1"
    busy.query("COMMIT")
    pooler.expect_exit(0)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_second_signal_ends_at_once(pooler, first, second):
    client = pooler.client()
    client.query("BEGIN")
    pooler.signal(first)
    pooler.wait_log("shutting down, waiting")
    pooler.signal(second)
    pooler.expect_exit(0)
    client.expect_eof()
    word = "got SIGQUIT, fast exit" if second == signal.SIGQUIT else "while shutting down, fast exit"
    assert word in pooler.log()


def test_quit_ends_without_a_word(pooler):
    client = pooler.client()
    client.query("BEGIN")
    pooler.signal(signal.SIGQUIT)
    pooler.expect_exit(0)
    client.expect_eof()


def test_usr1_pauses_and_usr2_resumes(pooler):
    client = pooler.client()
    client.query("SELECT 1")
    pooler.signal(signal.SIGUSR1)
    pooler.wait_log("got SIGUSR1, pausing all activity")
    pooler.wait_pool(sv_idle=0)
    client.send_raw(wire.query("SELECT 2"))
    client.expect_silence()
    pooler.signal(signal.SIGUSR1)
    pooler.wait_log("got SIGUSR1, but already paused/suspended")
    pooler.signal(signal.SIGUSR2)
    assert client.result().value == "2"
    pooler.signal(signal.SIGUSR2)
    pooler.wait_log("got SIGUSR2, but not paused/suspended")


def test_usr2_while_shutting_down(pooler):
    client = pooler.client()
    client.query("BEGIN")
    pooler.signal(signal.SIGINT)
    pooler.wait_log("got SIGINT")
    pooler.signal(signal.SIGUSR2)
    pooler.wait_log("got SIGUSR2 while shutting down, ignoring")
    client.query("COMMIT")
    pooler.expect_exit(0)


def test_hang_up_while_shutting_down(pooler):
    client = pooler.client()
    pooler.signal(signal.SIGTERM)
    pooler.wait_log("got SIGTERM")
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("got SIGHUP, re-reading config")
    assert client.value("SELECT 1") == "1"


def test_pipe_is_ignored(pooler):
    pooler.signal(signal.SIGPIPE)
    assert pooler.value("SELECT 1") == 1


def test_unix_socket_stays_during_a_shutdown(pooler):
    client = pooler.client(host=pooler.socket_dir)
    pooler.signal(signal.SIGTERM)
    pooler.wait_log("got SIGTERM")
    refused = pooler.wire(pooler.socket_dir)
    refused.startup("bob", "p0")
    refused.expect_error("pooler is shutting down")
    assert pooler.show("VERSION")
    client.terminate()
    pooler.expect_exit(0)
    assert not os.path.exists(os.path.join(pooler.socket_dir, ".s.PGSQL.%d" % pooler.port))


def test_many_reloads_under_load(pooler):
    clients = [pooler.client("p%d" % (n % 3)) for n in range(9)]
    for n in range(30):
        pooler.signal(signal.SIGHUP)
        for client in clients:
            client.send_raw(wire.query("SELECT %d" % n))
        assert [client.result().value for client in clients] == [str(n)] * 9
    wait_for(lambda: pooler.log().count("re-reading config") > 5, "reloads")


def test_changed_settings_are_named_in_the_log(start_pooler):
    pooler = start_pooler(default_pool_size="7")
    pooler.settings["default_pool_size"] = "8"
    pooler.settings["listen_backlog"] = "77"
    pooler.reload()
    assert 'setting default_pool_size changed from "7" to "8"' in pooler.log()
    assert "the change of listen_backlog needs a restart" in pooler.log()
    assert pooler.config("listen_backlog") == "128"
