"""Descriptors, disks, directories and buffers that run out: degrade, say so, recover."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from support import wire
from support.process import (SLACK, free_port, give_away, open_descriptors, resident_kib,
                             unprivileged, wait_for)
from support.truth import check_counters, check_quiet, is_sanitized, unharmed


SET_LIMIT = """
import resource, sys
pid, count = map(int, sys.argv[1:])
hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
resource.prlimit(pid, resource.RLIMIT_NOFILE, (count or hard, hard))
"""


def limit_descriptors(pooler, count):
    """Sets the soft limit of the running process, as its own user; 0 raises it again."""
    subprocess.run([sys.executable, "-c", SET_LIMIT, str(pooler.pid), str(count)], check=True,
                   **unprivileged())


def take_all_descriptors(pooler):
    """No descriptor can be opened any more: the lowest free number is the limit."""
    time.sleep(0.1)  # the console that was asked last is gone
    taken = {int(name) for name in os.listdir("/proc/%d/fd" % pooler.pid)}
    limit_descriptors(pooler, min(set(range(len(taken) + 1)) - taken))


def raise_again(pooler):
    limit_descriptors(pooler, 0)


# RE01

def test_more_clients_than_descriptors(make_pooler, pg):
    """
    Those that are in are served; the process is quiet, and takes new ones within a second after
    some have left. Said once, not a thousand times.
    """
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    pooler = make_pooler(pool_mode="transaction", max_client_conn="1000", log_connections="0")
    pooler.start(preexec_fn=few)
    assert "descriptor limit of 64 is too low" in pooler.log()
    inside = [pooler.client() for _ in range(10)]
    assert inside[0].value("SELECT 1") == "1"
    written = len(pooler.log())
    outside = []
    for _ in range(120):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((pooler.host, pooler.port))
        outside.append(sock)
    pooler.wait_log("accept() failed")
    for n, client in enumerate(inside):
        assert client.value("SELECT %d" % n) == str(n)
    check_quiet(pooler)
    assert pooler.log().count("accept() failed") < 5 and len(pooler.log()) - written < 8192
    for sock in outside:
        sock.close()

    def is_back():
        try:
            return pooler.client().value("SELECT 2") == "2"
        except (OSError, EOFError, wire.ServerError):
            return False
    begin = time.monotonic()
    wait_for(is_back, "a new client is served", timeout=4)
    assert time.monotonic() - begin < 2.5 * SLACK
    assert all(client.value("SELECT 3") == "3" for client in inside)
    pooler.close_clients()
    wait_for(lambda: open_descriptors(pooler.pid) < 30, "nothing is left")


def test_no_descriptor_for_a_server(start_pooler, pg):
    """The client waits; with a descriptor it is served. Others on their links notice nothing."""
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.2",
                          query_wait_timeout="30")
    busy, waiting = pooler.client(), pooler.client("p1")
    busy.query("BEGIN")
    waiting.query("SELECT 1")
    pooler.admin("RECONNECT p1")
    wait_for(lambda: not pooler.show("SERVERS", database="p1"), "no server")
    take_all_descriptors(pooler)
    waiting.send_raw(wire.query("SELECT 2"))
    pooler.wait_log("sbuf_connect failed to connect")
    for n in range(10):
        assert busy.value("SELECT %d" % n) == str(n)
    check_quiet(pooler)
    raise_again(pooler)
    assert waiting.result().value == "2"
    busy.query("COMMIT")
    check_counters(pooler, pg)


def test_no_descriptor_for_a_reload(start_pooler, pg):
    """The files cannot be read: RELOAD says so, and users, databases and the log stay."""
    pooler = start_pooler(pool_mode="transaction", auth_type="md5", default_pool_size="7")
    client, admin = pooler.client(), pooler.console()
    client.query("SELECT 1")
    pooler.settings["default_pool_size"] = "8"
    pooler.write()
    take_all_descriptors(pooler)
    with pytest.raises(wire.ServerError) as caught:
        admin.query("RELOAD")
    assert caught.value.sqlstate == "F0000"
    assert client.value("SELECT 2") == "2"
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("got SIGHUP, re-reading config")
    assert [row for row in admin.query("SHOW CONFIG").rows
            if row[0] == "default_pool_size"][0][1] == "7"
    raise_again(pooler)
    assert pooler.client().value("SELECT 3") == "3"
    assert admin.query("RELOAD").tags == ["RELOAD"]
    assert pooler.config("default_pool_size") == "8"
    assert pooler.client(user="alice").value("SELECT 4") == "4"


def test_no_descriptor_for_a_cancel(start_pooler, pg):
    """The request is dropped without a word; the next one is delivered."""
    pooler = start_pooler(pool_mode="transaction")
    client = pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(20)"))
    pooler.wait_pool(sv_active=1)
    requester = wire.Client(pooler.host, pooler.port)
    requester.send_raw(wire.special_packet(wire.CANCEL_REQUEST, client.key)[:8])
    wait_for(lambda: pooler.list_items()["login_clients"] >= 1, "it is in")
    take_all_descriptors(pooler)
    requester.send_raw(client.key)
    requester.expect_eof()
    requester.close()
    client.expect_silence(0.1)
    raise_again(pooler)
    client.cancel()
    assert client.result().errors[0]["C"] == "57014"
    pooler.wait_pool(sv_active=0, sv_idle=1, sv_active_cancel=0, cl_active_cancel_req=0,
                     cl_waiting_cancel_req=0)


# RE02

def test_full_backlog_of_a_unix_socket(start_pooler, pg):
    """EAGAIN from connect(): an attempt that failed, repeated at its distance, and then it works."""
    folder = os.path.join(pg.folder, "full")
    os.makedirs(folder, exist_ok=True)
    give_away(folder)
    path, port = os.path.join(folder, ".s.PGSQL.%d"), free_port()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path % port)
    os.chmod(path % port, 0o777)
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket(socket.AF_UNIX)
        filler.setblocking(False)
        if filler.connect_ex(path % port) != 0:
            filler.close()
            break
        fillers.append(filler)
    try:
        pooler = start_pooler(pool_mode="transaction", server_login_retry="0.3",
                              query_wait_timeout="1", databases={
                                  "p0": "host=%s port=%d" % (folder, port),
                                  "p1": "host=127.0.0.1 port=%d" % pg.port})
        pooler.value("SELECT 1", dbname="p1", user="alice")
        with unharmed(pooler):
            client = pooler.wire()
            client.startup("bob", "p0")
            client.expect_error("query_wait_timeout")
            client.close()
        assert 2 <= pooler.log().count("sbuf_connect failed") <= 5
    finally:
        listener.close()
        for filler in fillers:
            filler.close()
        os.unlink(path % port)
        os.symlink(os.path.join(pg.socket_dir, ".s.PGSQL.%d" % pg.port), path % port)
    assert pooler.client().value("SELECT 1") == "1"
    shutil.rmtree(folder)


# RE05

def test_log_on_a_full_disk(make_pooler, pg):
    """Lines are lost, service is not; with room again they come back at the next reload."""
    pooler = make_pooler(pool_mode="transaction")
    os.symlink("/dev/full", pooler.log_file)
    pooler.write()
    pooler.spawn()

    def is_up():
        try:
            return pooler.wire()
        except OSError:
            return False
    wait_for(is_up, "it listens", timeout=10)
    for n in range(50):
        assert pooler.client().value("SELECT %d" % n) == str(n)
    check_quiet(pooler)
    os.unlink(pooler.log_file)
    pooler.reload()
    pooler.value("SELECT 1")
    pooler.wait_log("login attempt: db=p0")


def fifo_pooler(make_pooler, where):
    """A pooler that logs into a pipe which holds one page, and the pipe's reading end."""
    pooler = make_pooler(pool_mode="transaction")
    if where == "logfile":
        os.mkfifo(pooler.log_file)
        give_away(pooler.log_file)
        reader = os.open(pooler.log_file, os.O_RDONLY | os.O_NONBLOCK)
        pooler.write()
        pooler.spawn("--quiet", pooler.ini)
    else:
        pooler.settings["logfile"] = ""
        pooler.write()
        reader, writer = os.pipe()
        pooler.spawn(pooler.ini, stderr=writer)
        os.close(writer)
    text = b""

    def is_up():
        nonlocal text
        text += read_some(reader)
        return b"process up" in text
    wait_for(is_up, "it is up", timeout=10)
    return pooler, reader


