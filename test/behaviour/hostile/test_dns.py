"""Names that do not resolve, answers that lie or change, and clocks that jump."""

import os
import shutil
import signal
import struct
import subprocess
import threading
import time

import pytest

from support import wire
from support.fake_server import FakeServer, answer, serve_number
from support.name_server import (CNAME, NXDOMAIN, REFUSED, SERVFAIL, NameServer, addresses, fails,
                                 name_of, record, reply, silent)
from support.process import SLACK, wait_for
from support.truth import check_counters, check_quiet, unharmed

NAME = "db.example.test"


@pytest.fixture
def names():
    """names(answer) starts a name server, and keeps the resolv.conf that leads to it."""
    servers = []

    def start(answer):
        servers.append(NameServer(answer))
        return servers[-1]
    yield start
    for server in servers:
        server.close()
        server.remove()


def start(start_pooler, pg, server, **settings):
    """p0 is reached by name, p1 by its address."""
    settings.setdefault("query_wait_timeout", "30")
    return start_pooler(pool_mode="transaction", resolv_conf=server.resolv_conf, databases={
        "p0": "host=%s port=%d" % (NAME, pg.port),
        "p1": "host=127.0.0.1 port=%d" % pg.port}, **{
            "dns_max_ttl": "0.3", "dns_nxdomain_ttl": "0.3", "server_login_retry": "0.2",
            **settings})


def waiting(pooler):
    client = pooler.wire()
    client.startup("bob", "p0")
    return client


def served(client):
    client.authenticate()
    client.welcome()
    return client.value("SELECT 1") == "1"


# DN01

def wrong_id(question, over_tcp):
    return reply(question, [record(1, b"\x7f\0\0\1")], change_id=True)


def alias_to_itself(question, over_tcp):
    return reply(question, [record(CNAME, b"\xc0\x0c")])


def cut_and_huge(question, over_tcp):
    """Over UDP the word to ask again over TCP, and there 64 KB with records that end too early."""
    if not over_tcp:
        return reply(question, flags=0x8380)
    whole = reply(question, [record(1, b"\x7f\0\0\1")] * 3000)
    return whole[:6] + b"\xff\xff" + whole[8:] + b"\0" * 70_000


def rubbish(question, over_tcp):
    return question[:2] + b"\x81\x80" + b"\xff" * 400


def pointer_loop(question, over_tcp):
    _, _, end = name_of(question)
    return (question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question[12:end]
            + b"\xc0" + bytes([end]) + struct.pack("!HHIH", 1, 1, 60, 4) + b"\x7f\0\0\1")


def short(question, over_tcp):
    return reply(question, [record(1, b"\x7f\0\0\1")])[:-3]


TROUBLES = {
    "SERVFAIL": fails(SERVFAIL), "NXDOMAIN": fails(NXDOMAIN), "REFUSED": fails(REFUSED),
    "no address": addresses(), "wrong id": wrong_id, "alias of itself": alias_to_itself,
    "cut and huge": cut_and_huge, "rubbish": rubbish, "pointer to itself": pointer_loop,
    "short": short, "nobody there": addresses("127.1.2.3"), "IPv6 only": addresses("::1"),
    "empty": lambda question, over_tcp: b"", "one byte": lambda question, over_tcp: b"x",
}


@pytest.mark.parametrize("part", range(3))
def test_trouble_and_recovery(start_pooler, pg, names, part):
    """Who waits goes on waiting, others notice nothing; with a good answer it heals by itself."""
    server = names(silent)
    pooler = start(start_pooler, pg, server)
    pooler.value("SELECT 1", dbname="p1", user="alice")
    for what in list(TROUBLES)[part::3]:
        server.answer = TROUBLES[what]
        asked = len(server.questions(NAME))
        with unharmed(pooler):
            client = waiting(pooler)
            wait_for(lambda: len(server.questions(NAME)) >= asked + 2, what)
            client.expect_silence(0.4)
            server.answer = addresses("127.0.0.1")
            begin = time.monotonic()
            assert served(client), what
            assert time.monotonic() - begin < 12 * SLACK, what
            client.terminate()
            pooler.admin("RECONNECT p0")
            wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its server is gone")
        time.sleep(0.4)  # the good answer is forgotten


