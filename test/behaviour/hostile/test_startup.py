"""
Sections 1 and 2 of the catalogue: before the startup packet, and requests for encryption where there
is none.
"""

import contextlib
import os
import struct
import threading
import time

import pytest

from support import wire
from support.invariants import fatal, refused
from support.process import SLACK, resident_kib, wait_for

STARTUP = {"user": "bob", "database": "p0"}
PACKET = wire.startup_packet(STARTUP)
LAYOUT = "invalid startup packet layout: expected terminator as last byte"


def startup_body(body, version=wire.PROTOCOL_3, length=None):
    """A startup packet of these bytes; a `length` of its own is forged."""
    size = 8 + len(body) if length is None else length
    return struct.pack("!II", size & 0xffffffff, version) + body


def send(pooler, data, host=None):
    client = pooler.wire(host)
    client.send_raw(data)
    return client


def works(client, password=""):
    client.authenticate(password)
    return client.welcome().value("SELECT 7") == "7"


# Silence and slowness

def test_st01_silence_ends_at_the_login_timeout(field):
    """Counted from the accept; bytes that do not complete a packet change nothing."""
    pooler = field(tcp_defer_accept="0")
    pooler.admin("SET client_login_timeout = '0.4'")
    begin = time.monotonic()
    clients = [send(pooler, data, host) for host in (pooler.host, pooler.socket_dir)
               for data in (b"", b"\0", PACKET[:4], PACKET[:8], PACKET[:-1])]
    assert pooler.list_items()["login_clients"] == 10
    for client in clients:
        assert refused(client, 2) in (None, "client_login_timeout")
        assert 0.35 <= time.monotonic() - begin <= 0.4 + SLACK
    pooler.admin("RELOAD")


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_st02_st03_connect_and_leave(field, ending):
    """Health checks, a thousand of them: no line in the log, nothing left."""
    pooler = field(tcp_defer_accept="0")
    lines = pooler.log().count("C-0x")
    for place in range(1000):
        client = wire.Client(pooler.socket_dir if place % 2 else pooler.host, pooler.port)
        getattr(client, ending)()
    assert pooler.client(host=pooler.host).value("SELECT 1") == "1"
    assert pooler.log().count("C-0x") == lines + 1
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left")


def test_st03_reset_before_it_is_accepted(field):
    """The accept finds a connection that is gone already."""
    pooler = field(tcp_defer_accept="0")
    for _ in range(20):
        pooler.signal(19)
        clients = [wire.Client(pooler.host, pooler.port) for _ in range(5)]
        for client in clients:
            client.reset()
        pooler.signal(18)
    assert pooler.client().value("SELECT 1") == "1"


def test_st04_one_byte_at_a_time_does_not_prolong_the_deadline(field):
    pooler = field(tcp_defer_accept="0")
    pooler.admin("SET client_login_timeout = '0.5'")
    client, begin = pooler.wire(), time.monotonic()
    for byte in PACKET:
        if client.has_data(0.08):
            break
        client.send_raw(bytes([byte]))
    assert refused(client) in (None, "client_login_timeout")
    assert 0.45 <= time.monotonic() - begin <= 0.5 + SLACK
    pooler.admin("RELOAD")


# Lengths

def test_st05_too_short(field):
    pooler = field()
    for length in (0, 1, 4, 7):
        data = struct.pack("!II", length, wire.PROTOCOL_3)
        fatal(send(pooler, data), "bad packet header: '%s'" % data.hex())


def test_st06_no_body(field):
    pooler = field()
    fatal(send(pooler, startup_body(b"")), LAYOUT)
    fatal(send(pooler, startup_body(b"\0")), "no username supplied")


def test_st07_huge_lengths_are_refused_from_the_header(field):
    """At once, from eight bytes at most, and nothing of that size is taken."""
    pooler = field()
    for length in (0xffffffff, 0x80000000, 0x7fffffff, 0x01000000):
        refused(send(pooler, startup_body(b"", length=length)))
        refused(send(pooler, startup_body(b"", length=length)[:4]))
    for length in (0x00ffffff, 0x00010000):
        fatal(send(pooler, startup_body(b"", length=length)))


