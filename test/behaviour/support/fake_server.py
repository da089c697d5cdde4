"""
A scripted PostgreSQL: a thread that accepts connections and runs a function for each.

The script gets a `ServerSide` and does what it likes: log the client in properly, badly or never,
answer queries with canned bytes, or fall silent. Everything that arrives is recorded.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import struct
import threading
import time

from support import wire

PARAMETERS = {
    "server_version": "15.0 (fake)",
    "server_encoding": "UTF8",
    "integer_datetimes": "on",
    "is_superuser": "off",
    "session_authorization": "fake",
    "IntervalStyle": "postgres",
    "DateStyle": "ISO, MDY",
    "client_encoding": "UTF8",
    "TimeZone": "GMT",
    "standard_conforming_strings": "on",
    "application_name": "",
}


def error_body(text, severity="FATAL", sqlstate="XX000"):
    return (b"S" + wire.cstring(severity) + b"V" + wire.cstring(severity)
            + b"C" + wire.cstring(sqlstate) + b"M" + wire.cstring(text) + b"\0")


def parameter_status(name, value):
    return wire.message("S", wire.cstring(name) + wire.cstring(value))


def row_description(*names):
    body = struct.pack("!h", len(names))
    for name in names:
        body += wire.cstring(name) + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return wire.message("T", body)


def data_row(*values):
    body = struct.pack("!h", len(values))
    for value in values:
        data = str(value).encode()
        body += struct.pack("!i", len(data)) + data
    return wire.message("D", body)


def command_complete(tag="SELECT 1"):
    return wire.message("C", wire.cstring(tag))


def ready(status="I"):
    return wire.message("Z", status.encode())


def answer(value, status="I"):
    """A whole answer to a simple query."""
    return row_description("value") + data_row(value) + command_complete() + ready(status)


class ServerSide(wire.Connection):
    """One accepted connection."""

    def __init__(self, sock, number, server):
        super().__init__(sock)
        self.number = number
        self.server = server
        self.startup = {}
        self.is_cancel = False
        self.cancel_key = None
        self.received = []
        self.key = struct.pack("!ii", 1000 + number, 77000 + number)

    def read(self):
        got = super().read()
        self.received.append(got)
        return got

    def read_startup(self):
        """The startup parameters; encryption requests are declined."""
        while True:
            length, code = struct.unpack("!ii", self.read_bytes(8))
            body = self.read_bytes(length - 8)
            if code in (wire.SSL_REQUEST, wire.GSS_REQUEST):
                self.send_raw(b"N")
                continue
            if code == wire.CANCEL_REQUEST:
                self.is_cancel = True
                self.cancel_key = body
                return None
            assert code >> 16 == 3, "protocol %d" % code
            self.version = code
            words = body.rstrip(b"\0").split(b"\0") + [b""]
            self.startup = {words[i].decode(): words[i + 1].decode()
                            for i in range(0, len(words) - 1, 2)}
            self.startup_order = [words[i].decode() for i in range(0, len(words) - 1, 2)]
            return self.startup

    def ask_cleartext(self):
        self.send("R", struct.pack("!i", 3))
        return self.read().body.rstrip(b"\0").decode()

    def ask_md5(self, salt=b"salt"):
        self.send("R", struct.pack("!i", 5) + salt)
        return self.read().body.rstrip(b"\0").decode()

    def ask_scram(self, secret, signature=None):
        """Runs SCRAM against a stored verifier; `signature` replaces the right one."""
        _, rest, keys = secret.split("$")
        iterations, salt = rest.split(":")
        stored_key, server_key = (base64.b64decode(key) for key in keys.split(":"))
        self.send("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")
        first = self.read().body
        bare = first[first.index(b"\0") + 5:].decode().split(",", 2)[2]
        nonce = dict(part.split("=", 1) for part in bare.split(","))["r"]
        nonce += base64.b64encode(os.urandom(18)).decode()
        server_first = "r=%s,s=%s,i=%s" % (nonce, salt, iterations)
        self.send("R", struct.pack("!i", 11) + server_first.encode())
        without_proof, proof = self.read().body.decode().rsplit(",p=", 1)
        auth = ",".join((bare, server_first, without_proof)).encode()
        signed = hmac.digest(stored_key, auth, "sha256")
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signed))
        right = hashlib.sha256(key).digest() == stored_key
        verdict = signature or hmac.digest(server_key, auth, "sha256")
        self.send("R", struct.pack("!i", 12) + b"v=" + base64.b64encode(verdict))
        return right

    def welcome(self, parameters=None, status="I"):
        data = wire.message("R", struct.pack("!i", 0))
        for name, value in (PARAMETERS if parameters is None else parameters).items():
            data += parameter_status(name, value)
        self.send_raw(data + wire.message("K", self.key) + ready(status))

    def log_in(self, parameters=None):
        """A plain trusting login. False if it was a cancel request instead."""
        if self.read_startup() is None:
            return False
        self.welcome(parameters)
        return True

    def serve(self, answer_query):
        """Answers simple queries until the end: `answer_query(self, sql)` gives bytes or None."""
        while True:
            got = self.read()
            if got.type == "X":
                return
            if got.type == "Q":
                data = answer_query(self, got.body[:-1].decode())
                if data is not None:
                    self.send_raw(data)

    def queries(self):
        return [got.body[:-1].decode() for got in self.received if got.type == "Q"]

    def send_error(self, text, severity="FATAL", sqlstate="XX000"):
        self.send("E", error_body(text, severity, sqlstate))


def serve_number(side):
    """The default script: the answer to every query is the number of the connection."""
    if side.log_in():
        side.serve(lambda side, sql: answer(side.number))


class FakeServer:
    """Runs `script(side)` for every connection; `script` may be changed at any time."""

    def __init__(self, script=serve_number, port=0, host="127.0.0.1"):
        self.host = host
        self.script = script
        self.sides = []
        self.failures = []
        self.lock = threading.Lock()
        self.listener = None
        self.listen(port)

    def listen(self, port=0):
        self.listener = socket.create_server((self.host, port), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.stopping = False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.stopping:
                sock.close()
                return
            with self.lock:
                side = ServerSide(sock, len(self.sides) + 1, self)
                self.sides.append(side)
            threading.Thread(target=self._run, args=(side,), daemon=True).start()

    def _run(self, side):
        try:
            self.script(side)
        except (EOFError, OSError):
            pass
        except Exception as failure:
            self.failures.append(failure)
        finally:
            with contextlib.suppress(OSError):
                side.close()
            side.ended = time.monotonic()

    @property
    def logged_in(self):
        """The connections that were not cancel requests."""
        return [side for side in self.sides if side.startup]

    @property
    def cancels(self):
        return [side.cancel_key for side in self.sides if side.is_cancel]

    def queries(self):
        return [sql for side in self.sides for sql in side.queries()]

    def stop_listening(self):
        """New connections are refused; the open ones go on."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)

    def close(self):
        self.stop_listening()
        for side in self.sides:
            with contextlib.suppress(OSError):
                side.sock.shutdown(socket.SHUT_RDWR)
            side.close()
        if self.failures:
            raise self.failures[0]
