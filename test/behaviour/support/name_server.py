"""A name server on loopback whose answers a test may change, delay or spoil at any time."""

import contextlib
import os
import random
import shutil
import socket
import struct
import tempfile
import threading
import time

import pytest

from support.process import give_away

A, CNAME, AAAA = 1, 5, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def name_of(question):
    """The name and the type of the question, and where it ends."""
    labels, place = [], 12
    while question[place]:
        labels.append(question[place + 1:place + 1 + question[place]].decode())
        place += question[place] + 1
    (kind,) = struct.unpack_from("!H", question, place + 1)
    return ".".join(labels).lower(), kind, place + 5


def record(kind, data, ttl=60):
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def reply(question, records=(), code=NOERROR, flags=0x8180, change_id=False):
    _, _, end = name_of(question)
    number = question[:2] if not change_id else bytes(b ^ 0xff for b in question[:2])
    return (number + struct.pack("!HHHHH", flags | code, 1, len(records), 0, 0)
            + question[12:end] + b"".join(records))


def addresses(*texts, ttl=60):
    """Answers with these IPv4 and IPv6 addresses."""
    def answer(question, over_tcp):
        _, kind, _ = name_of(question)
        family = socket.AF_INET6 if kind == AAAA else socket.AF_INET
        found = [record(kind, socket.inet_pton(family, text), ttl) for text in texts
                 if (":" in text) == (kind == AAAA)]
        return reply(question, found)
    return answer


def fails(code):
    return lambda question, over_tcp: reply(question, code=code)


def silent(question, over_tcp):
    return None


class NameServer:
    """`answer(question, over_tcp)` gives the bytes of the answer, or None."""

    def __init__(self, answer):
        self.answer = answer
        self.delay = 0.0
        self.asked = []
        self.lock = threading.Lock()
        self.bind()
        self.tcp.listen(16)
        self.folder = tempfile.mkdtemp(prefix="pgweir-dns-")
        os.chmod(self.folder, 0o755)
        self.resolv_conf = os.path.join(self.folder, "resolv.conf")
        self.write_resolv_conf()
        for loop in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=loop, daemon=True).start()

    def bind(self):
        """Port 53, as resolv.conf knows no other, on a loopback address of our own."""
        draw = random.SystemRandom()
        while True:
            self.address = "127.%d.%d.%d" % tuple(draw.randrange(2, 250) for _ in range(3))
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.socket()
            try:
                self.udp.bind((self.address, 53))
                self.tcp.bind((self.address, 53))
                return
            except PermissionError:
                self.close()
                pytest.skip("port 53 needs root")
            except OSError:
                self.close()

    def write_resolv_conf(self, text=None):
        text = text if text is not None else "nameserver %s\n" % self.address
        with open(self.resolv_conf + ".new", "w", encoding="ascii") as file:
            file.write(text)
        give_away(self.resolv_conf + ".new")
        os.replace(self.resolv_conf + ".new", self.resolv_conf)

    def work(self, question, over_tcp, send):
        with self.lock:
            self.asked.append((name_of(question)[0], over_tcp, time.monotonic()))
        data = self.answer(question, over_tcp)
        if self.delay:
            time.sleep(self.delay)
        if data is not None:
            with contextlib.suppress(OSError):
                send(data)

    def serve_udp(self):
        while True:
            try:
                question, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not question:  # what recvfrom() gives after close()
                return
            threading.Thread(target=self.work, daemon=True, args=(
                question, False, lambda data, peer=peer: self.udp.sendto(data, peer))).start()

    def serve_tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_one, args=(sock,), daemon=True).start()

    def serve_one(self, sock):
        with sock, contextlib.suppress(OSError, struct.error):
            while True:
                head = sock.recv(2, socket.MSG_WAITALL)
                (size,) = struct.unpack("!H", head)
                question = sock.recv(size, socket.MSG_WAITALL)
                self.work(question, True, lambda data: sock.sendall(
                    struct.pack("!H", min(len(data), 65535)) + data))

    def questions(self, name):
        with self.lock:
            return [when for asked, _, when in self.asked if asked == name]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        for sock in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
