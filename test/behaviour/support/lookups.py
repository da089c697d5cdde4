"""auth_query: its question, and a scripted server that answers it."""

import struct
import threading

from support import wire
from support.fake_server import command_complete, ready, row_description

ASKER = "asker"
FROM_TABLE = "SELECT name, secret FROM logins WHERE name = $1"


def prepare(pg):
    """
    Makes the role that asks, a superuser, and an empty table of secrets in p0 and p1. Returns
    set_secret(name, secret, dbname).
    """
    for database in ("p0", "p1"):
        pg.sql("CREATE TABLE IF NOT EXISTS logins (name text PRIMARY KEY, secret text)",
               dbname=database)
        pg.sql("TRUNCATE logins; GRANT ALL ON logins TO public", dbname=database)
    if not pg.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (ASKER,)):
        pg.create_role(ASKER, options="LOGIN SUPERUSER")

    def set_secret(name, secret, dbname="p0"):
        pg.sql("INSERT INTO logins VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET"
               " secret = excluded.secret", (name, secret), dbname=dbname)
    return set_secret


def row(*values):
    """A DataRow; None is NULL, bytes are taken as they are."""
    body = struct.pack("!h", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
            continue
        data = value if isinstance(value, bytes) else value.encode()
        body += struct.pack("!i", len(data)) + data
    return wire.message("D", body)


PREPARED = wire.message("1") + wire.message("2")
COLUMNS = row_description("usename", "passwd")


def found(*rows, columns=COLUMNS):
    """A whole answer with these rows, such as found(("bob", "bob-pw"))."""
    return (PREPARED + columns + b"".join(row(*values) for values in rows)
            + command_complete("SELECT %d" % len(rows)) + ready())


class Answers:
    """
    The script of a server that knows secrets: `secrets` by name. `odd` may give the bytes (or None
    for silence) to answer a name with; `release` holds all answers while it is cleared.
    """

    def __init__(self, secrets=None):
        self.secrets = dict(secrets or {})
        self.odd = {}
        self.asked = []
        self.release = threading.Event()
        self.release.set()

    def __call__(self, side):
        if not side.log_in():
            return
        while True:
            got = side.read()
            if got.type == "X":
                return
            if got.type == "Q":  # a reset or a check
                side.send_raw(command_complete("DISCARD ALL") + ready())
            elif got.type == "B":
                self.answer(side, got.body)

    def answer(self, side, body):
        assert body[:6] == b"\0\0" + struct.pack("!hh", 0, 1)  # unnamed, one parameter as text
        (length,) = struct.unpack_from("!i", body, 6)
        name = body[10:10 + length].decode()
        while side.read().type != "S":
            pass
        self.asked.append(name)
        self.release.wait()
        if name in self.odd:
            data = self.odd[name]
            if data is not None:
                side.send_raw(data)
        else:
            secret = self.secrets.get(name)
            side.send_raw(found((name, secret)) if secret is not None else found())