def test_st08_the_cap_is_postgresqls(field):
    pooler = field()
    for length in (10001, 65535):
        fatal(send(pooler, startup_body(b"user\0bob\0" * 10, length=length)))
    name = b"x" * (10000 - 8 - len(b"user\0bob\0database\0p0\0application_name\0") - 2)
    whole = startup_body(b"user\0bob\0database\0p0\0application_name\0" + name + b"\0\0")
    assert len(whole) == 10000
    client = send(pooler, whole)
    client.authenticate()
    client.welcome()


def test_st09_cut_at_every_byte(field):
    """The login works, and nothing happens before the packet is whole."""
    pooler = field()
    clients = []
    for cut in range(1, len(PACKET)):
        clients.append((send(pooler, PACKET[:cut]), cut))
    time.sleep(0.05)
    attempts = pooler.log().count("login attempt: db=p0 user=bob")
    assert attempts == 2  # the canary, and before it the warm up
    for client, cut in clients:
        client.send_raw(PACKET[cut:])
    assert all(works(client) for client, _ in clients)
    assert pooler.log().count("login attempt: db=p0 user=bob") == attempts + len(clients)


def test_st09_no_server_is_asked_before_the_packet_is_whole(field):
    pooler = field()
    packet = wire.startup_packet({"user": "carol", "database": "p2"})
    client = pooler.wire()
    for place in range(len(packet)):
        assert pooler.servers("p2", "carol") == 0
        client.send_raw(packet[place:place + 1])
    assert works(client)


def test_st10_badly_laid_out(field):
    pooler = field()
    for body in (b"user\0bob\0database\0p0\0", b"user\0bob\0database\0p0",
                 b"user\0bob\0database\0\0",
                 b"user\0bob\0database", b"user\0", b"user", b"user\0b\0ob\0\0",
                 b"user\0bob\0\0trailing\0", b"user\0bob\0\0\0", b"\0\0", b"\0user\0bob\0\0"):
        fatal(send(pooler, startup_body(body)), LAYOUT)


# Parameters

def test_st11_a_name_given_twice_means_one_thing_everywhere(field):
    """Refused, or the last one counts: for the login, the pool, the log and the server."""
    pooler = field(auth_type="md5")
    before = len(pooler.log())
    client = send(pooler, startup_body(
        b"user\0bob\0user\0carol\0database\0p0\0database\0p2\0\0"))
    client.user = "carol"
    try:
        client.authenticate("carol-pw")
    except wire.ServerError as refusal:
        assert refusal.sqlstate == "08P01"
        return
    assert client.welcome().query("SELECT current_user, current_database()").rows == [["carol", "p2"]]
    (row,) = pooler.show("CLIENTS", database="p2")
    assert row["user"] == "carol"
    assert pooler.pool("p2", "carol")["cl_active"] == 1
    assert "login attempt: db=p2 user=carol" in pooler.log()[before:]
    other = send(pooler, startup_body(b"user\0bob\0user\0carol\0database\0p2\0\0"))
    other.user = "carol"
    with pytest.raises(wire.ServerError, match="password authentication failed"):
        other.authenticate("bob-pw")


ODD_NAMES = [b"x" * 63, b"x" * 64, b"x" * 127, b"\xff\xfe\x80", b"a\nb", b"\x1b[31mred", b'"', b"'",
             b"%s%n%s%n", b"../../etc/passwd", b"\r\r", b"\x7f", b"\xc3\xa4", b"\xc3", b"; drop"]


