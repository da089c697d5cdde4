"""
Section 2 of the catalogue: TLS, towards clients and towards servers. Rows TL01 to TL06 where there is
no TLS are in test_startup.py.

Certificates that name a client (TL12, TL13) and floods of key updates (TL08) are tried on the module
itself as well, in test/unit/net/tls_test.c.
"""

import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time

import pytest

from support import tls, wire
from support.fake_server import answer
from support.invariants import Watch, fatal, refused
from support.process import wait_for

PACKET = wire.startup_packet({"user": "bob", "database": "p0"})
SSL_TOO_EARLY = "received unencrypted data after SSL request"
GSS_TOO_EARLY = "received unencrypted data after GSSAPI encryption request"


@pytest.fixture
def field(start_tls_pooler, pg, certificates):
    """
    As the fixture of all hostile tests, with TLS towards clients, which has been used before. A
    `mode` that would shut out the watch's own clients comes into force when it has begun.
    """
    watches = []

    def start(mode=None, **settings):
        pooler = start_tls_pooler(**settings)
        for direct in (False, True):
            client = pooler.wire()
            try:
                (tls.begin if direct else tls.ask)(
                    client, tls.client_context(certificates, "bob")).login("bob", "p0", "bob-pw")
            except (OSError, AssertionError, wire.ServerError):
                pass
        pooler.close_clients()
        start.watch = Watch(pooler, pg)
        watches.append(start.watch)
        start.watch.begin()
        if mode:
            start.watch.events += 1
            start.watch.console.query("SET client_tls_sslmode = '%s'" % mode)
        return pooler
    yield start
    for watch in watches:
        try:
            watch.console.query("SET client_tls_sslmode = 'allow'")
            watch.end()
        finally:
            if watch.canary:
                watch.canary.stop()


def send(pooler, data):
    client = pooler.wire()
    client.send_raw(data)
    return client


def works(client):
    return client.login("bob", "p0", "bob-pw").value("SELECT 7") == "7"


def hello():
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    client = tls.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def rest(client, seconds=5):
    """Everything up to the end, which must come."""
    client.sock.settimeout(seconds)
    data = bytes(client.buffer)
    try:
        while part := client.sock.recv(65536):
            data += part
    except (ConnectionError, ssl.SSLError):
        pass
    return data


# What comes before the handshake

def test_tl01_bytes_behind_the_request(field):
    pooler = field()
    for extra in (b"\0", PACKET, hello(), b"x" * 10000):
        fatal(send(pooler, tls.REQUEST + extra), SSL_TOO_EARLY)


def test_tl02_plain_text_after_the_yes(field):
    pooler = field()
    client = send(pooler, tls.REQUEST)
    assert client.read_bytes(1) == b"S"
    client.send_raw(PACKET)
    assert rest(client)[:1] in (b"", b"\x15")
    assert "login attempt: db=p0 user=bob tls=no" not in pooler.log().split("TLS handshake error")[1]


def test_tl03_the_legal_order(field):
    pooler = field()
    fatal(send(pooler, wire.special_packet(wire.GSS_REQUEST) + b"\0"), GSS_TOO_EARLY)
    client = send(pooler, wire.special_packet(wire.GSS_REQUEST))
    assert client.read_bytes(1) == b"N"
    assert works(tls.ask(client))


def test_tl04_requests_repeated(field):
    pooler = field()
    client = send(pooler, wire.special_packet(wire.GSS_REQUEST))
    assert client.read_bytes(1) == b"N"
    client.send_raw(wire.special_packet(wire.GSS_REQUEST))
    fatal(client)


@pytest.mark.parametrize("code", [wire.SSL_REQUEST, wire.GSS_REQUEST])
def test_tl05_a_request_inside_tls(field, code):
    pooler = field(auth_type="scram-sha-256")
    request = wire.special_packet(code)
    client = tls.ask(pooler.wire())
    client.send_raw(request)
    assert rest(client) == b""
    client = tls.ask(pooler.wire())
    client.startup("bob", "p0")
    client.expect("R")
    client.send_raw(request)
    assert client.expect_any_error()["M"] == "client re-sent startup pkt"
    client = tls.ask(pooler.wire()).login("bob", "p0", "bob-pw")
    client.send_raw(request)
    assert rest(client).startswith(b"E")


