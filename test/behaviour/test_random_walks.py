"""
Hundreds of clients that pick random moves, legal and illegal, in pools of a few servers, while
servers are killed and the console pauses, reconnects and changes settings. The oracle is a model of
each session (support/session_model.py): every answer belongs to its question, nobody sees what
another client has set, written or left behind, what was committed is there and nothing else.

A run says its seed, and a finding also the last moves of its client. For long runs:

    PGWEIR_WALK_STEPS=1000000   go on until so many steps were made, instead of for a few seconds
    PGWEIR_WALK_SEED=7          this seed instead of a random one
    PGWEIR_WALK_CLIENTS=1000    instead of 300

A step is a question or another move. One process drives all clients; what they do is drawn from the
seed, the order in which they get to do it is not.
"""

import collections
import heapq
import itertools
import os
import random
import re
import select
import socket
import struct
import time

import pytest

from support import session_model as model
from support import truth, wire
from support.crowd import allow_descriptors
from support.process import SLACK
from support.session_model import Finding

SECONDS = 3.0
STEPS = int(os.environ.get("PGWEIR_WALK_STEPS", "0"))
CLIENTS = int(os.environ.get("PGWEIR_WALK_CLIENTS", "300"))
SEED = int(os.environ.get("PGWEIR_WALK_SEED", "0")) or random.randrange(1, 10 ** 6)

PATIENCE = 30.0 * SLACK  # nobody waits longer for an answer
RESET = struct.pack("ii", 1, 0)

# Of each database its pool mode, and the share of the clients that walk there.
MODES = {"p0": "transaction", "p1": "statement", "p2": "session", "p3": "transaction"}
SHARES = {"p0": 45, "p1": 20, "p2": 5, "p3": 30}

VALUES = {"TimeZone": ("GMT", "Europe/Berlin", "Asia/Tokyo", "America/New_York"),
          "DateStyle": ("ISO, MDY", "SQL, DMY", "German, DMY", "Postgres, YMD"),
          "client_encoding": ("UTF8", "LATIN1", "UTF8"),
          "standard_conforming_strings": ("on", "off")}

SETTINGS = {"default_pool_size": (2, 3, 4), "max_prepared_statements": (1, 2, 20, 200),
            "server_round_robin": (0, 1), "server_check_delay": (0, 30),
            "server_reset_query_always": (0, 1), "server_idle_timeout": (1, 600),
            "server_lifetime": (1, 3600), "server_reset_query_mode": ("always-in-session", "smart")}

GARBAGE = (b"\0" * 12, wire.message("!", b"what"), wire.message("w"), wire.forged("Q", 3),
           wire.forged("Q", -1), wire.forged("P", 0x80000000), b"\x16\x03\x01\x02\0\1" + b"\0" * 20)


# The loop

class Crowd:
    """All connections of this process, what is to be done when, and what has been counted."""

    def __init__(self):
        self.epoll = select.epoll()
        self.peers = {}
        self.timers, self.order = [], itertools.count()
        self.runnable = collections.deque()
        self.book = model.Book()
        self.disturbances = collections.deque(maxlen=8)
        self.steps = 0
        self.ending = False
        self.kills, self.deaths = collections.Counter(), collections.Counter()

    def later(self, seconds, task):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), task))

    def turn(self):
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()
        for _ in range(len(self.runnable)):
            self.runnable.popleft()()
        pause = 0.05
        if self.runnable:
            pause = 0
        elif self.timers:
            pause = min(pause, max(0.0, self.timers[0][0] - time.monotonic()))
        for fd, events in self.epoll.poll(pause):
            peer = self.peers.get(fd)
            if peer is not None:
                peer.handle(events)

    def run(self, until):
        look = time.monotonic() + 1
        while not until():
            self.turn()
            if time.monotonic() > look:
                look = time.monotonic() + 1
                for peer in list(self.peers.values()):
                    peer.check_patience()