def test_silence_has_an_end(start_pooler, pg, names):
    """A look-up has its own limit, so the next one may find a name server that answers again."""
    server = names(silent)
    pooler = start(start_pooler, pg, server)
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler):
        client = waiting(pooler)
        pooler.wait_log("DNS lookup failed", timeout=12)
        server.answer = addresses("127.0.0.1")
        assert served(client)
        client.terminate()
        pooler.admin("RECONNECT p0")
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its server is gone")
    assert pooler.list_items()["dns_queries"] == 0


def test_late_answer(start_pooler, pg, names):
    """Later than the first try, and than server_connect_timeout: still of use to the next attempt."""
    server = names(addresses("127.0.0.1"))
    server.delay = 1.5
    pooler = start(start_pooler, pg, server, server_connect_timeout="0.5", dns_max_ttl="15")
    client = waiting(pooler)
    assert served(client)
    assert "connect failed" in pooler.log() or "connect timeout" in pooler.log()


def test_thousand_addresses(start_pooler, pg, names):
    """Cut over UDP, whole over TCP; all of them are the same server here."""
    many = addresses(*["127.0.0.1"] * 1000)

    def answer(question, over_tcp):
        return many(question, over_tcp) if over_tcp else reply(question, flags=0x8380)
    server = names(answer)
    pooler = start(start_pooler, pg, server, dns_max_ttl="15")
    clients = [waiting(pooler) for _ in range(5)]
    assert all(served(client) for client in clients)
    assert any(over_tcp for _, over_tcp, _ in server.asked)
    (row,) = pooler.show("DNS_HOSTS")
    assert row["hostname"] == NAME and len(row["addrs"].split(",")) <= 64


def test_one_question_for_many_clients(start_pooler, pg, names):
    """However many wait, and however often a failing look-up is repeated, it is paced."""
    server = names(fails(NXDOMAIN))
    pooler = start(start_pooler, pg, server, dns_nxdomain_ttl="0.5", server_login_retry="0.1")
    clients = [waiting(pooler) for _ in range(20)]
    time.sleep(1.2)
    # A and AAAA, at 0, 0.5 and 1 s; some resolvers ask for the name without its dot too
    assert 2 <= len(server.questions(NAME)) <= 8
    server.answer = addresses("127.0.0.1")
    assert all(served(client) for client in clients)
    check_counters(pooler, pg)


# DN02

@pytest.mark.parametrize("text", [None, "", "nameserver 999.1.2.3\n", "\0\1\2\3" * 100,
                                  "nameserver 127.9.9.9\n", "options timeout:30 attempts:9\n" * 50],
                         ids=["missing", "empty", "bad address", "binary", "silent", "options"])
def test_resolv_conf_that_is_fixed_later(start_pooler, pg, names, text):
    """Recovers without a restart and without a reload."""
    server = names(addresses("127.0.0.1"))
    if text is None:
        os.unlink(server.resolv_conf)
    else:
        server.write_resolv_conf(text)
    pooler = start(start_pooler, pg, server)
    client = waiting(pooler)
    pooler.wait_log("DNS lookup failed", timeout=12)
    assert pooler.value("SELECT 1", dbname="p1") == 1
    server.write_resolv_conf()
    assert served(client)


# DN03

def test_address_that_changes_under_load(start_pooler, pg, names):
    """Open links finish and go on; new ones follow the new address."""
    old = FakeServer(serve_number, host="127.0.0.1")
    new = FakeServer(serve_number, old.port, host="127.0.0.2")
    try:
        server = names(addresses("127.0.0.1", ttl=0))
        pooler = start(start_pooler, old, server)
        busy, other = pooler.client(), pooler.client()
        busy.query("BEGIN")
        assert len(old.logged_in) == 1 and not new.logged_in
        server.answer = addresses("127.0.0.2", ttl=0)
        time.sleep(0.4)
        assert busy.value("SELECT 1") == "1"
        pooler.admin("RECONNECT p0")
        busy.query("COMMIT")
        assert other.value("SELECT 2") and busy.value("SELECT 3")
        assert len(old.logged_in) == 1 and len(new.logged_in) >= 1
        assert {row["addr"] for row in pooler.show("SERVERS", database="p0")} == {"127.0.0.2"}
    finally:
        old.close()
        new.close()