def test_tl06_requests_of_another_length(field):
    pooler = field()
    for length in (7, 9, 16):
        data = struct.pack("!II", length, wire.SSL_REQUEST) + b"\0" * max(0, length - 8)
        fatal(send(pooler, data), "bad packet header: '%s'" % data[:8].hex())


# The handshake

@pytest.mark.parametrize("direct", [False, True])
def test_tl07_half_a_handshake(field, direct):
    """A hello that is cut, anywhere, ends at the deadline and holds up nobody."""
    pooler = field(client_login_timeout="1.5", max_client_conn="400")
    data = hello()
    clients = []
    for cut in range(1, len(data), 3):
        client = pooler.wire()
        if not direct:
            client.send_raw(tls.REQUEST)
            assert client.read_bytes(1) == b"S"
        client.send_raw(data[:cut])
        clients.append(client)
        if cut % 30 == 1:
            assert works(tls.ask(pooler.wire()))
    for client in clients:
        assert rest(client, 20) == b""
    assert works(tls.ask(pooler.wire()))


def test_tl07_a_handshake_byte_by_byte(field):
    """The deadline counts from the accept, whatever comes."""
    pooler = field(client_login_timeout="1")
    client = pooler.wire()
    with pytest.raises(OSError):
        for byte in hello() * 10:
            client.send_raw(bytes((byte,)))
            time.sleep(0.01)
    client.sock.close()