class Peer:
    """A connection in the crowd."""

    def __init__(self, crowd, port):
        self.crowd = crowd
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(("127.0.0.1", port))
        self.out, self.unread = b"", b""
        self.reads = True
        self.wanted = select.EPOLLIN | select.EPOLLOUT
        self.fd = self.sock.fileno()
        self.connected = False
        crowd.peers[self.fd] = self
        crowd.epoll.register(self.fd, self.wanted)

    @property
    def is_open(self):
        return self.fd >= 0

    def want(self):
        wanted = (select.EPOLLIN if self.reads else 0) | (
            select.EPOLLOUT if self.out or not self.connected else 0)
        if wanted != self.wanted:
            self.wanted = wanted
            self.crowd.epoll.modify(self.fd, wanted)

    def write(self, data):
        self.out += data
        if self.connected:
            self.drain()

    def drain(self):
        try:
            self.out = self.out[self.sock.send(self.out):]
        except BlockingIOError:
            pass
        except OSError:
            self.out = b""  # the end is read behind what the pooler had to say
        self.want()

    def read_again(self, reads=True):
        if self.is_open:
            self.reads = reads
            self.want()

    def handle(self, events):
        if events & select.EPOLLOUT and not self.connected:
            self.connected = True
            self.drain()
        elif events & select.EPOLLOUT:
            self.drain()
        if events & ~select.EPOLLOUT:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.received(data)
            else:
                self.close()
                self.ended()

    def received(self, data):
        data = self.unread + data if self.unread else data
        place, size = 0, len(data)
        while size - place >= 5 and self.is_open:
            length = int.from_bytes(data[place + 1:place + 5], "big")
            if length < 4:
                raise Finding("a message of length %d" % length)
            if size - place <= length:
                break
            self.message(chr(data[place]), data[place + 5:place + 1 + length])
            place += 1 + length
        self.unread = data[place:]

    def close(self, reset=False):
        if not self.is_open:
            return
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        del self.crowd.peers[self.fd]
        self.fd = -1
        self.sock.close()

    def message(self, kind, body):
        raise Finding("%s %r" % (kind, body))

    def ended(self):
        pass

    def check_patience(self):
        pass


class Cancel(Peer):
    """A cancel request for the client of this session; None: nobody has this key."""

    def __init__(self, crowd, port, session, key):
        super().__init__(crowd, port)
        self.session = session
        if session:
            session.cancel_begins()
        self.write(wire.special_packet(wire.CANCEL_REQUEST, key))

    def received(self, data):
        raise Finding("a cancel request was answered: %r" % data)

    def ended(self):
        if self.session:
            self.session.cancel_ends()


# Whoever disturbs

class Admin(Peer):
    """A session of the console, or of a superuser past the pooler: one command after another."""

    def __init__(self, crowd, port, user, database):
        super().__init__(crowd, port)
        self.is_busy, self.may_fail = True, False
        self.write(wire.startup_packet({"user": user, "database": database}))

    def run(self, sql, may_fail=False):
        self.is_busy, self.may_fail, self.sql = True, may_fail, sql
        self.crowd.steps += 1
        self.crowd.disturbances.append("%.3f %s" % (time.time() % 60, sql[:60]))
        self.write(wire.query(sql))

    def message(self, kind, body):
        if kind == "E" and not self.may_fail:
            raise Finding("%s: %r" % (self.sql, wire.parse_fields(body)))
        if kind == "Z":
            self.is_busy = False

    def ended(self):
        raise Finding("the console, or PostgreSQL, has closed its connection")