def test_flapping_addresses(start_pooler, names):
    """An answer for each question, with a lifetime of nothing: no storm of questions or connects."""
    old = FakeServer(serve_number, host="127.0.0.1")
    new = FakeServer(serve_number, old.port, host="127.0.0.2")
    try:
        server = names(silent)
        turns = []

        def flap(question, over_tcp):
            turns.append(1)
            return addresses("127.0.0.%d" % (1 + len(turns) // 2 % 2), ttl=0)(question, over_tcp)
        server.answer = flap
        pooler = start(start_pooler, old, server, server_lifetime="0", dns_max_ttl="0.2")
        clients = [pooler.client() for _ in range(4)]
        end = time.monotonic() + 1.5
        count = 0
        while time.monotonic() < end:
            for client in clients:
                assert client.value("SELECT 1")
                count += 1
        assert 4 <= len(server.questions(NAME)) <= 40
        assert len(old.logged_in) + len(new.logged_in) <= count + 20
        assert old.logged_in and new.logged_in
    finally:
        old.close()
        new.close()


def test_cancel_after_the_address_has_changed(start_pooler, names):
    """The request goes where the server is, whatever the name means by now."""
    gate = threading.Event()

    def script(side):
        if side.log_in():
            while side.read().type == "Q":
                gate.wait(20 * SLACK)
                side.send_raw(answer(side.server.host))
    now = {"host": "127.0.0.2"}
    name_server = names(lambda question, over_tcp: addresses(now["host"])(question, over_tcp))
    old = FakeServer(script, host="127.0.0.2")
    new = FakeServer(script, old.port, host="127.0.0.3")
    try:
        pooler = start_pooler(pool_mode="transaction", resolv_conf=name_server.resolv_conf,
                              dns_max_ttl="0.2", databases={
                                  "p0": "host=%s port=%d" % (NAME, old.port)})
        first, second = pooler.client(), pooler.client()
        first.send_raw(wire.query("SELECT 1"))
        pooler.wait_pool(sv_active=1)
        now["host"] = "127.0.0.3"
        time.sleep(0.3)
        second.send_raw(wire.query("SELECT 2"))
        wait_for(lambda: new.logged_in, "the name leads to the new host")
        for client, server in ((first, old), (second, new)):
            client.cancel()
            assert server.cancels == [server.logged_in[0].key]
        gate.set()
        assert [first.result().value, second.result().value] == ["127.0.0.2", "127.0.0.3"]
        assert (len(old.cancels), len(new.cancels)) == (1, 1)
    finally:
        old.close()
        new.close()


# DN04

@pytest.mark.parametrize("how", ["removed", "killed", "term", "quit", "client gone"])
def test_end_of_who_asked(start_pooler, pg, names, how):
    """The answer comes when nobody is there any more."""
    server = names(addresses("127.0.0.1"))
    server.delay = 0.5
    pooler = start(start_pooler, pg, server)
    client = waiting(pooler)
    wait_for(lambda: server.questions(NAME), "the question")
    if how == "removed":
        del pooler.databases["p0"]
        pooler.reload()
    elif how == "killed":
        pooler.admin("KILL p0")
    elif how == "client gone":
        client.reset()
    else:
        pooler.signal(signal.SIGQUIT if how == "quit" else signal.SIGINT)
        pooler.expect_exit(0)
        client.expect_eof() if how == "quit" else client.wait_closed()
        return
    if how != "client gone":
        client.expect_error("database removed")
    time.sleep(0.8)
    assert pooler.value("SELECT 1", dbname="p1") == 1
    wait_for(lambda: pooler.list_items()["dns_queries"] == 0, "nothing is under way")
    check_quiet(pooler)


# CK01

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *offset; /* seconds, shared with the test */

__attribute__((constructor)) static void begin(void)
{
    int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);
}

static int64_t shift(clockid_t id)
{
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE ? *offset : 0;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    now->tv_sec += shift(id);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static int (*real)(struct timeval *, void *);
    if (!real)
        real = (int (*)(struct timeval *, void *)) dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    now->tv_sec += *offset;
    return result;
}

time_t time(time_t *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture
def clock(make_pooler):
    """Starts a pooler whose wall clock the test can set; returns it and the setter."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no compiler")

    def start(**settings):
        pooler = make_pooler(**settings)
        source = os.path.join(pooler.folder, "clock.c")
        library, offset = os.path.join(pooler.folder, "clock.so"), os.path.join(pooler.folder, "offset")
        with open(source, "w", encoding="ascii") as file:
            file.write(CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)

        def set_offset(seconds):
            with open(offset, "r+b" if os.path.exists(offset) else "wb", buffering=0) as file:
                file.write(struct.pack("=q", seconds))
        set_offset(0)
        os.chmod(offset, 0o644)
        pooler.write()
        from support.pooler import environment
        pooler.spawn(env={**environment(), "LD_PRELOAD": library, "CLOCK_OFFSET": offset})

        def is_up():
            if pooler.process.poll() is not None:
                pooler.process = None
                pytest.skip("the sanitizer wants to be loaded first")
            return "process up" in pooler.log()
        wait_for(is_up, "it is up")
        return pooler, set_offset
    return start


HOUR = 3600
STEPS = (2 * HOUR, -2 * HOUR, 87600 * HOUR, 0, -87600 * HOUR, HOUR, 0)


def test_wall_clock_that_jumps(clock, pg):
    """No time limit passes, no link is recycled, no age is senseless; limits still work."""
    pooler, set_offset = clock(
        pool_mode="transaction", default_pool_size="2", query_timeout="60", server_lifetime="600",
        idle_transaction_timeout="60", client_idle_timeout="60", server_idle_timeout="60",
        query_wait_timeout="60", transaction_timeout="60", client_login_timeout="60")
    running, open_one, idle, queued = [pooler.client() for _ in range(4)]
    half = pooler.wire()
    half.send_raw(b"\0\0")
    pid = open_one.value("SELECT pg_backend_pid()")
    open_one.query("BEGIN")
    running.send_raw(wire.query("SELECT pg_sleep(%g), 'done'" % (1.5 * SLACK)))
    pooler.wait_pool(sv_active=2)
    queued.send_raw(wire.query("SELECT 'queued'"))
    pooler.wait_pool(cl_waiting=1)
    for seconds in STEPS * 2:
        set_offset(seconds)
        time.sleep(0.1)
        for row in pooler.show("CLIENTS", database="p0") + pooler.show("SERVERS", database="p0"):
            assert 0 <= row["wait"] < 60 * SLACK, row
            assert row["connect_time"][:2] in ("20", "19"), row
        assert 0 <= pooler.pool()["maxwait"] < 60 * SLACK
    assert running.result().rows[0][1] == "done"
    assert queued.result().value == "queued"
    assert open_one.value("SELECT pg_backend_pid()") == pid
    open_one.query("COMMIT")
    assert idle.value("SELECT 1") == "1"
    assert "timeout" not in pooler.log().lower().split("process up")[1]
    assert "lifetime over" not in pooler.log()
    half.expect_silence(0.05)
    # A limit is still a limit, whatever the wall clock says.
    pooler.admin("SET query_timeout = '0.5'")
    set_offset(-2 * HOUR)
    running.send_raw(wire.query("SELECT pg_sleep(1.5)"))
    begin = time.monotonic()
    running.expect_error("query timeout")
    assert 0.3 < time.monotonic() - begin
    ages = [int(line.rsplit("age=", 1)[1].rstrip("s)\n")) for line in pooler.log().splitlines()
            if "(age=" in line]
    assert ages and max(ages) < 120 * SLACK


def test_frozen_process(start_pooler, pg):
    """Stopped for a while, as by a suspended machine: what was due is done, nothing is lost."""
    pooler = start_pooler(pool_mode="transaction", query_timeout="60", server_idle_timeout="60")
    client, other = pooler.client(), pooler.client()
    client.send_raw(wire.query("SELECT pg_sleep(0.2), 'done'"))
    pooler.wait_pool(sv_active=1)
    pooler.signal(signal.SIGSTOP)
    other.send_raw(wire.query("SELECT 'sent'"))
    timer = threading.Timer(1.0, lambda: pooler.signal(signal.SIGCONT))
    timer.start()
    assert client.result().rows[0][1] == "done"
    assert other.result().value == "sent"
    timer.join()
    check_counters(pooler, pg)