def s_client(pooler, *arguments, **popen):
    return subprocess.Popen(
        ["openssl", "s_client", "-starttls", "postgres", "-connect",
         "127.0.0.1:%d" % pooler.port, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **popen)


def test_tl08_renegotiation(field):
    """Refused, by an alert that the client may live with."""
    pooler = field()
    pooler.connections_made += 1
    client = s_client(pooler, "-tls1_2")
    client.stdin.write(b"R\n")
    output, _ = client.communicate(timeout=30)
    assert b"RENEGOTIATING" in output and b"no renegotiation" in output


def test_tl08_early_data(field):
    """No ticket allows it."""
    pooler = field()
    pooler.connections_made += 1
    client = s_client(pooler, "-tls1_3", "-msg")
    client.stdin.write(PACKET)
    client.stdin.flush()
    output, seen = b"", time.monotonic() + 20
    while b"NewSessionTicket" not in output and time.monotonic() < seen:
        output += os.read(client.stdout.fileno(), 65536)
    output += client.communicate(timeout=20)[0]
    assert b"Max Early Data: 0" in output
    assert not re.search(rb"Max Early Data: [1-9]", output)


def test_tl08_records_without_data(field):
    """Forged ones end the connection; there is no flood of them."""
    pooler = field()
    client = tls.ask(pooler.wire())
    raw = socket.socket(fileno=os.dup(client.sock.fileno()))
    with raw:
        with pytest.raises(OSError):
            for _ in range(100000):
                raw.sendall(b"\x17\x03\x03\x00\x00" * 100)
    assert works(tls.ask(pooler.wire()))


@pytest.mark.limit(120)
def test_tl09_key_updates_while_much_is_written(field):
    """The client asks for new keys again and again in the middle of a large result."""
    pooler = field()
    pooler.connections_made += 1
    count, width = 4000, 10000
    client = s_client(pooler, "-tls1_3")
    client.stdin.write(PACKET)
    client.stdin.flush()
    output = b""

    def read():
        nonlocal output
        output += os.read(client.stdout.fileno(), 1 << 20)
    while b"Z\0\0\0\5I" not in output:
        read()
    # Not as the first byte, which is a command of s_client's.
    client.stdin.write(wire.message("H") + wire.query(
        "SELECT repeat('x', %d) FROM generate_series(1, %d)" % (width, count)))
    client.stdin.flush()
    size, updates, tail = 0, 0, b""
    while not tail.endswith(b"Z\0\0\0\5I"):
        part = os.read(client.stdout.fileno(), 1 << 16)
        assert part
        size += len(part)
        tail = (tail + part)[-200:]
        if size > updates * 1000000 and updates < 35:
            client.stdin.write(b"K\n")
            client.stdin.flush()
            updates += 1
    assert size > count * width
    assert b"SELECT %d" % count in tail
    client.stdin.close()
    client.wait(20)
    client.stdout.close()


@pytest.mark.parametrize("size", [16384 - 6, 16384, 16385, 65536, 229376, 262144, 262145, 500000])
def test_tl10_a_message_as_large_as_a_buffer(field, size):
    """Then silence: everything is handled without another event."""
    pooler = field()
    client = tls.ask(pooler.wire()).login("bob", "p0", "bob-pw")
    start = "SELECT length('"
    text = "x" * (size - 5 - 1 - len(start) - 2)
    message = wire.query(start + text + "')")
    assert len(message) == size
    for cut in (0, 1, 5, 100):
        if cut:
            client.send_raw(wire.query("SELECT 1") + message[:cut])
            assert client.result().value == "1"
        client.send_raw(message[cut:])
        assert client.result().value == str(len(text))


def test_tl11_ends_without_a_good_bye(field):
    pooler = field()
    before = pooler.log()
    for leave in ("close", "reset", "half", "plain"):
        for stage in ("asked", "hello", "secured", "ready"):
            client = pooler.wire()
            client.send_raw(tls.REQUEST)
            assert client.read_bytes(1) == b"S"
            if stage == "hello":
                client.send_raw(hello()[:100])
            elif stage != "asked":
                tls.begin(client)
            if stage == "ready":
                client.login("bob", "p0", "bob-pw")
            raw = socket.socket(fileno=client.sock.detach())
            if leave == "reset":
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif leave == "half":
                raw.shutdown(socket.SHUT_WR)
                raw.settimeout(5)
                while raw.recv(4096):
                    pass
            raw.close()
            pooler.clients.remove(client)
    wait_for(lambda: field.watch.list_items()["login_clients"] == 0)
    added = pooler.log()[len(before):]
    assert "ERROR" not in added and "WARNING" not in added, added


# Certificates of clients

@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_tl12_certificates(field, certificates, mode):
    pooler = field(mode)
    if not os.path.exists(certificates.file("deep.crt")):
        certificates.chain("deep", 25)
    for name in ("outdated", "selfsigned", "foreign", "serveronly", "deep"):
        for direct in (False, True):
            error = tls.refused(pooler.wire(), tls.client_context(certificates, name), direct)
            assert error is None or isinstance(error, OSError)
    pooler.wait_log("TLS handshake error: certificate verify failed: ", 10)
    for name in ("bob", "other", "nul", "long"):  # good ones, whomever they name
        assert works(tls.ask(pooler.wire(), tls.client_context(certificates, name)))


def with_rules(field, rules, maps=""):
    """A field with HBA rules, and trust for the watch's own clients, which do without TLS."""
    folder = tempfile.mkdtemp(prefix="pgweir-rules-")
    os.chmod(folder, 0o755)
    files = {"hba": "local all all trust\nhostnossl all bob,alice,admin all trust\n" + rules,
             "ident": maps}
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    try:
        return field(auth_type="hba", auth_hba_file=os.path.join(folder, "hba"),
                     auth_ident_file=os.path.join(folder, "ident"))
    finally:
        shutil.rmtree(folder)


def test_tl12_tl13_certificate_of_another_user(field, certificates):
    """
    It lets in whom it names, by all of the name, or whom a map allows to whom it names. A zero byte
    ends no name, and neither does the length that a name may have.
    """
    pooler = with_rules(field, "hostssl p1 all all cert map=m\nhostssl all all all cert\n",
                        "m other bob\n")
    allowed = [("bob", "p0", "bob"), ("other", "p1", "bob")]
    for name in ("bob", "other", "nul", "long"):
        for database, user in (("p0", "bob"), ("p0", "alice"), ("p1", "bob"), ("p1", "alice")):
            client = tls.ask(pooler.wire(), tls.client_context(certificates, name))
            if (name, database, user) in allowed:
                assert client.login(user, database).value("SELECT 1") == "1"
            else:
                client.startup(user, database)
                fatal(client, "certificate authentication failed")
    client = tls.ask(pooler.wire())
    client.startup("bob", "p0")
    fatal(client, "certificate authentication failed")


# Who must use TLS, and which

def test_tl14_plain_where_the_rules_want_tls(field):
    """Nobody is asked for a password in clear."""
    pooler = with_rules(field, "hostssl all carol all scram-sha-256\n")
    client = pooler.wire()
    client.startup("carol", "p0")
    fatal(client, "no authentication method is found")
    client = tls.ask(pooler.wire())
    client.startup("carol", "p0")
    assert client.expect("R").body[:4] == struct.pack("!i", 10)


def test_tl14_plain_where_tls_is_required(field):
    pooler = field("require", auth_type="scram-sha-256")
    fatal(send(pooler, PACKET), "SSL required")
    client = send(pooler, wire.special_packet(wire.GSS_REQUEST))
    assert client.read_bytes(1) == b"N"
    client.send_raw(PACKET)
    fatal(client, "SSL required")
    assert works(pooler.wire(pooler.socket_dir))


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("postgresq",), ("postgresqlx",)])
def test_tl15_direct_tls_without_the_protocol(field, alpn):
    pooler = field()
    context = tls.client_context(alpn=alpn)
    client = pooler.wire()
    try:
        tls.begin(client, context)
    except OSError as error:
        assert alpn and "alert" in str(error)
        return
    assert not alpn
    assert rest(client) == b""