@pytest.mark.parametrize("auth_type", ["trust", "md5", "scram-sha-256"])
def test_st12_odd_user_names(field, auth_type):
    """A failed authentication like any other, and no raw byte of it in the log."""
    pooler = field(auth_type=auth_type)
    texts = set()
    for name in ODD_NAMES:
        client = send(pooler, startup_body(b"user\0" + name + b"\0database\0p0\0\0"))
        client.user = name.decode("latin-1")
        with pytest.raises(wire.ServerError) as failure:
            client.authenticate("x")
        texts.add(failure.value.message)
        client.expect_eof()
    assert len(texts) == 1 and "authentication failed" in texts.pop()
    with open(pooler.log_file, "rb") as file:
        log = file.read()
    log.decode("utf-8")
    assert b"\x1b" not in log and b"\r" not in log and b"\x7f" not in log
    for line in log.split(b"\n")[:-1]:
        assert line.startswith(b"20"), line


def test_st12_no_name_or_too_long_a_name(field):
    pooler = field()
    for name in (b"", b"x" * 128, b"x" * 5000, b"%s" * 2500):
        text = "username too long" if name else "no username supplied"
        fatal(send(pooler, startup_body(b"user\0" + name + b"\0database\0p0\0\0")), text)


@pytest.mark.parametrize("auth_type", ["trust", "md5"])
def test_st13_long_and_many_database_names(field, auth_type):
    """Names that were only tried leave nothing behind; those too long are no database."""
    pooler = field(auth_type=auth_type, databases={"p0": "", "p1": "", "*": ""})
    for length in (64, 127, 5000):
        client = pooler.wire()
        client.startup("bob", "x" * length)
        with pytest.raises(wire.ServerError) as failure:
            client.authenticate("bob-pw")
            client.welcome()
        assert failure.value.message == "no such database: " + "x" * 63
    lists = pooler.list_items()
    memory = resident_kib(pooler.pid)
    for place in range(1000):
        client = wire.Client(pooler.socket_dir, pooler.port)
        if auth_type == "trust":
            client.startup("nobody", "name%d" % place)
            fatal(client)
        else:
            client.startup("bob", "name%d" % place)
            client.expect("R")
        client.close()
    field.watch.events += 1000
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "all gone")
    after = pooler.list_items()
    assert {name: after[name] for name in ("databases", "pools", "users")} == {
        name: lists[name] for name in ("databases", "pools", "users")}
    if not field.watch.sanitized:
        assert resident_kib(pooler.pid) <= memory + 512


def test_st13_names_that_were_used_expire(field):
    pooler = field(databases={"p0": "", "p1": "", "*": ""}, autodb_idle_timeout="0.2",
                   server_idle_timeout="0.1")
    before = pooler.list_items()
    for name in ("p2", "p3", "p4"):
        assert pooler.client(name).value("SELECT current_database()") == name
    for place in range(20):
        client = pooler.wire()
        client.startup("bob", "nowhere%d" % place)
        assert client.expect_any_error()["C"] == "3D000"
    pooler.close_clients()

    def back():
        return all(pooler.list_items()[name] == before[name] for name in ("databases", "pools"))
    wait_for(back, "the entries have expired")


def test_st14_the_database_is_the_users(field):
    pooler = field(databases={"p0": "", "p1": "", "bob": "dbname=p3"})
    for parameters in ({"user": "bob"}, {"user": "bob", "database": ""}):
        client = send(pooler, wire.startup_packet(parameters))
        client.authenticate()
        assert client.welcome().value("SELECT current_database()") == "p3"
        fatal(send(pooler, wire.startup_packet({**parameters, "user": "carol"})),
              "no such database: carol")


def test_st15_names_that_look_like_options(field, fake_server):
    """They travel inside the startup packet and nowhere else."""
    server = fake_server()
    pooler = field(canaries=(("p1", "alice"),), userlist={
        "-rfile": "x", "bob": "x", "alice": "x", "-c work_mem=1": "x"}, databases={
            "p1": "", "-rfile": "host=127.0.0.1 port=%d" % server.port})
    for user in ("-rfile", "-c work_mem=1"):
        client = pooler.wire().login(user, "-rfile")
        assert client.value("SELECT 1")
    assert [side.startup for side in server.logged_in] == [
        {"database": "-rfile", "user": "-rfile"}, {"database": "-rfile", "user": "-c work_mem=1"}]


