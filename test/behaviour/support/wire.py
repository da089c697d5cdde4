"""
A small PostgreSQL client that shows every message.

Used where libpq hides too much: exact errors, order of messages, half-sent packets. It does what it
is told and checks nothing by itself.
"""

import base64
import hashlib
import hmac
import os
import select
import socket
import ssl
import struct
import time
from typing import NamedTuple

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

TIMEOUT = 10.0 * float(os.environ.get("PGWEIR_SLACK", "1"))


class Message(NamedTuple):
    type: str
    body: bytes


class ServerError(Exception):
    """An ErrorResponse where none was expected."""

    def __init__(self, fields):
        super().__init__("%s %s %s" % (fields.get("S"), fields.get("C"), fields.get("M")))
        self.fields = fields
        self.severity = fields.get("S")
        self.sqlstate = fields.get("C")
        self.message = fields.get("M")


class Column(NamedTuple):
    name: str
    table: int
    number: int
    oid: int
    length: int
    modifier: int
    format: int


class Result:
    """What came back up to one ReadyForQuery."""

    def __init__(self):
        self.messages = []
        self.columns = []
        self.rows = []
        self.tags = []
        self.errors = []
        self.notices = []
        self.copied = []
        self.status = None

    @property
    def types(self):
        return "".join(message.type for message in self.messages)

    @property
    def value(self):
        """The only value of the only row."""
        assert len(self.rows) == 1 and len(self.rows[0]) == 1, self.rows
        return self.rows[0][0]

    @property
    def names(self):
        return [column.name for column in self.columns]

    def check(self):
        if self.errors:
            raise ServerError(self.errors[0])
        return self

    def add(self, message):
        self.messages.append(message)
        kind, body = message
        if kind == "T":
            self.columns = parse_row_description(body)
        elif kind == "D":
            self.rows.append(parse_data_row(body))
        elif kind == "C":
            self.tags.append(body.rstrip(b"\0").decode())
        elif kind == "E":
            self.errors.append(parse_fields(body))
        elif kind == "N":
            self.notices.append(parse_fields(body))
        elif kind == "d":
            self.copied.append(body)
        elif kind == "Z":
            self.status = body.decode()


def message(kind, body=b""):
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def forged(kind, length, body=b""):
    """A message whose header announces a length of its own choice, taken modulo 2^32."""
    kind = kind if isinstance(kind, bytes) else kind.encode()
    return kind + struct.pack("!I", length & 0xffffffff) + body