def read_some(reader):
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 20)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("where", ["logfile", "stderr"])
def test_log_that_nobody_reads(make_pooler, pg, where):
    """The loop never waits for a log line. What was lost is counted, and told when there is room."""
    pooler, reader = fifo_pooler(make_pooler, where)
    try:
        clients = [pooler.client() for _ in range(3)]
        for n in range(600):  # some 300 bytes each: more than a pipe holds
            with wire.Client(pooler.host, pooler.port) as client:
                client.login("bob", "p0")
            if n % 100 == 0:
                assert clients[0].value("SELECT %d" % n) == str(n)
        check_quiet(pooler)
        text = b""
        while part := read_some(reader):
            text += part
        pooler.value("SELECT 1")
        wait_for(lambda: b"lines of the log were lost" in read_some(reader), "the loss is told")
        pooler.value("SELECT 2")
        wait_for(lambda: b"login attempt" in read_some(reader), "the log goes on")
        assert all(line.startswith(b"20") for line in text.splitlines()[:-1])
    finally:
        pooler.close_clients()
        if where == "logfile":
            os.close(reader)
            reader = None
            # Without a reader at all it goes on too.
            assert pooler.value("SELECT 3") == 3
            os.unlink(pooler.log_file)
        pooler.signal(signal.SIGQUIT)
        assert pooler.process.wait(5 * SLACK) == 0
        pooler.expected_exit = 0
        if reader is not None:
            os.close(reader)