# Versions

def test_st16_other_protocols(field):
    pooler = field()
    for version in (0x20000, 0x10000, 0x40000, 0, 0xffffffff, 1234 << 16, 0x04D21631):
        packet = PACKET[:4] + struct.pack("!I", version) + PACKET[8:]
        fatal(send(pooler, packet), "old V2 protocol not supported" if version == 0x20000
              else "bad packet header: '%s'" % packet[:8].hex())


PROTOCOL_3_2 = wire.PROTOCOL_3 + 2


def negotiated(client):
    body = client.expect("v").body
    version, count = struct.unpack("!ii", body[:8])
    names = [name.decode() for name in body[8:].split(b"\0")[:-1]]
    assert (version, count) == (PROTOCOL_3_2, len(names))
    return names


def test_st16_newer_minor_versions_are_negotiated_once(field):
    pooler = field(auth_type="md5")
    for minor in (3, 9999, 65535):
        client = pooler.wire()
        client.startup("bob", "p0", wire.PROTOCOL_3 + minor)
        assert negotiated(client) == []
        client.authenticate("bob-pw")
        assert not hasattr(client, "negotiation")
        client.welcome()
        assert "v" not in [got.type for got in client.login_messages]


def test_st17_many_protocol_extensions(field):
    """One answer that names all of them; more than a packet may hold is refused from its header."""
    pooler = field()
    for count in (1, 100, 700, 2000):
        names = ["_pq_.%d" % place for place in range(count)]
        packet = wire.startup_packet({**STARTUP, **dict.fromkeys(names, "1")}, PROTOCOL_3_2)
        client = send(pooler, packet)
        if len(packet) > 10000:
            fatal(client)
        else:
            assert negotiated(client) == names
            assert works(client)
    assert len(packet) > 10000


def test_st18_unknown_and_too_many_parameters(field):
    pooler = field()
    fatal(send(pooler, wire.startup_packet({**STARTUP, "nonsense": "1"})),
          "unsupported startup parameter: nonsense")
    many = {"%03x" % place: "" for place in range(1900)}
    fatal(send(pooler, wire.startup_packet({**STARTUP, **many})))
    client = send(pooler, wire.startup_packet({**STARTUP, "application_name": "x" * 9000}))
    assert works(client)
    fatal(send(pooler, wire.startup_packet({**STARTUP, "nonsense": "x" * 9000})))
    fatal(send(pooler, wire.startup_packet({**STARTUP, "x" * 9000: "1"})))


def test_st18_a_parameter_repeated(field):
    client = send(field(), startup_body(
        b"user\0bob\0database\0p0\0" + b"application_name\0x\0" * 500 + b"\0"))
    assert works(client)


OPTIONS = [
    "-c search_path=x", "--search_path=x", "-c a=b\\ c", "-c", "-c x", '-c "x', "-c 'a=b", "\\",
    "--", "-c =", "-c TimeZone", "-c " * 3000, "-c a=" + "\\" * 8000, " " * 9000,
    "-c\tsearch_path=x", "-c TimeZone=GMT x", "-cTimeZone"]


def test_st19_options(field):
    """What is not known is refused; reading it takes no time to speak of."""
    pooler = field()
    for options in OPTIONS:
        client = pooler.wire()
        begin = time.monotonic()
        client.startup("bob", "p0", options=options)
        assert "options" in fatal(client)["M"]
        assert time.monotonic() - begin < 0.5 * SLACK
    client = pooler.wire()
    client.startup("bob", "p0", options="-c TimeZone=GMT\\")
    client.authenticate()
    client.welcome().send_raw(wire.query("SELECT 1"))
    fatal(client, "invalid server parameter")


def test_st19_many_options(field):
    client = field().wire()
    client.startup("bob", "p0", options="-c TimeZone=GMT " * 560 + "-c TimeZone=UTC")
    assert works(client)
    assert client.value("SHOW TimeZone") == "UTC"