class Disturbances:
    """
    What an administrator may do, many times a second. `kills` turns true when servers may die.
    """

    def __init__(self, crowd, pooler, pg, draw):
        self.crowd, self.draw = crowd, draw
        self.pausing = Admin(crowd, pooler.port, "admin", "pgbouncer")
        self.console = Admin(crowd, pooler.port, "admin", "pgbouncer")
        self.superuser = Admin(crowd, pg.port, pg.superuser, "p0")
        self.kills = False
        self.paused = None
        self.act()

    def act(self):
        if self.crowd.ending:
            self.resume()
            return
        self.crowd.later(self.draw.uniform(0.01, 0.1), self.act)
        choice = self.draw.randrange(10)
        if choice < 3 and not self.superuser.is_busy:
            if self.kills and self.draw.randrange(4):
                self.kill(self.draw.choice(list(MODES)))
            else:
                self.change_table()
        elif choice == 3 and self.paused is None and not self.pausing.is_busy:
            self.paused = self.draw.choice(["p0", "p1", "p3"])
            self.pausing.run("PAUSE " + self.paused, may_fail=True)
            self.crowd.later(self.draw.uniform(0, 0.05), self.resume)
        elif not self.console.is_busy:
            self.console.run(self.command())

    def command(self):
        choice = self.draw.randrange(12)
        if choice == 0:
            return "RELOAD"
        if choice < 4:
            return "RECONNECT " + self.draw.choice(list(MODES))
        name = self.draw.choice(list(SETTINGS))
        return "SET %s = '%s'" % (name, self.draw.choice(SETTINGS[name]))

    def resume(self):
        if self.paused is None:
            return
        if self.console.is_busy:
            self.crowd.later(0.002, self.resume)
            return
        self.console.run("RESUME " + self.paused)
        self.paused = None

    def change_table(self):
        self.superuser.run("SET lock_timeout = 100; ALTER TABLE changing " + self.draw.choice(
            ["ADD IF NOT EXISTS %s int", "DROP IF EXISTS %s"]) % self.draw.choice("ab"),
            may_fail=True)

    def kill(self, database):
        self.crowd.kills[database] += 1
        self.superuser.run(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname"
            " = '%s' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one" % database)


# The clients

class Connection(Peer):
    """One session of a walker."""

    def __init__(self, walker, parameters):
        super().__init__(walker.crowd, walker.port)
        self.walker, self.wanted_parameters = walker, parameters
        self.session, self.key, self.told = None, None, {}
        self.quiet_since = time.monotonic()
        self.write(wire.startup_packet({"user": "bob", "database": walker.database, **parameters}))

    def message(self, kind, body):
        self.quiet_since = time.monotonic()
        if self.session:
            self.session.take(kind, body)
            if self.session.is_settled:
                self.walker.settled()
        elif kind == "S":
            name, value = wire.parse_parameter(body)
            self.told[name] = value
        elif kind == "K":
            self.key = body
        elif kind == "Z":
            self.begin()
        elif kind != "R":
            raise Finding("at login: %s %r" % (kind, body))

    def begin(self):
        for name, value in self.wanted_parameters.items():
            if self.told.get(name) != value:
                raise Finding("login with %s = %r told %r" % (name, value, self.told.get(name)))
        self.session = model.Session(MODES[self.walker.database], self.told, self.crowd.book)
        self.walker.logged_in()

    def received(self, data):
        try:
            super().received(data)
        except Finding as finding:
            raise self.walker.finding(finding) from None

    def ended(self):
        try:
            self.walker.ended()
        except Finding as finding:
            raise self.walker.finding(finding) from None

    def check_patience(self):
        waits = (self.session is None or self.session.doomed or not self.session.is_settled
                 or self.walker.is_half_closed)
        if waits and self.reads and time.monotonic() - self.quiet_since > PATIENCE:
            raise self.walker.finding("no answer for %g s" % PATIENCE)


