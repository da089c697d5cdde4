"""
Messages of any size stream through: what the pooler keeps of them is a buffer, and the limit
max_packet_size is obeyed to the byte.
"""

import os
import struct
import threading

import pytest

from support import fake_server as fake
from support import wire
from support.process import SLACK
from support.truth import is_sanitized

MIB = 1 << 20
GIB = 1 << 30

# The largest message by default, and the bytes of a value that PostgreSQL gets to hold.
LARGE = 2147483647
LARGE_VALUE = int(os.environ.get("PGWEIR_LARGE_VALUE", 40 * MIB))
BLOCK = bytes(4 * MIB)


def peak_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(file.read().split("VmHWM:")[1].split()[0])


class Memory:
    """What the process had at most must not grow with what passes through it."""

    def __init__(self, pooler):
        self.pooler, self.before = pooler, peak_kib(pooler.pid)

    def check(self):
        grown = peak_kib(self.pooler.pid) - self.before
        if not is_sanitized(self.pooler.pid):
            assert grown <= 2048, "%d KiB more" % grown


def send_body(sock, size):
    while size > 0:
        size -= sock.send(memoryview(BLOCK)[:size])


def skip_body(connection, size):
    """Reads and forgets."""
    got = min(size, len(connection.buffer))
    del connection.buffer[:got]
    size -= got
    space = bytearray(MIB)
    while size > 0:
        got = connection.sock.recv_into(space, min(size, MIB))
        if got == 0:
            raise EOFError("the end, %d bytes too early" % size)
        size -= got


def header(kind, total):
    """Of a message of so many bytes, header included."""
    return wire.forged(kind, total - 1)


def swallow(side):
    """Answers each query, however long, with the number of its bytes; ROW asks for a row."""
    if not side.log_in():
        return
    while True:
        kind, length = struct.unpack("!cI", side.read_bytes(5))
        if kind == b"X":
            return
        if length < 1000:
            words = side.read_bytes(length - 4)[:-1].split()
        else:
            skip_body(side, length - 4)
            words = []
        if words and words[0] == b"ROW":
            size = int(words[1])
            side.send_raw(header("D", size))
            send_body(side.sock, size - 5)
            side.send_raw(fake.command_complete() + fake.ready())
        else:
            side.send_raw(fake.answer(length + 1))


@pytest.fixture
def swallowing(start_pooler, fake_server):
    def start(**settings):
        settings.setdefault("pool_mode", "transaction")
        return start_pooler(server=fake_server(swallow), databases={"p0": ""},
                            default_pool_size="1", **settings)
    return start


@pytest.mark.limit(180)
def test_largest_statement(swallowing):
    pooler = swallowing()
    client, other = pooler.client(), pooler.client()
    assert client.value("SELECT 1") == "14"
    memory = Memory(pooler)
    client.send_raw(header("Q", LARGE))
    send_body(client.sock, LARGE - 5)
    client.send_raw(wire.query("behind it"))
    assert client.result().value == str(LARGE)
    assert client.result().value == "15"
    memory.check()
    assert other.value("SELECT 22") == "15"


@pytest.mark.limit(180)
def test_largest_row(swallowing):
    pooler = swallowing()
    client, other = pooler.client(), pooler.client()
    client.value("SELECT 1")
    memory = Memory(pooler)
    client.send_raw(wire.query("ROW %d" % LARGE) + wire.query("behind it"))
    kind, length = struct.unpack("!cI", client.read_bytes(5))
    assert (kind, length + 1) == (b"D", LARGE)
    skip_body(client, LARGE - 5)
    assert [client.result().types for _ in range(2)] == ["CZ", "TDCZ"]
    memory.check()
    assert other.value("SELECT 22") == "15"


@pytest.mark.parametrize("limit", [1000, 2147483647, 4294967295])
def test_limit_of_what_clients_send(swallowing, limit):
    """The byte of the type counts. The header alone decides."""
    pooler = swallowing(max_packet_size=str(limit))
    client = pooler.client()
    client.send_raw(header("Q", limit) + b"x" * 500)
    pooler.wait_pool(sv_active=1)
    client.expect_silence(0.05)
    if limit == 1000:
        client.send_raw(b"x" * 495)
        assert client.result().value == "1000"
    client.close()
    client = pooler.client()
    client.send_raw(header("Q", limit + 1))
    client.expect_error("bad packet header: '51%08x'" % (limit & 0xffffffff))