def test_st20_replication(field):
    """Where it is asked for, it is for that client alone; an answer that is none is refused."""
    pooler = field()
    for value in ("garbage", "", "tru\nth", "2", "o", "DATABASE", "truest"):
        client = pooler.wire()
        client.startup("bob", "p0", replication=value)
        fatal(client, 'invalid value for parameter "replication": "%s"' % value)
    for value in ("false", "off", "of", "N", "0"):
        client = pooler.wire()
        client.startup("bob", "p0", replication=value)
        client.authenticate()
        with pytest.raises(wire.ServerError, match="syntax error"):
            client.welcome().query("IDENTIFY_SYSTEM")
    assert {row["replication"] for row in pooler.show("SERVERS")} == {"none"}
    for value in ("true", "database", "1", "on", "yes", "TRUE", "t"):
        client = pooler.wire()
        client.startup("bob", "p0", replication=value)
        fatal(client, "login failed")  # bob is no walsender


# Other protocols

OTHERS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789",
    b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\0\x45\xffSMBr\0\0\0\0\x18\x53\xc8" + b"\0" * 50,
    b"*1\r\n$4\r\nPING\r\n", b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x21" + b"\0" * 23,
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"r" * 32, b"\0" * 65536, b"\xff" * 65536,
    b"\0" * 8, b"\0\0\0\x10" + b"\xff" * 12, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f" * 12,
    b"PROXY TCP4 10.0.0.1 10.0.0.2 5 6\r\n" + PACKET, b"PROXY UNKNOWN\r\n" + b"x" * 65536]


def test_st21_st22_other_protocols(field):
    """Ended at once; whatever length their text announces is not waited for."""
    pooler = field()
    samples = OTHERS + [os.urandom(size) for size in (8, 9, 100, 4096, 65536)]
    for host in (pooler.host, pooler.socket_dir):
        for data in samples:
            client = pooler.wire(host)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send_raw(data)
            refused(client)


def test_st23_a_message_before_the_startup_packet(field):
    pooler = field()
    for kind in "QXpPSdBDEHCcfF\x01zK":
        text = "client password pkt before startup packet" if kind == "p" else None
        for data in (wire.message(kind), wire.message(kind, b"SELECT 1\0"), kind.encode(),
                     wire.forged(kind, 0), wire.forged(kind, -1)):
            assert refused(send(pooler, data)) == text


# Out of turn

@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_st24_a_second_startup_packet(field, auth_type):
    pooler = field(auth_type=auth_type)
    client = send(pooler, PACKET)
    client.expect("R")
    client.send_raw(PACKET)
    fatal(client, "client re-sent startup pkt")
    both = send(pooler, PACKET + PACKET)
    both.expect("R")
    fatal(both, "client re-sent startup pkt")


def test_st24_a_second_startup_packet_after_the_login(field):
    pooler = field()
    fatal(send_after_login(pooler, PACKET), "unknown pkt")
    both = send(pooler, PACKET + PACKET)
    both.authenticate()
    both.welcome()
    fatal(both, "unknown pkt")


def send_after_login(pooler, data):
    client = pooler.client()
    client.send_raw(data)
    return client


def test_st24_login_and_queries_in_one_segment(field):
    pooler = field(auth_type="plain")
    client = send(pooler, PACKET + wire.message("p", b"bob-pw\0") + wire.query("SELECT 1")
                  + wire.extended("SELECT 2") + wire.sync() + wire.query("SELECT 3"))
    client.expect("R")
    client.expect("R")
    client.welcome()
    assert [client.result().value for _ in range(3)] == ["1", "2", "3"]
    wrong = send(pooler, PACKET + wire.message("p", b"wrong\0") + wire.query("SELECT 1"))
    wrong.expect("R")
    fatal(wrong, "password authentication failed")