def test_tl15_direct_tls_where_there_is_none(field):
    pooler = field("disable")
    refused(send(pooler, hello()))
    local = pooler.wire(pooler.socket_dir)
    local.send_raw(hello())
    refused(local)


def test_tl16_old_protocols_and_weak_ciphers(field):
    pooler = field()
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = tls.client_context(version=version)
        context.set_ciphers("ALL:@SECLEVEL=0")
        assert tls.refused(pooler.wire(), context)
        pooler.wait_log("TLS handshake error: unsupported protocol")
    for ciphers in ("eNULL", "aNULL", "DES-CBC3-SHA", "RC4-SHA", "EXPORT"):
        context = tls.client_context(version=ssl.TLSVersion.TLSv1_2)
        try:
            context.set_ciphers(ciphers + ":@SECLEVEL=0")
        except ssl.SSLError:
            continue  # not even our own library has it
        assert tls.refused(pooler.wire(), context)
        pooler.wait_log("TLS handshake error: no shared cipher")
    old = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80" * 7 + b"r" * 16
    client = send(pooler, tls.REQUEST)
    assert client.read_bytes(1) == b"S"
    client.send_raw(old)
    assert rest(client)[:1] in (b"", b"\x15")
    refused(send(pooler, old))


def test_tl17_reload_of_broken_files(field, certificates):
    certificates.copy("server", "reloaded")
    pooler = field(client_tls_cert_file=certificates.file("reloaded.crt"),
                   client_tls_key_file=certificates.file("reloaded.key"))
    client = tls.ask(pooler.wire()).login("bob", "p0", "bob-pw")
    for name, text in (("reloaded.key", certificates.text("second.key")),
                       ("reloaded.key", certificates.text("server.key")[:60]),
                       ("reloaded.crt", certificates.text("server.crt")[:-100]),
                       ("reloaded.crt", "")):
        certificates.copy("server", "reloaded")
        certificates.write(name, text)
        field.watch.events += 1
        field.watch.console.send_raw(wire.query("RELOAD"))
        assert field.watch.console.result().errors
        assert works(tls.ask(pooler.wire()))
    certificates.copy("second", "reloaded")
    field.watch.console.query("RELOAD")
    assert works(tls.ask(pooler.wire()))
    assert client.value("SELECT 3") == "3"


# Servers

def to_server(field, server, mode, **settings):
    settings.setdefault("query_wait_timeout", "0.5")
    return field(databases={"p0": "", "p1": "", "p2": "host=localhost port=%d server_tls_sslmode=%s"
                                                   % (server.port, mode)},
                 server_login_retry="0.1", **settings)