def test_log_file_that_goes_away(start_pooler, pg):
    """Removed, or its folder made read-only: K. A reload makes it anew, or says why not."""
    pooler = start_pooler(pool_mode="transaction")
    os.unlink(pooler.log_file)
    assert pooler.value("SELECT 1") == 1
    pooler.reload()
    pooler.value("SELECT 2")
    pooler.wait_log("login attempt: db=p0")
    os.rename(pooler.log_file, pooler.log_file + ".1")
    os.mkdir(pooler.log_file)
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    assert pooler.value("SELECT 3") == 3
    os.rmdir(pooler.log_file)
    with open(pooler.log_file + ".1", encoding="utf-8") as old:
        assert "the old one stays in use" in old.read()
    pooler.admin("RELOAD")
    pooler.value("SELECT 4")
    pooler.wait_log("login attempt: db=p0")


# RE06

def test_pidfile_that_cannot_be_made(make_pooler):
    for bad in ("/proc/no/pid", "/nowhere/at/all/pid"):
        pooler = make_pooler(pidfile=bad)
        pooler.write()
        code, _, err = pooler.run(pooler.ini)
        assert code == 1 and bad in err, err


def test_pidfile_in_a_read_only_folder(make_pooler):
    pooler = make_pooler()
    folder = os.path.join(pooler.folder, "locked")
    os.mkdir(folder, 0o555)
    pooler.settings["pidfile"] = os.path.join(folder, "pid")
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and "locked/pid" in err