class Walker:
    """A client: walks from session to session, and in them from move to move."""

    def __init__(self, crowd, port, number, database, seed):
        self.crowd, self.port, self.number, self.database = crowd, port, number, database
        self.draw = random.Random("%d %d" % (seed, number))
        self.mode = MODES[database]
        self.trace = collections.deque(maxlen=40)
        self.connection = None
        self.is_walking = False
        self.connect()

    def finding(self, what):
        session = self.connection.session
        return Finding(
            "client %d in %s (%s): %s\nin block %s, the question and those behind it: %r\n"
            "last moves:\n  %s\nlast disturbances (%.3f now):\n  %s" % (
                self.number, self.database, self.mode, what, session and session.block,
                session and [session.begun, *session.questions][:4], "\n  ".join(self.trace),
                time.time() % 60, "\n  ".join(self.crowd.disturbances)))

    def note(self, text):
        self.trace.append("%.3f %s" % (time.time() % 60, text[:120]))

    # Sessions

    def connect(self):
        if self.crowd.ending:
            self.connection = None
            return
        parameters = {}
        if self.draw.random() < 0.7:
            parameters["application_name"] = next(model.numbers)
        if self.draw.random() < 0.3:
            name = self.draw.choice(list(VALUES))
            parameters[name] = self.draw.choice(VALUES[name])
        self.note("connect %r" % parameters)
        self.connection = Connection(self, parameters)
        self.has_asked, self.rest, self.is_half_closed = False, [], False
        usual = 12 if self.mode == "session" else 40
        if self.draw.randrange(50) == 0:
            connection = self.connection
            self.crowd.later(self.draw.choice([0, 0.001]), lambda: self.leave_if(connection))
        self.moves_left = 1 + int(self.draw.expovariate(1 / usual))
        self.crowd.steps += 1

    @property
    def session(self):
        return self.connection.session

    def logged_in(self):
        self.is_walking = False
        self.settled()

    def ended(self):
        """The pooler has closed the connection."""
        session = self.session
        if session is None:
            raise Finding("the end at login")
        session.ends()
        if session.fatal in (None, "killed") and not session.doomed and not self.is_half_closed:
            self.note("the end")
            self.crowd.deaths[self.database] += 1
            if self.crowd.deaths[self.database] > self.crowd.kills[self.database]:
                raise Finding("it ends, and no server was killed (%r)" % session.fatal)
        self.reconnect()

    def leave(self):
        how = self.draw.randrange(5)
        self.note("leave %d" % how)
        if how == 4 and self.session and not self.is_half_closed:
            self.is_half_closed = True
            self.connection.sock.shutdown(socket.SHUT_WR)
            return
        if self.session:
            self.session.ends()
        if how < 2:
            self.connection.write(wire.terminate())
        self.connection.close(reset=how == 2)
        self.crowd.steps += 1
        self.reconnect()

    def reconnect(self):
        self.crowd.later(self.draw.choice([0, 0, 0.005, 0.02]), self.connect)

    def leave_if(self, connection):
        if connection is self.connection and connection.is_open:
            self.leave()

    # Moves

    def settled(self):
        """All is answered. The next move comes soon."""
        if (self.is_walking or self.rest or not self.connection.is_open or self.session.doomed
                or self.is_half_closed):
            return
        self.is_walking = True
        connection = self.connection
        pause = self.draw.random()
        if pause < (0.05 if self.session.block == "I" else 0.01):
            self.crowd.later(0.2 * pause, lambda: self.move(connection))
        else:
            self.crowd.runnable.append(lambda: self.move(connection))

    def move(self, connection, overlaps=False):
        if connection is not self.connection or not connection.is_open:
            return
        self.is_walking = False
        session = self.session
        if session.fatal or self.rest or self.is_half_closed:
            return
        if session.is_settled:
            self.plan, self.names = session.block, set(filter(None, session.prepared))
            self.savepoints = [saved[0] for saved in session.savepoints]
            self.portals = [name for name in session.portals if name]
        elif not overlaps:
            return
        if self.moves_left <= 0 or self.crowd.ending:
            self.leave()
            return
        self.moves_left -= 1
        asked = session.asked
        self.data = []
        self.goes_on, self.may_cancel, self.is_slow = True, False, False
        if self.mode == "session" and not self.has_asked:
            self.simple(model.ask_clean())
        else:
            for _ in range(self.draw.choice([1, 1, 1, 2, 3, 5])):
                self.draw.choices(*MOVES[self.plan])[0](self)
                if not self.goes_on:
                    break
        self.has_asked = True
        self.crowd.steps += session.asked - asked
        self.send(b"".join(self.data))

    def send(self, data):
        connection, draw = self.connection, self.draw
        connection.quiet_since = time.monotonic()
        luck = draw.random()
        if luck < 0.1 and len(data) > 1:
            cuts = sorted(draw.choices(range(1, len(data)), k=draw.choice([1, 1, 2, 9])))
            self.note("  in pieces")
            self.rest = [data[begin:end] for begin, end in zip(cuts, cuts[1:] + [len(data)])]
            connection.write(data[:cuts[0]])
            self.crowd.later(draw.choice([0, 0.001, 0.01]), lambda: self.send_rest(connection))
        else:
            connection.write(data)
            if luck < 0.25 and self.goes_on:
                self.crowd.later(draw.choice([0, 0.001]), lambda: self.move(connection, True))
        if luck > 0.995:
            self.note("  vanish")
            self.crowd.later(draw.choice([0, 0, 0.001, 0.01]), lambda: self.leave_if(connection))
        if self.is_slow:
            self.note("  read later")
            connection.read_again(False)
            self.crowd.later(draw.uniform(0, 0.1), connection.read_again)
        if self.may_cancel or luck > 0.985:
            for _ in range(draw.choice([1, 1, 1, 2])):
                self.crowd.later(draw.choice([0, 0, 0.002, 0.02]), lambda: self.cancel(connection))
        if self.session.is_settled:
            self.settled()

    def send_rest(self, connection):
        if connection is self.connection and connection.is_open and not self.is_half_closed:
            connection.quiet_since = time.monotonic()
            connection.write(self.rest.pop(0))
            if self.rest:
                self.crowd.later(self.draw.choice([0, 0.001]), lambda: self.send_rest(connection))
            elif self.session.is_settled:
                self.settled()

    def cancel(self, connection):
        if connection is self.connection and connection.is_open:
            self.note("cancel, %d of %d answered" % (self.session.answered, self.session.asked))
            Cancel(self.crowd, self.port, self.session, connection.key)
            self.crowd.steps += 1

    # The simple protocol

    def simple(self, *statements):
        sql = "; ".join(statement.sql for statement in statements)
        self.note(sql)
        self.data.append(wire.query(sql))
        self.session.ask("query", *statements)

    def move_value(self):
        self.simple(model.ask_value())

    def move_rows(self):
        self.simple(model.ask_rows(self.draw.choice([2, 5, 40])))

    def move_large(self):
        self.is_slow = self.draw.random() < 0.7
        self.simple(model.ask_rows(*self.draw.choice([(30, 3000), (200, 5000), (3, 200000)])))

    def move_sleep(self):
        self.may_cancel = self.draw.random() < 0.8
        self.simple(model.ask_slowly(self.draw.choice([0.001, 0.01, 0.03])))

    def move_cancel_nothing(self):
        connection = self.connection
        if self.draw.randrange(3):
            self.cancel(connection)
        else:
            self.note("cancel of nobody")
            Cancel(self.crowd, self.port, None, self.draw.randbytes(8))
            self.crowd.steps += 1

    def failed(self):
        """What the block is after a statement that fails."""
        if self.plan == "T":
            self.plan = "E"

    def move_fail(self):
        self.simple(model.fail())
        self.failed()

    def move_several(self):
        make = self.draw.choice([
            lambda: [model.ask_value(), model.ask_value()],
            lambda: [model.insert(), model.ask_value()],
            lambda: [model.insert(), model.ask_settings()],
            lambda: [model.ask_value(), model.fail(), model.ask_value()],
            lambda: [model.insert(), self.new_setting(), model.fail()]])
        statements = make()
        self.simple(*statements)
        if any(statement.kind == "fail" for statement in statements):
            self.failed()

    def move_insert(self):
        self.simple(model.insert())

    def move_empty(self):
        self.simple(model.Statement("empty", self.draw.choice(["", " ", "-- nothing"])))

    def move_settings(self):
        self.simple(model.ask_settings())

    def new_setting(self):
        choice = self.draw.randrange(8)
        if choice < 3:
            return model.set_parameter("application_name", next(model.numbers) + self.draw.choice(
                ["", "", "'", "\\", "\\'; --", '"\\\\ x']))
        if choice == 3:
            return model.set_parameter("IntervalStyle", "iso_8601", local=True)
        name = self.draw.choice(list(VALUES))
        return model.set_parameter(name, self.draw.choice(VALUES[name]))

    def move_set(self):
        self.simple(self.new_setting())

    def move_discard(self):
        self.simple(model.Statement("discard", "DISCARD ALL"))
        self.failed()
        self.goes_on = False

    def move_deallocate(self):
        name = self.draw.choice(["a", "b", "c", None])
        self.simple(model.Statement("deallocate", "DEALLOCATE %s" % (name or "ALL"), detail=name))
        if name and name not in self.names:
            self.failed()
        self.goes_on = False

    def move_many(self):
        """More than the pooler takes at once."""
        for _ in range(self.draw.choice([1000, 11000])):
            self.data.append(wire.sync())
            self.session.ask("sync")
        self.note("many Syncs")

    def move_call(self):
        """A FunctionCall; 3062 is reverse()."""
        number = next(model.numbers)
        self.put(wire.message("F", struct.pack("!ihhi", 3062, 0, 1, len(number)) + number.encode()
                              + b"\0\0"), "call", number)

    def move_notify(self):
        number = next(model.numbers)
        self.simple(model.Statement("notify", "NOTIFY %s, '%s'" % (
            self.session.channel or "nobody", number), detail=number))

    def move_copy_out(self):
        self.simple(model.copy_out(self.draw.choice([0, 1, 30])))

    def move_copy_in(self):
        ending = self.draw.choice(["done", "done", "fail", "bad"])
        statement = model.copy_in(self.draw.choice([1, 1, 3, 3, 20, 500]), ending)
        if self.draw.randrange(2):
            self.simple(statement)
            self.data.append(model.copy_in_data(statement))
        else:
            self.unnamed(statement)
            self.data.append(model.copy_in_data(statement))
            self.sync()
        if ending != "done":
            self.failed()

    def move_leave_things(self):
        """In session pooling; the next client must not find them."""
        number = next(model.numbers)
        sql, tag = self.draw.choice([
            ("SET work_mem = '5MB'", "SET"), ("CREATE TEMP TABLE %s ()" % number, "CREATE TABLE"),
            ("SELECT pg_advisory_lock(%s)" % number[1:], "SELECT 1"), ("LISTEN ", "LISTEN"),
            ("PREPARE %s AS SELECT 1" % number, "PREPARE"),
            ("DECLARE %s CURSOR WITH HOLD FOR SELECT 1" % number, "DECLARE CURSOR")])
        if self.mode != "session":
            self.move_value()
        elif tag != "LISTEN":
            self.simple(model.command(sql, tag))
        elif self.plan == "I":
            self.simple(model.Statement("listen", sql + number, detail=number))

    # Transactions

    def transact(self, kind, name=""):
        statement = model.block(kind, name)
        if self.draw.randrange(4):
            self.simple(statement)
        else:
            self.unnamed(statement)
            self.sync()

    def move_begin(self):
        if self.mode == "statement" and self.draw.randrange(5):
            self.move_value()
            return
        self.transact("BEGIN")
        self.plan = "T"
        if self.mode == "statement":
            self.goes_on = False

    def move_end(self):
        self.transact(self.draw.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        self.plan = "I"

    def move_savepoint(self):
        name = self.draw.choice(["x", "y"])
        if self.plan == "T":
            self.savepoints.append(name)
        self.transact("SAVEPOINT", name)

    def move_back(self):
        name = self.draw.choice(["x", "y"])
        kind = self.draw.choice(["ROLLBACK TO", "ROLLBACK TO", "RELEASE"])
        self.transact(kind, name)
        if name not in self.savepoints or (kind == "RELEASE" and self.plan == "E"):
            self.failed()
        elif kind == "ROLLBACK TO":
            self.plan = "T"
        self.goes_on = False

    # The extended protocol

    def put(self, data, *question):
        self.note("%s %s" % (question[0], " ".join(
            argument.sql if isinstance(argument, model.Statement) else repr(argument)
            for argument in question[1:])))
        self.data.append(data)
        self.session.ask(*question)

    def sync(self):
        self.put(wire.sync(), "sync")

    def unnamed(self, statement, value=None, limit=0):
        self.put(wire.parse(statement.sql), "parse", "", statement)
        self.put(wire.bind([] if value is None else [value]), "bind", "", "", value)
        self.put(wire.execute("", limit), "execute", "", limit)

    def move_batches(self):
        for _ in range(self.draw.choice([1, 1, 1, 2, 4])):
            for _ in range(self.draw.choice([1, 1, 2, 3, 6])):
                self.draw.choices(*STEPS_OF_BATCHES)[0](self)
                if self.draw.randrange(8) == 0:
                    self.data.append(wire.flush())
            self.sync()
        self.goes_on = self.plan == "I"  # whether something has failed is not followed here

    def name_in_use(self):
        if self.names and self.draw.random() < 0.93:
            return self.draw.choice(sorted(self.names))
        return self.draw.choice("abcd")

    def step_prepare(self):
        free = [name for name in "abcd" if name not in self.names]
        if not free or self.draw.random() < 0.05:
            self.step_run()
            return
        name = self.draw.choice(free)
        statement = (model.UNPREPARABLE if self.draw.random() < 0.03
                     else self.draw.choice(model.PREPARED))
        self.put(wire.parse(statement.sql, name), "parse", name, statement)
        self.names.add(name)

    def step_run(self):
        name, value = self.name_in_use(), next(model.numbers)
        self.put(wire.bind([value], name), "bind", "", name, value)
        if self.draw.randrange(3) == 0:
            self.put(wire.describe("P"), "describe_portal", "")
        limit = self.draw.choice([0, 0, 2])
        self.put(wire.execute("", limit), "execute", "", limit)
        if limit and self.draw.randrange(2):
            self.put(wire.execute(), "execute", "", 0)

    def step_portal(self):
        if self.portals and self.draw.randrange(2):
            portal = self.draw.choice(self.portals)
        else:
            portal, name, value = next(model.numbers), self.name_in_use(), next(model.numbers)
            self.put(wire.bind([value], name, portal), "bind", portal, name, value)
            self.portals.append(portal)
        limit = self.draw.choice([0, 1, 2])
        self.put(wire.execute(portal, limit), "execute", portal, limit)
        if self.draw.randrange(3) == 0:
            self.put(wire.close("P", portal), "close", "P", portal)
            self.portals.remove(portal)

    def step_unnamed(self):
        self.unnamed(self.draw.choice(model.PREPARED), next(model.numbers))

    def step_value(self):
        self.unnamed(model.ask_value())

    def step_settings(self):
        self.unnamed(model.ask_settings())

    def step_describe(self):
        name = self.name_in_use()
        self.put(wire.describe("S", name), "describe_statement", name)

    def step_close(self):
        name = self.draw.choice("abcd")
        self.put(wire.close("S", name), "close", "S", name)
        self.names.discard(name)

    def step_set(self):
        self.unnamed(self.new_setting())

    # What is not allowed

    def move_garbage(self):
        garbage = self.draw.choice(GARBAGE)
        self.note("garbage %r" % garbage)
        if self.data or not self.session.is_settled:
            return
        self.data.append(garbage)
        self.session.doomed = True
        self.crowd.steps += 1
        self.goes_on = False


def weighted(prefix="move_", **weights):
    return [getattr(Walker, prefix + name) for name in weights], list(weights.values())


MOVES = {
    "I": weighted(value=20, rows=4, large=0.3, many=0.005, sleep=0.8, cancel_nothing=0.7, fail=4,
                  several=5, insert=4, empty=1, settings=5, set=6, discard=0.5, deallocate=1.5,
                  notify=1, copy_out=2, copy_in=2, call=1, leave_things=2, begin=14, end=1,
                  savepoint=0.5, back=0.5, batches=30, garbage=0.2),
    "T": weighted(value=10, rows=3, large=0.2, sleep=0.5, cancel_nothing=0.5, fail=3, several=3,
                  insert=5, empty=0.5, settings=5, set=5, discard=0.2, deallocate=1, notify=1,
                  copy_out=1, copy_in=2, call=1, leave_things=0.5, begin=0.5, end=20, savepoint=5,
                  back=4, batches=12, garbage=0.2),
    "E": weighted(value=3, fail=1, call=0.5, insert=1, settings=0.5, copy_in=0.5, copy_out=0.5,
                  end=20, back=10, batches=2, garbage=0.1)}
STEPS_OF_BATCHES = weighted("step_", prepare=10, run=14, portal=4, unnamed=5, value=5, settings=2,
                            describe=2, close=2, set=2)


# The runs

def prepare(pg):
    for database in MODES:
        pg.sql("DROP TABLE IF EXISTS sink", dbname=database)
        pg.sql("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 'any' AS c;"
               " GRANT ALL ON changing TO public", dbname=database)
        pg.sql("CREATE UNLOGGED TABLE sink (value text); GRANT ALL ON sink TO public",
               dbname=database)


EXPECTED_IN_LOG = re.compile("|".join((
    "everybody may read or change auth_file", "unknown pkt from client",
    "the pause was ended by RESUME", "got packet 'E' from server when not linked",
    "FATAL: terminating connection due to administrator command",
    "pooler error: (unknown pkt|bad packet header|server conn crashed|"
    "canceling statement due to user request|"
    "transaction blocks not allowed in statement pooling mode)")))


def check_log(pooler):
    odd = [line for line in pooler.log().splitlines()
           if re.search(r" (WARNING|ERROR|FATAL) ", line) and not EXPECTED_IN_LOG.search(line)]
    assert not odd, "%d lines such as\n%s" % (len(odd), "\n".join(odd[:10]))


def check_rest(pooler, pg, crowd):
    """All have left: nothing of theirs is anywhere but in the tables."""
    for database, mode in MODES.items():
        pooler.wait_pool(database, cl_active=0, cl_waiting=0, cl_active_cancel_req=0,
                         cl_waiting_cancel_req=0, sv_active=0, sv_active_cancel=0, sv_tested=0,
                         sv_being_canceled=0, sv_login=0)
        client = pooler.client(database)
        assert client.value("SELECT 7") == "7"
        if mode == "session":
            truth.check_clean(client)
        client.terminate()
    truth.check_counters(pooler, pg)
    crowd.book.check([row for database in MODES
                      for (row,) in pg.sql("SELECT value FROM sink", dbname=database)])
    check_log(pooler)
    truth.check_quiet(pooler)


@pytest.mark.limit(int(60 + 2 * SECONDS + STEPS / 300))
@pytest.mark.parametrize("seed", [1, SEED], ids=["fixed", "random"])
def test_walks(start_pooler, pg, seed):
    print("PGWEIR_WALK_SEED=%d" % seed)
    allow_descriptors(2 * CLIENTS + 1000)
    prepare(pg)
    pooler = start_pooler(
        databases={"p0": "", "p1": "pool_mode=statement pool_size=2",
                   "p2": "pool_mode=session pool_size=4", "p3": "pool_size=2"},
        pool_mode="transaction", default_pool_size="3", max_client_conn=str(2 * CLIENTS + 1000),
        prepared_statement_errors="1", prepare_unnamed=str(seed % 2), log_connections="0",
        log_disconnections="0", listen_backlog="4096", query_wait_notify="0")
    crowd = Crowd()
    draw = random.Random(seed)
    disturbances = Disturbances(crowd, pooler, pg, draw)
    for number, database in enumerate(draw.choices(list(SHARES), list(SHARES.values()), k=CLIENTS)):
        Walker(crowd, pooler.port, number, database, seed)
    begin = time.monotonic()

    def has_done(share):
        if STEPS:
            return crowd.steps >= STEPS * share
        return time.monotonic() > begin + SECONDS * share
    try:
        crowd.run(lambda: has_done(0.5))
        disturbances.kills = True
        crowd.run(lambda: has_done(1))
        crowd.ending = True
        seconds, end = time.monotonic() - begin, time.monotonic() + PATIENCE
        crowd.run(lambda: not any(isinstance(peer, (Connection, Cancel))
                                  for peer in crowd.peers.values()) or time.monotonic() > end)
    except Finding as finding:
        pytest.fail("PGWEIR_WALK_SEED=%d, step %d\n%s" % (seed, crowd.steps, finding),
                    pytrace=False)
    print("%d steps, %.0f in a second; %d kills, %d clients hit; %d rows written" % (
        crowd.steps, crowd.steps / seconds, crowd.kills.total(), crowd.deaths.total(),
        len(crowd.book.written)))
    assert time.monotonic() < end, "clients are still there"
    assert crowd.steps > 100 * SECONDS
    for peer in list(crowd.peers.values()):
        peer.close()
    check_rest(pooler, pg, crowd)