def cstring(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def startup_packet(parameters, version=PROTOCOL_3):
    body = struct.pack("!i", version)
    for name, value in parameters.items():
        body += cstring(name) + cstring(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def special_packet(code, extra=b""):
    return struct.pack("!ii", 8 + len(extra), code) + extra


def query(sql):
    return message("Q", cstring(sql))


def parse(sql, name="", types=()):
    return message("P", cstring(name) + cstring(sql) + struct.pack("!h", len(types))
                   + b"".join(struct.pack("!I", oid) for oid in types))


def bind(values=(), name="", portal=""):
    body = cstring(portal) + cstring(name) + struct.pack("!hh", 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            data = str(value).encode()
            body += struct.pack("!i", len(data)) + data
    return message("B", body + struct.pack("!h", 0))


def describe(kind="P", name=""):
    return message("D", kind.encode() + cstring(name))


def execute(portal="", limit=0):
    return message("E", cstring(portal) + struct.pack("!i", limit))


def close(kind="S", name=""):
    return message("C", kind.encode() + cstring(name))


def sync():
    return message("S")


def flush():
    return message("H")


def extended(sql, values=()):
    """Parse, Bind, Describe, Execute of the unnamed statement, without Sync."""
    return parse(sql) + bind(values) + describe() + execute()


def copy_data(data):
    return message("d", data)


def copy_done():
    return message("c")


def copy_fail(text="stopped"):
    return message("f", cstring(text))


def terminate():
    return message("X")


def parse_fields(body):
    """The fields of an ErrorResponse or NoticeResponse."""
    assert body.endswith(b"\0\0"), "fields without their end: %r" % body
    fields = {}
    for part in body[:-2].split(b"\0"):
        fields[part[:1].decode()] = part[1:].decode(errors="replace")
    return fields


def parse_row_description(body):
    (count,) = struct.unpack_from("!h", body)
    place, columns = 2, []
    for _ in range(count):
        end = body.index(b"\0", place)
        name = body[place:end].decode()
        columns.append(Column(name, *struct.unpack_from("!ihihih", body, end + 1)))
        place = end + 19
    assert place == len(body), "bytes behind a RowDescription"
    return columns


def parse_data_row(body):
    (count,) = struct.unpack_from("!h", body)
    place, values = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, place)
        place += 4
        if length < 0:
            values.append(None)
        else:
            values.append(body[place:place + length].decode(errors="surrogateescape"))
            place += length
    assert place == len(body), "bytes behind a DataRow"
    return values


def parse_parameter(body):
    name, value, rest = body.split(b"\0", 2)
    assert rest == b""
    return name.decode(), value.decode()


def md5_answer(password, user, salt):
    """`password` may be a stored md5 secret."""
    if not (password.startswith("md5") and len(password) == 35):
        password = md5_secret(user, password)
    return "md5" + hashlib.md5(password[3:].encode() + salt).hexdigest()


def md5_secret(user, password):
    return "md5" + hashlib.md5((password + user).encode()).hexdigest()


def scram_secret(password, iterations=4096, salt=None):
    """The stored form, as in pg_authid and userlist.txt."""
    salt = salt if salt is not None else os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (
        iterations, base64.b64encode(salt).decode(),
        base64.b64encode(hashlib.sha256(client_key).digest()).decode(),
        base64.b64encode(server_key).decode())


class Scram:
    """The client side of SCRAM-SHA-256. Its parts may be changed by a test before they are sent."""

    def __init__(self, password, gs2="n,,", user=""):
        self.password = password
        self.gs2 = gs2
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.first_bare = "n=%s,r=%s" % (user, self.nonce)
        self.server_first = None
        self.attributes = {}

    def first(self):
        return (self.gs2 + self.first_bare).encode()

    def final(self, server_first):
        self.server_first = server_first.decode()
        self.attributes = dict(part.split("=", 1) for part in self.server_first.split(","))
        assert self.attributes["r"].startswith(self.nonce) and self.attributes["r"] != self.nonce
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(self.attributes["s"]),
                                     int(self.attributes["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        without_proof = "c=%s,r=%s" % (base64.b64encode(self.gs2.encode()).decode(),
                                       self.attributes["r"])
        auth = ",".join((self.first_bare, self.server_first, without_proof)).encode()
        signature = hmac.digest(stored_key, auth, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.server_signature = hmac.digest(server_key, auth, "sha256")
        return (without_proof + ",p=" + base64.b64encode(proof).decode()).encode()

    def verify(self, server_final):
        assert server_final == b"v=" + base64.b64encode(self.server_signature)


class Connection:
    """A socket with message framing; both the client and the fake server stand on it."""

    def __init__(self, sock, timeout=TIMEOUT):
        self.sock = sock
        self.sock.settimeout(timeout)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, kind, body=b""):
        self.send_raw(message(kind, body))

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the peer closed the connection")
        self.buffer += data

    def read_bytes(self, count):
        while len(self.buffer) < count:
            self.fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read(self):
        """The next message. EOFError at the end."""
        head = self.read_bytes(5)
        (length,) = struct.unpack("!i", head[1:])
        assert length >= 4, "a message of length %d" % length
        return Message(head[:1].decode("latin-1"), self.read_bytes(length - 4))

    def expect(self, kind):
        got = self.read()
        if got.type == "E" and kind != "E":
            raise ServerError(parse_fields(got.body))
        assert got.type == kind, "expected %r, got %r" % (kind, got)
        return got

    def has_data(self, seconds=0.0):
        """True if bytes (or the end) arrive within that time."""
        if self.buffer or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def expect_silence(self, seconds=0.15):
        assert not self.has_data(seconds), "unexpected: %r" % (
            bytes(self.buffer) + self.sock.recv(4096, socket.MSG_PEEK))

    def expect_eof(self):
        """The end, with nothing before it."""
        try:
            data = bytes(self.buffer) or self.sock.recv(4096)
        except ConnectionResetError:
            return
        assert data == b"", "expected the end, got %r" % data

    def is_closed(self):
        """True if the peer has closed and nothing is unread."""
        if self.buffer or not self.has_data():
            return False
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except ConnectionResetError:
            return True

    def reset(self):
        """Ends with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Client(Connection):
    """A client. Connects at once; says nothing until told."""

    def __init__(self, host, port, timeout=TIMEOUT):
        if host.startswith("/"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address = "%s/.s.PGSQL.%d" % (host, port)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                                 socket.SOCK_STREAM)
            address = (host, port)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        self.host, self.port = host, port
        self.parameters = {}
        self.parameter_order = []
        self.key = None
        self.auth_codes = []
        self.login_messages = []
        super().__init__(sock, timeout)

    def startup(self, user, database=None, version=PROTOCOL_3, **parameters):
        wanted = {"user": user}
        if database is not None:
            wanted["database"] = database
        wanted.update(parameters)
        self.user = user
        self.send_raw(startup_packet(wanted, version))

    def authenticate(self, password=""):
        """Answers the server's questions up to AuthenticationOk."""
        scram = None
        while True:
            if self.peek_type() == "v":
                self.negotiation = self.read()
            got = self.expect("R")
            (code,) = struct.unpack_from("!i", got.body)
            self.auth_codes.append(code)
            if code == 0:
                return
            if code == 3:
                self.send("p", cstring(password))
            elif code == 5:
                self.send("p", cstring(md5_answer(password, self.user, got.body[4:8])))
            elif code == 10:
                self.mechanisms = [m.decode() for m in got.body[4:].split(b"\0") if m]
                scram = Scram(password)
                first = scram.first()
                self.send("p", cstring("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first)
            elif code == 11:
                self.scram = scram
                self.send("p", scram.final(got.body[4:]))
            elif code == 12:
                scram.verify(got.body[4:])
            else:
                raise AssertionError("authentication request %d" % code)

    def peek_type(self):
        while not self.buffer:
            self.fill()
        return chr(self.buffer[0])

    def welcome(self):
        """Reads what follows AuthenticationOk, up to ReadyForQuery."""
        while True:
            got = self.read()
            self.login_messages.append(got)
            if got.type == "E":
                raise ServerError(parse_fields(got.body))
            if got.type == "S":
                name, value = parse_parameter(got.body)
                self.parameters[name] = value
                self.parameter_order.append(name)
            elif got.type == "K":
                self.key = got.body
            elif got.type == "Z":
                return self

    def login(self, user, database=None, password="", **parameters):
        self.startup(user, database, **parameters)
        self.authenticate(password)
        return self.welcome()

    def result(self):
        """Everything up to the next ReadyForQuery."""
        result = Result()
        while result.status is None:
            got = self.read()
            if got.type == "S":
                name, value = parse_parameter(got.body)
                self.parameters[name] = value
            result.add(got)
            if got.type == "G" or got.type == "W":
                return result
        return result

    def query(self, sql):
        """A simple Query and its answer; ErrorResponses are raised."""
        self.send_raw(query(sql))
        return self.result().check()

    def value(self, sql):
        return self.query(sql).value

    def execute(self, sql, values=()):
        """The same by the extended protocol."""
        self.send_raw(extended(sql, values) + sync())
        return self.result().check()

    def expect_error(self, text, severity="FATAL", sqlstate="08P01", end=True):
        """
        The next message, notices and parameters apart, is this ErrorResponse. A FATAL one is
        followed by the end.
        """
        while True:
            got = self.read()
            if got.type not in "NS":
                break
        assert got.type == "E", "expected the error %r, got %r" % (text, got)
        fields = parse_fields(got.body)
        assert (fields["S"], fields["C"], fields["M"]) == (severity, sqlstate, text)
        if end and severity == "FATAL":
            self.expect_eof()
        return fields

    def expect_any_error(self):
        while True:
            got = self.read()
            if got.type == "E":
                return parse_fields(got.body)

    def wait_closed(self, seconds=TIMEOUT):
        """Reads until the end and returns the last messages."""
        seen, deadline = [], time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                seen.append(self.read())
        except (EOFError, ConnectionResetError):
            return seen
        raise AssertionError("still open: %r" % seen[-3:])

    def terminate(self):
        try:
            self.send_raw(terminate())
        finally:
            self.close()

    def cancel(self, key=None, wait=True):
        """Sends a CancelRequest on a connection of its own; returns when that is closed."""
        other = Client(self.host, self.port)
        other.send_raw(special_packet(CANCEL_REQUEST, self.key if key is None else key))
        if wait:
            other.expect_eof()
            other.close()
            return None
        return other