def test_socket_folder_that_goes_away(make_pooler, pg):
    """While it runs: TCP is served, and the end is clean."""
    pooler = make_pooler(pool_mode="transaction")
    folder = os.path.join(pooler.folder, "sockets")
    os.mkdir(folder)
    give_away(folder)
    pooler.settings["unix_socket_dir"] = pooler.socket_dir = folder
    pooler.start()
    inside = pooler.client(host=folder)
    shutil.rmtree(folder)
    assert inside.value("SELECT 1") == "1"
    assert pooler.value("SELECT 2") == 2
    with pytest.raises(OSError):
        pooler.wire(folder)
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("re-reading config")
    assert pooler.value("SELECT 3") == 3
    inside.close()
    pooler.signal(signal.SIGINT)
    pooler.expect_exit(0)


def test_one_of_three_addresses_is_taken(make_pooler, pg):
    """A warning that names it; the others are served. All taken: exit 1."""
    pooler = make_pooler(pool_mode="transaction", listen_addr="127.0.0.1,127.0.0.2,127.0.0.3")
    with socket.create_server(("127.0.0.2", pooler.port)):
        pooler.start()
        assert "cannot listen on 127.0.0.2:%d" % pooler.port in pooler.log()
        for host in ("127.0.0.1", "127.0.0.3"):
            assert pooler.client(host=host).value("SELECT 1") == "1"
        second = make_pooler(listen_addr="127.0.0.2", listen_port=str(pooler.port))
        second.write()
        code, _, err = second.run(second.ini)
        assert code == 1 and "failed to listen on any address" in err


# RE10

@pytest.mark.limit(120)
def test_clients_that_come_and_go(start_pooler, pg):
    """The memory of the second round is that of the first."""
    pooler = start_pooler(pool_mode="transaction", max_client_conn="2000", listen_backlog="2000",
                          log_connections="0", log_disconnections="0")
    pooler.value("SELECT 1", dbname="p1", user="alice")
    sizes = []
    for _ in range(8):
        clients = [pooler.client(host=pooler.socket_dir) for _ in range(400)]
        for client in clients[::10]:
            client.query("SELECT repeat('x', 100000)")
        pooler.close_clients()
        pooler.wait_pool(cl_active=0, sv_active=0)
        sizes.append(resident_kib(pooler.pid))
    if not is_sanitized(pooler.pid):
        assert sizes[-1] <= 1.1 * sizes[0], sizes
    check_counters(pooler, pg)


# A reader that is slower than its result

@pytest.mark.limit(180)
def test_gigabyte_for_a_slow_reader(start_pooler, pg):
    """It all arrives; nothing of it piles up, and nobody else is held up."""
    pooler = start_pooler(pool_mode="transaction")
    rows, width = (1_000_000, 1000) if not is_sanitized(pooler.pid) else (100_000, 1000)
    pooler.value("SELECT 1", dbname="p1", user="alice")
    slow, other = pooler.client(), pooler.client()
    for sql in ("BEGIN", "SELECT repeat('x', 300000)", "COMMIT"):
        for client in (slow, other):
            client.query(sql)
    with unharmed(pooler, memory_kib=2048):
        before, most = resident_kib(pooler.pid), 0
        slow.send_raw(wire.query("SELECT repeat('x', %d) FROM generate_series(1, %d)" % (width, rows)))
        received, step, buffer = 0, 0, bytearray(1 << 20)
        whole = rows * (width + 11)  # type, length, number of columns, length of the value
        while received < whole:
            count = slow.sock.recv_into(buffer)
            assert count > 0
            received += count
            if received // (8 << 20) > step:
                step = received // (8 << 20)
                time.sleep(0.002)
                most = max(most, resident_kib(pooler.pid))
                if step % 10 == 0:
                    assert other.value("SELECT %d" % step) == str(step)
        tail = bytes(buffer[:count])
        while not tail.endswith(b"Z\0\0\0\5I"):
            tail += slow.sock.recv(65536)
        assert (b"SELECT %d" % rows) in tail
        if not is_sanitized(pooler.pid):
            assert most - before < 2048, "%d and then %d KiB" % (before, most)
        assert slow.value("SELECT 1") == "1"
    check_counters(pooler, pg)