@pytest.mark.parametrize("limit", [1000, 2147483647, 4294967295])
def test_limit_of_what_servers_send(start_pooler, fake_server, limit):
    sizes = [limit, limit + 1]

    def script(side):
        if side.log_in():
            side.read()
            size = sizes.pop(0)
            side.send_raw(fake.row_description("a") + header("D", size) + b"x" * 995)
            side.send_raw(fake.command_complete() + fake.ready() if size == 1000 else b"")
            side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, pool_mode="transaction",
                          max_packet_size=str(limit))
    client = pooler.client()
    client.send_raw(wire.query("SELECT"))
    client.expect("T")
    assert client.read_bytes(5) == header("D", limit)
    client.read_bytes(995)
    if limit == 1000:
        client.expect("C")
        client.expect("Z")
        client.terminate()
        pooler.admin("RECONNECT p0")
    else:
        client.expect_silence(0.05)
        client.close()
    client = pooler.client()
    client.send_raw(wire.query("SELECT"))
    client.expect("T")
    client.expect_error("bad pkt header")


# With PostgreSQL, which takes no message of a gibibyte

@pytest.mark.parametrize("kind", ["Q", "B", "P"])
def test_statement_that_postgresql_refuses(start_pooler, kind):
    """It ends the connection at the header. The client is told, though it still sends."""
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "pool_size=1"})
    client, other = pooler.client(), pooler.client()
    client.value("SELECT 1")
    memory = Memory(pooler)
    before = wire.parse("SELECT 1") if kind == "B" else b""
    client.send_raw(before + header(kind, GIB + GIB // 5))
    stop = threading.Event()

    def send():
        try:
            for _ in range(300):
                if stop.is_set():
                    return
                client.sock.sendall(BLOCK)
        except OSError:
            pass
    sender = threading.Thread(target=send)
    sender.start()
    try:
        errors = [wire.parse_fields(got.body) for got in client.wait_closed() if got.type == "E"]
    finally:
        stop.set()
        client.close()
        sender.join(20 * SLACK)
    assert errors and errors[-1]["C"] == "08P01"
    assert errors[-1]["M"] in ("server conn crashed?", "server connection closed")
    assert other.value("SELECT 'mine'") == "mine"
    memory.check()


def test_large_parameter_and_row(start_pooler):
    """There and back; in parts of the size of a buffer."""
    size = LARGE_VALUE
    pooler = start_pooler(pool_mode="transaction")
    client = pooler.client()
    client.value("SELECT 1")
    memory = Memory(pooler)
    bind = wire.cstring("") + wire.cstring("") + struct.pack("!hhhi", 1, 1, 1, size)
    end = struct.pack("!hh", 1, 1)
    client.send_raw(wire.parse("SELECT length($1), $1", types=[17])
                    + header("B", 5 + len(bind) + size + len(end)) + bind)
    send_body(client.sock, size)
    client.send_raw(end + wire.describe() + wire.execute() + wire.sync())
    assert "".join(client.read().type for _ in range(3)) == "12T"
    kind, _ = struct.unpack("!cI", client.read_bytes(5))
    count, four, length, row = struct.unpack("!hiii", client.read_bytes(14))
    assert (kind, count, four, length, row) == (b"D", 2, 4, size, size)
    skip_body(client, size)
    assert client.result().types == "CZ"
    memory.check()
    assert client.value("SELECT 'on'") == "on"


def test_value_that_postgresql_cannot_hold(start_pooler):
    """Its own words reach the client, and the server is as before."""
    pooler = start_pooler(pool_mode="transaction")
    client = pooler.client()
    client.send_raw(wire.query("SELECT repeat('x', 1100000000)"))
    result = client.result()
    assert (result.errors[0]["C"], result.status) == ("54000", "I")
    assert client.value("SELECT 1") == "1"
    pooler.wait_pool(sv_active=0, sv_idle=1)