def test_st24_a_flood_behind_the_login_is_bounded(field, fake_server):
    """Bytes of a client that still waits for its first server are kept to a limit."""
    silent = threading.Event()
    server = fake_server(lambda side: (side.read_startup(), silent.wait(30)))
    pooler = field(canaries=(("p1", "alice"),), databases={
        "p1": "", "p0": "host=127.0.0.1 port=%d" % server.port})
    memory = resident_kib(pooler.pid)
    client = send(pooler, PACKET)
    client.sock.settimeout(0.3)
    sent = 0
    try:
        while sent < 32 << 20:
            sent += client.sock.send(wire.query("x" * 1000) * 60)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        pass
    if not field.watch.sanitized:
        assert resident_kib(pooler.pid) - memory <= 1024
    fatal(client, "too many messages before the login was complete", seconds=2)
    silent.set()


@pytest.mark.parametrize("auth_type", ["trust", "md5", "scram-sha-256"])
def test_st25_startup_and_reset(field, auth_type):
    """All are freed, and none is left in its login."""
    pooler = field(auth_type=auth_type)
    for place in range(600):
        client = wire.Client(pooler.socket_dir if place % 2 else pooler.host, pooler.port)
        client.send_raw(PACKET)
        if place % 3 == 0:
            client.read()
        client.reset()
    field.watch.events += 600
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left")


# Requests for encryption, which are answered with N

REQUESTS = [wire.SSL_REQUEST, wire.GSS_REQUEST]
TOO_EARLY = {wire.SSL_REQUEST: "received unencrypted data after SSL request",
             wire.GSS_REQUEST: "received unencrypted data after GSSAPI encryption request"}


def test_tl01_tl03_bytes_behind_a_request(field):
    """They are no part of what follows: refused, and the request is not answered."""
    pooler = field()
    for code in REQUESTS:
        for extra in (b"\0", PACKET, b"\x16\x03\x01", b"x" * 10000):
            fatal(send(pooler, wire.special_packet(code) + extra), TOO_EARLY[code])


def test_tl03_the_legal_order(field):
    pooler = field()
    for codes in ([wire.GSS_REQUEST, wire.SSL_REQUEST], [wire.SSL_REQUEST, wire.GSS_REQUEST],
                  [wire.SSL_REQUEST], [wire.GSS_REQUEST]):
        client = pooler.wire()
        for code in codes:
            client.send_raw(wire.special_packet(code))
            assert client.read_bytes(1) == b"N"
        client.send_raw(PACKET)
        assert works(client)


@pytest.mark.parametrize("code", REQUESTS)
def test_tl04_requests_repeated(field, code):
    """One of each per connection."""
    pooler = field()
    client = pooler.wire()
    client.send_raw(wire.special_packet(code))
    assert client.read_bytes(1) == b"N"
    client.send_raw(wire.special_packet(code))
    fatal(client)
    mixed = pooler.wire()
    for other in REQUESTS:
        mixed.send_raw(wire.special_packet(other))
        assert mixed.read_bytes(1) == b"N"
    mixed.send_raw(wire.special_packet(code))
    fatal(mixed)
    fatal(send(pooler, wire.special_packet(code) * 100000))


@pytest.mark.parametrize("code", REQUESTS)
def test_tl05_a_request_in_the_login_and_after_it(field, code):
    pooler = field(auth_type="scram-sha-256")
    client = send(pooler, PACKET)
    client.expect("R")
    client.send_raw(wire.special_packet(code))
    fatal(client, "client re-sent startup pkt")
    scram = wire.Scram("bob-pw")
    client = send(pooler, PACKET)
    client.expect("R")
    client.send("p", wire.cstring("SCRAM-SHA-256") + struct.pack("!i", len(scram.first()))
                + scram.first())
    client.expect("R")
    client.send_raw(wire.special_packet(code))
    fatal(client, "client re-sent startup pkt")
    fatal(send_after_login(pooler, wire.special_packet(code)), "unknown pkt")


def test_tl06_requests_of_another_length(field):
    pooler = field()
    for code in REQUESTS:
        for length in (0, 7, 9, 12, 16, 10000, 10001):
            data = struct.pack("!II", length, code) + b"\0" * max(0, length - 8)
            fatal(send(pooler, data), "bad packet header: '%s'" % data[:8].hex())