def gets_nothing(pooler, log):
    """A client of p2 hears of its wait, and of nothing that the server said."""
    client = pooler.wire()
    client.startup("bob", "p2")
    fields = client.expect_any_error() if client.peek_type() == "E" else None
    if fields is None:
        client.authenticate()
        fields = client.expect_any_error()
    assert fields["M"] == "query_wait_timeout"
    pooler.wait_log(log)


def test_tl18_bytes_behind_the_yes_of_a_server(field, fake_server):
    after = []

    def serve(side):
        assert side.read_bytes(8) == tls.REQUEST
        side.send_raw(b"S" + wire.message("R", struct.pack("!i", 0)) + wire.message("Z", b"I"))
        after.append(side.sock.recv(100))
    server = fake_server(serve)
    pooler = to_server(field, server, "require")
    gets_nothing(pooler, "closing because: received unencrypted data after SSL response")
    assert set(after) == {b""}


@pytest.mark.parametrize("said, log", [
    (b"N", "closing because: server refused SSL"),
    (b"E" + struct.pack("!i", 30) + b"SFATAL\0Mgive me your money\0\0", "bad sslreq answer"),
    (b"X", "bad sslreq answer"),
    (b"Sx", "received unencrypted data after SSL response"),
    (b"", "closing because: server conn crashed?"),
])
def test_tl19_other_answers_of_a_server(field, fake_server, said, log):
    def serve(side):
        assert side.read_bytes(8) == tls.REQUEST
        side.send_raw(said)
        if said:
            assert side.sock.recv(100) == b""
    pooler = to_server(field, fake_server(serve), "verify-ca")
    gets_nothing(pooler, log)
    assert "money" not in pooler.log()


def test_tl19_no_answer_of_a_server(field, fake_server):
    def serve(side):
        assert side.read_bytes(8) == tls.REQUEST
        side.sock.recv(100)
    pooler = to_server(field, fake_server(serve), "require", server_connect_timeout="0.3",
                       query_wait_timeout="1.5")
    gets_nothing(pooler, "closing because: connect timeout")


@pytest.mark.parametrize("certificate, good", [
    ("server", True), ("wronghost", False), ("wildcard", False), ("expired", False)])
def test_tl20_names_of_servers(field, fake_server, certificates, certificate, good):
    context = tls.server_context(certificates, certificate)

    def serve(side):
        tls.serve(side, context)
        if side.log_in():
            side.serve(lambda side, sql: answer(side.number))
    server = fake_server(serve)
    pooler = to_server(field, server, "verify-full server_tls_ca_file="
                       + certificates.file("ca.crt"))
    if good:
        assert pooler.client("p2").value("SELECT 1") == "1"
    else:
        gets_nothing(pooler, "TLS handshake error: certificate verify failed: ")
        assert server.logged_in == []


def test_tl21_a_no_on_the_way(field, fake_server):
    """prefer makes do; a stricter mode never does, however often it is told."""
    answers = []

    def serve(side):
        if side.log_in():
            answers.append(side.number)
            side.serve(lambda side, sql: answer(7))
    server = fake_server(serve)
    pooler = to_server(field, server, "prefer", query_wait_timeout="1.5")
    assert pooler.client("p2").value("SELECT 1") == "7"
    pooler.close_clients()
    pooler.databases["p2"] = pooler.databases["p2"].replace("prefer", "require")
    pooler.reload()
    before = len(answers)
    gets_nothing(pooler, "closing because: server refused SSL")
    assert pooler.log().count("server refused SSL") >= 2
    assert len(answers) == before


# One thread, one queue of errors

def test_tl22_errors_do_not_cross(field, certificates):
    """Handshakes that fail in every way, between the queries of those who did nothing wrong."""
    pooler = field()
    good = [tls.ask(pooler.wire()).login("bob", "p0", "bob-pw") for _ in range(3)]
    bad = [tls.client_context(certificates, "foreign"), tls.client_context(alpn=("http/1.1",)),
           tls.client_context(version=ssl.TLSVersion.TLSv1_2)]
    bad[2].set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    for turn in range(10):
        for context in bad:
            for client in good:
                client.send_raw(wire.query("SELECT %d" % turn))
            assert tls.refused(pooler.wire(), context) is not None
            for client in good:
                assert client.result().value == str(turn)
    for client in good:
        assert client.value("SELECT 'still here'") == "still here"
