"""
A model of one session of PostgreSQL, as an oracle: it is told what a client asks, and then takes
every message that comes. Whatever the session it models would not have said is a Finding.

Each question carries a number of its own, which its answer must repeat, in values, names of columns
or texts of errors. A question is a generator that takes the messages of its answer, one after
another, and leaves the session in the state that they tell. So also what cannot be foreseen, such
as a query that is cancelled in a pipeline, has its consequences for what comes behind.
"""

import collections
import itertools
import struct

from support import wire
from support.truth import DIRT

TRACKED = ("application_name", "TimeZone", "DateStyle", "client_encoding",
           "standard_conforming_strings", "IntervalStyle")

numbers = ("q%d" % number for number in itertools.count(1))

CANCELED = "57014"
FAILED_BLOCK = "25P02"
ANY_TEXT = ""
STALE = "0A000", "cached plan must not change result type"

# Kinds of statements
RUN_IN_FAILED = ("commit", "rollback", "rollback_to", "empty")
HAVE_ROWS = ("rows", "fail", "settings", "changing")


class Finding(AssertionError):
    """The session said what it must not say, or did not say what it must."""


def surprise(kind, body, wanted):
    return Finding("%s %r instead of %s" % (kind, body[:200], wanted))


class Book:
    """Rows that clients wrote: those that must be in the table, and those that may."""

    def __init__(self):
        self.written, self.doubtful = set(), set()

    def check(self, rows):
        found = set(rows)
        assert len(found) == len(rows), "written twice: %r" % [
            row for row, count in collections.Counter(rows).items() if count > 1][:5]
        assert not self.written - found, "lost: %r" % sorted(self.written - found)[:5]
        extra = found - self.written - self.doubtful
        assert not extra, "never committed: %r" % sorted(extra)[:5]


class Statement:
    """
    One SQL statement. `kind` names the method of Session that knows its answer: run_ if that is of
    several messages, end_ if it is of one.
    """

    __slots__ = ("kind", "sql", "number", "count", "suffix", "detail")

    def __init__(self, kind, sql, number="", count=1, suffix="", detail=None):
        self.kind, self.sql, self.number = kind, sql, number
        self.count, self.suffix, self.detail = count, suffix, detail

    def __repr__(self):
        return repr(self.sql[:60])

    def row(self, place, value=None):
        """The value in its row of that place, from 1."""
        return "%s-%d%s" % (value or self.number, place, self.suffix)


def ask_value():
    number = next(numbers)
    return Statement("rows", "SELECT '%s-1' AS %s" % (number, number), number)


def ask_rows(count, padding=0):
    number = next(numbers)
    sql = "SELECT '%s-' || g || repeat('x', %d) AS %s FROM generate_series(1, %d) g"
    return Statement("rows", sql % (number, padding, number, count), number, count, "x" * padding)


def ask_slowly(seconds):
    number = next(numbers)
    sql = "SELECT '%s-1' AS %s FROM pg_sleep(%g)" % (number, number, seconds)
    return Statement("rows", sql, number)


def fail():
    number = next(numbers)
    return Statement("fail", "SELECT '%s'::int" % number, number, detail="22P02")


def ask_settings():
    number = next(numbers)
    values = " || '/' || ".join("current_setting('%s')" % name for name in TRACKED)
    return Statement("settings", "SELECT '%s/' || %s AS %s" % (number, values, number), number)


def ask_clean():
    """What an earlier client has left: nothing."""
    number = next(numbers)
    return Statement("rows", "SELECT '%s-1' || (%s) AS %s" % (number, DIRT, number), number)


def insert():
    number = next(numbers)
    return Statement("insert", "INSERT INTO sink VALUES ('%s')" % number, number)


def set_parameter(name, value, local=False):
    literal = "E'%s'" % value.replace("\\", "\\\\").replace("'", "''")
    return Statement("set", "SET %s%s = %s" % ("LOCAL " if local else "", name, literal),
                     detail=(name, value))


def command(sql, tag):
    """A command that changes nothing the model knows."""
    return Statement("command", sql, detail=tag)


def block(kind, name=""):
    """BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ROLLBACK TO, RELEASE."""
    sql = kind + (" " + name if name else "")
    return Statement(kind.lower().replace(" ", "_"), sql, detail=name)


def copy_out(count):
    number = next(numbers)
    sql = "COPY (SELECT '%s-' || g FROM generate_series(1, %d) g) TO STDOUT" % (number, count)
    return Statement("copy_out", sql, number, count)


def copy_in(count, ending):
    """`ending` is done, fail (by the client) or bad (by the data)."""
    return Statement("copy_in", "COPY sink FROM STDIN", next(numbers), count, detail=ending)


def copy_in_data(statement):
    """What the client sends behind it."""
    lines = ["%s\n" % statement.row(place) for place in range(1, statement.count + 1)]
    if statement.detail == "bad":
        place = hash(statement.number) % len(lines)
        lines[place] = lines[place][:-1] + "\tmore\n"
    end = wire.copy_fail(statement.number) if statement.detail == "fail" else wire.copy_done()
    return b"".join(wire.copy_data(line.encode()) for line in lines) + end


# What clients prepare; all have the same texts, so that they share them. $1 is a question's number.
SERIES = "SELECT $1::text || '-' || g || '/%d' AS prepared FROM generate_series(1, %d) g"
PREPARED = (
    [Statement("rows", SERIES % (place, 1 + place % 4), count=1 + place % 4, suffix="/%d" % place)
     for place in range(12)]
    + [Statement("fail", "SELECT repeat($1::text, 1 + (random() * 0)::int)::int", detail="22P02"),
       Statement("written", "INSERT INTO sink VALUES ($1)"),
       Statement("changing", "SELECT $1::text, changing.* FROM changing")])
UNPREPARABLE = Statement("unpreparable", "SELECT nonsense, $1::text", detail="42703")


def data_row(text):
    data = text.encode()
    return struct.pack("!hi", 1, len(data)) + data


class Portal:
    def __init__(self, statement, value):
        self.statement, self.value, self.position = statement, value, 0


class Session:
    """
    ask() a question when it is sent, take() each message that comes. `mode` is the pool mode,
    `parameters` what the session told at its beginning.
    """

    def __init__(self, mode, parameters, book):
        self.mode, self.book = mode, book
        self.parameters = {name: parameters[name] for name in TRACKED}
        self.other_parameters = {name: value for name, value in parameters.items()
                                 if name not in TRACKED}
        self.questions = collections.deque()
        self.answer = None       # the generator whose messages come now
        self.begun = "", ()      # its question, or the last one
        self.block = "I"         # as in ReadyForQuery
        self.skipping = False    # after an error, up to the next Sync
        self.extended = False    # the answer that comes is one of the extended protocol
        self.adopting = False    # parameters may come with any value
        self.before = None       # the parameters that a failed transaction goes back to
        self.savepoints = []     # (name, parameters, count of rows)
        self.rows = []           # written and not committed
        self.prepared, self.portals = {}, {}
        self.channel, self.notified = None, set()
        self.asked, self.answered = 0, 0
        self.open_cancels = 0    # requests under way
        self.cancelable = 0      # the last question that those may hit that have ended
        self.doomed = False      # the client has sent garbage: the session must end
        self.fatal = None        # the first FATAL error

    # Questions

    def ask(self, question, *arguments):
        self.questions.append((question, arguments))
        self.asked += 1

    @property
    def is_settled(self):
        return self.answer is None and not self.questions

    def may_be_canceled(self):
        return self.open_cancels > 0 or self.answered < self.cancelable

    def cancel_begins(self):
        self.open_cancels += 1

    def cancel_ends(self):
        self.open_cancels -= 1
        self.cancelable = self.asked

    # Messages

    def take(self, kind, body):
        if kind == "E" and body.startswith((b"SFATAL\0", b"SPANIC\0")):
            self.take_fatal(wire.parse_fields(body))
        elif self.fatal:
            raise Finding("%r after FATAL" % kind)
        elif kind == "S":
            self.take_parameter(*wire.parse_parameter(body))
        elif kind == "N":
            code = wire.parse_fields(body)["C"]
            if code not in ("25001", "25P01"):  # BEGIN in a block, COMMIT outside
                raise Finding("a notice %r" % wire.parse_fields(body))
        elif kind == "A":
            channel, payload, _ = body[4:].split(b"\0")
            if channel.decode() != self.channel or payload.decode() not in self.notified:
                raise Finding("a notification of others: %r" % body)
        else:
            self.take_answer(kind, body)

    def take_answer(self, kind, body):
        if self.answer is None:
            self.answer = self.next_question()
            if self.answer is None:
                raise Finding("an answer without a question: %s %r" % (kind, body[:200]))
            next(self.answer)
        try:
            self.answer.send((kind, body))
        except StopIteration:
            self.answer = None
            self.answered += 1

    def next_question(self):
        while self.questions:
            question, arguments = self.questions.popleft()
            if not self.skipping or question == "sync":
                self.extended = question not in ("query", "call")
                self.begun = question, arguments
                return getattr(self, question)(*arguments)
            self.answered += 1
        return None

    def take_parameter(self, name, value):
        known = self.parameters if name in self.parameters else self.other_parameters
        if self.adopting:
            known[name] = value
        elif known.get(name) != value:
            raise Finding("parameter %s = %r, not %r" % (name, value, known.get(name)))

    def take_fatal(self, fields):
        code, text = fields["C"], fields["M"]
        if code == "57P01" or (code, text) == ("08P01", "server conn crashed?"):
            reason = "killed"
        elif text == "transaction blocks not allowed in statement pooling mode":
            reason = self.mode == "statement" and self.block != "I" and "block"
        elif text == "canceling statement due to user request":
            reason = self.may_be_canceled() and "canceled"
        else:
            reason = self.doomed and code == "08P01" and "garbage"
        if not reason or (self.fatal and self.fatal != reason):
            raise Finding("%r (%r before)" % (fields, self.fatal))
        if reason == "killed" and self.mode != "session" and self.block == "I" and self.is_settled:
            raise Finding("%r for a client without a server" % fields)
        self.fatal = reason

    def ends(self):
        """The connection is gone: what was under way may have happened or not."""
        if not self.is_settled:
            self.book.doubtful.update(self.rows)
            for question, arguments in [self.begun, *self.questions]:
                self.book.doubtful.update(self.rows_of(question, arguments))

    # Errors and the ends of transactions

    def error(self, body, *allowed):
        """Takes an ErrorResponse, one of the (SQLSTATE, text that it contains) or a cancel."""
        fields = wire.parse_fields(body)
        code = fields["C"]
        if not any(code == state and text in body.decode() for state, text in allowed):
            if code != CANCELED or not self.may_be_canceled():
                raise Finding("the error %r, not one of %r" % (fields, allowed))
        self.abort()
        return False

    def abort(self):
        """A statement has failed."""
        if self.block == "I":
            self.go_back()
            self.portals.clear()
        elif self.block == "T":
            self.block = "E"
            self.parameters = dict(self.savepoints[-1][1] if self.savepoints else self.before)
        self.skipping = self.extended

    def go_back(self):
        """To the beginning of the transaction."""
        if self.before is not None:
            self.parameters = self.before
        self.rows.clear()
        self.before = None
        self.savepoints.clear()

    def commit_rows(self):
        if self.before is not None:  # this one is set by SET LOCAL alone
            self.parameters["IntervalStyle"] = self.before["IntervalStyle"]
        self.book.written.update(self.rows)
        self.rows.clear()
        self.before = None
        self.savepoints.clear()

    def begins(self):
        """A transaction of its own begins with this statement, if there is none."""
        if self.before is None:
            self.before = dict(self.parameters)

    def ready(self, kind, body):
        """ReadyForQuery, at the end of a Query or Sync."""
        if kind != "Z" or body.decode() != self.block:
            raise surprise(kind, body, "ReadyForQuery " + self.block)
        self.adopting = False

    # The simple protocol

    def query(self, *statements):
        self.prepared.pop("", None)
        self.portals.pop("", None)
        for statement in statements:
            if not (yield from self.run(statement, True)):
                break
        kind, body = yield
        if self.block == "I":
            self.commit_rows()
        self.ready(kind, body)

    def call(self, number):
        """A function call, of reverse()."""
        self.begins()
        kind, body = yield
        if kind == "E":
            self.error(body, *([(FAILED_BLOCK, ANY_TEXT)] if self.block == "E" else []))
        elif self.block == "E" or (kind, body) != ("V", struct.pack("!i", len(number))
                                                   + number[::-1].encode()):
            raise surprise(kind, body, "the result of reverse('%s') in block %s" % (
                number, self.block))
        kind, body = yield
        if self.block == "I":
            self.commit_rows()
        self.ready(kind, body)

    def run(self, statement, described=False, portal=None, limit=0):
        """The messages of one execution; returns False after an error."""
        self.begins()
        kind, body = yield
        if self.block == "E" and statement.kind not in RUN_IN_FAILED:
            if kind != "E":
                raise surprise(kind, body, "an error: the transaction has failed")
            return self.error(body, (FAILED_BLOCK, ANY_TEXT))
        end = getattr(self, "end_" + statement.kind, None)
        if end:
            return end(statement, kind, body, portal)
        run = getattr(self, "run_" + statement.kind)
        return (yield from run(statement, kind, body, described, portal, limit))

    def tag(self, kind, body, tag):
        """CommandComplete. Returns False if it is an error that is allowed."""
        if kind == "E":
            return self.error(body)
        if kind != "C" or body != wire.cstring(tag):
            raise surprise(kind, body, "the tag " + tag)
        return True

    def run_rows(self, statement, kind, body, described, portal, limit):
        if described:
            if kind == "E":
                return self.error(body)
            if kind != "T" or body[2:].split(b"\0")[0] != statement.number.encode():
                raise surprise(kind, body, "the columns of " + statement.sql)
            kind, body = yield
        value, place = None, 0
        if portal:
            value, place = portal.value, portal.position
        first, last = place, statement.count if not limit else min(statement.count, place + limit)
        while place < last:
            if kind == "E":
                return self.error(body)
            place += 1
            if kind != "D" or body != data_row(statement.row(place, value)):
                raise surprise(kind, body, "the row " + statement.row(place, value)[:200])
            kind, body = yield
        if portal:
            portal.position = place
            if limit and place - first == limit:
                if kind == "E":
                    return self.error(body)
                if (kind, body) != ("s", b""):
                    raise surprise(kind, body, "PortalSuspended")
                return True
        return self.tag(kind, body, "SELECT %d" % (place - first))

    def run_changing(self, _statement, kind, body, _described, portal, limit):
        """A table that gets other columns from time to time; behind the first there is anything."""
        tag = "SELECT 0"
        if kind == "D" and not portal.position:
            value = portal.value.encode()
            if body[2:6 + len(value)] != struct.pack("!i", len(value)) + value:
                raise surprise(kind, body, portal.value)
            portal.position, tag = 1, "SELECT 1"
            kind, body = yield
            if limit == 1 and (kind, body) == ("s", b""):
                return True
        return self.tag(kind, body, tag)

    def run_settings(self, statement, kind, body, described, _portal, _limit):
        if described and kind == "T":
            kind, body = yield
        if kind == "E":
            return self.error(body)
        wanted = statement.number + "/" + "/".join(self.parameters[name] for name in TRACKED)
        if kind != "D" or body != data_row(wanted):
            raise surprise(kind, body, wanted)
        kind, body = yield
        return self.tag(kind, body, "SELECT 1")

    def run_fail(self, statement, kind, body, described, portal, _limit):
        if described and kind == "T":
            kind, body = yield
        if kind != "E":
            raise surprise(kind, body, "an error")
        return self.error(body, (statement.detail, portal.value if portal else statement.number))

    def end_insert(self, statement, kind, body, _portal):
        if not self.tag(kind, body, "INSERT 0 1"):
            return False
        self.rows.append(statement.number)
        return True

    def end_written(self, _statement, kind, body, portal):
        if portal.position:
            return self.error(body, ("55000", ANY_TEXT)) if kind == "E" else self.tag(
                kind, body, "INSERT 0 0")
        if not self.tag(kind, body, "INSERT 0 1"):
            return False
        portal.position = 1
        self.rows.append(portal.value)
        return True

    def run_command(self, statement, kind, body, described, *_):
        while statement.detail.startswith("SELECT") and kind in ("T" if described else "") + "D":
            kind, body = yield
        return self.tag(kind, body, statement.detail)

    def end_empty(self, _statement, kind, body, _portal):
        if kind == "E":
            return self.error(body)
        if (kind, body) != ("I", b""):
            raise surprise(kind, body, "EmptyQueryResponse")
        return True

    def end_set(self, statement, kind, body, _portal):
        if not self.tag(kind, body, "SET"):
            return False
        name, value = statement.detail
        self.parameters[name] = value
        return True

    def end_begin(self, _statement, kind, body, _portal):
        if not self.tag(kind, body, "BEGIN"):
            return False
        self.block = "T"
        return True

    def end_commit(self, _statement, kind, body, _portal):
        if not self.tag(kind, body, "ROLLBACK" if self.block == "E" else "COMMIT"):
            return False
        if self.block == "E":
            self.go_back()
        else:
            self.commit_rows()
        self.block = "I"
        self.portals.clear()
        return True

    def end_rollback(self, _statement, kind, body, _portal):
        if not self.tag(kind, body, "ROLLBACK"):
            return False
        self.go_back()
        self.block = "I"
        self.portals.clear()
        return True

    def end_savepoint(self, statement, kind, body, _portal):
        if kind == "E":
            return self.error(body, *([("25P01", "SAVEPOINT")] if self.block == "I" else []))
        if not self.tag(kind, body, "SAVEPOINT"):
            return False
        self.savepoints.append((statement.detail, dict(self.parameters), len(self.rows)))
        return True

    def find_savepoint(self, name):
        places = [place for place, saved in enumerate(self.savepoints) if saved[0] == name]
        return places[-1] if places else None

    def no_savepoint(self):
        return ("25P01", "can only be used in transaction") if self.block == "I" else (
            "3B001", "does not exist")

    def end_rollback_to(self, statement, kind, body, _portal):
        place = self.find_savepoint(statement.detail)
        if place is None:
            if kind != "E":
                raise surprise(kind, body, "an error: there is no such savepoint")
            return self.error(body, self.no_savepoint())
        if not self.tag(kind, body, "ROLLBACK"):
            return False
        _, parameters, count = self.savepoints[place]
        self.parameters = dict(parameters)
        del self.rows[count:]
        del self.savepoints[place + 1:]
        self.portals.clear()
        self.block = "T"
        return True

    def end_release(self, statement, kind, body, _portal):
        place = self.find_savepoint(statement.detail)
        if place is None:
            if kind != "E":
                raise surprise(kind, body, "an error: there is no such savepoint")
            return self.error(body, self.no_savepoint())
        if not self.tag(kind, body, "RELEASE"):
            return False
        del self.savepoints[place:]
        return True

    def end_listen(self, statement, kind, body, _portal):
        if not self.tag(kind, body, "LISTEN"):
            return False
        self.channel = statement.detail
        return True

    def end_notify(self, statement, kind, body, _portal):
        self.notified.add(statement.detail)
        return self.tag(kind, body, "NOTIFY")

    def end_deallocate(self, statement, kind, body, _portal):
        name = statement.detail
        if name and name not in self.prepared:
            if kind != "E":
                raise surprise(kind, body, "an error: there is no statement " + name)
            return self.error(body, ("26000", name))
        if not self.tag(kind, body, "DEALLOCATE" if name else "DEALLOCATE ALL"):
            return False
        if name:
            del self.prepared[name]
        else:
            self.prepared.clear()
        return True

    def end_discard(self, _statement, kind, body, _portal):
        if self.block != "I":
            if kind != "E":
                raise surprise(kind, body, "an error: DISCARD ALL in a transaction")
            return self.error(body, ("25001", "DISCARD ALL"))
        if not self.tag(kind, body, "DISCARD ALL"):
            return False
        self.prepared.clear()
        self.channel = None
        self.adopting = True  # the parameters are those of the server's login
        return True

    def run_copy_out(self, statement, kind, body, *_):
        for place in range(statement.count + 2):
            if kind == "E":
                return self.error(body)
            wanted = ("H", None) if place == 0 else ("c", b"") if place > statement.count else (
                "d", statement.row(place).encode() + b"\n")
            if kind != wanted[0] or wanted[1] not in (None, body):
                raise surprise(kind, body, "%s %r" % wanted)
            kind, body = yield
        return self.tag(kind, body, "COPY %d" % statement.count)

    def run_copy_in(self, statement, kind, body, *_):
        if kind == "E":
            return self.error(body)
        if kind != "G":
            raise surprise(kind, body, "CopyInResponse")
        kind, body = yield
        if statement.detail != "done":
            if kind != "E":
                raise surprise(kind, body, "a failed COPY")
            return self.error(body, ("22P04", statement.number) if statement.detail == "bad"
                              else (CANCELED, statement.number))
        if not self.tag(kind, body, "COPY %d" % statement.count):
            return False
        self.rows += [statement.row(place) for place in range(1, statement.count + 1)]
        return True

    # The extended protocol

    def refused(self, kind, body, *errors):
        """An error that must come, or may (a True among the errors)."""
        if kind == "E":
            self.error(body, *(error for error in errors if error is not True))
        elif True not in errors:
            raise surprise(kind, body, "one of the errors %r" % (errors,))
        return kind == "E"

    def expect(self, kind, body, wanted):
        if kind == "E":
            return self.error(body)
        if kind != wanted or body:
            raise surprise(kind, body, wanted)
        return True

    def parse(self, name, statement):
        self.begins()
        kind, body = yield
        errors = []
        if name and name in self.prepared:
            errors.append(("42P05", name))
        if self.block == "E" and statement.kind not in RUN_IN_FAILED:
            # A Parse that need not travel does not meet the error of the transaction.
            errors += [(FAILED_BLOCK, ANY_TEXT)] + ([] if errors else [True])
        elif statement.kind == "unpreparable":
            errors.append((statement.detail, "nonsense"))
        if errors and self.refused(kind, body, *errors):
            return
        if self.expect(kind, body, "1"):
            self.prepared[name] = statement

    def bind(self, portal, name, value):
        self.begins()
        kind, body = yield
        statement = self.prepared.get(name)
        errors = []
        if statement is None:
            errors.append(("26000", name))
        if self.block == "E" and (statement is None or statement.kind not in RUN_IN_FAILED):
            errors.append((FAILED_BLOCK, ANY_TEXT))
        elif portal and portal in self.portals:
            errors.append(("42P03", portal))
        if errors:
            self.refused(kind, body, *errors)
        elif kind == "E" and statement.kind == "changing":
            self.error(body, STALE)
        elif self.expect(kind, body, "2"):
            self.portals[portal] = Portal(statement, value)

    def describe_statement(self, name):
        self.begins()
        kind, body = yield
        statement = self.prepared.get(name)
        if statement is None or (self.block == "E" and statement.kind in HAVE_ROWS):
            self.refused(kind, body, ("26000", name), *(
                [(FAILED_BLOCK, ANY_TEXT)] if self.block == "E" else []))
            return
        if kind == "E":
            self.error(body, *([(FAILED_BLOCK, ANY_TEXT)] if self.block == "E" else []),
                       *([STALE] if statement.kind == "changing" else []))
            return
        if kind != "t":
            raise surprise(kind, body, "ParameterDescription")
        kind, body = yield
        self.described(kind, body, statement)

    def described(self, kind, body, statement):
        if kind == "E":
            self.error(body, *([STALE] if statement.kind == "changing" else []))
        elif statement.kind in HAVE_ROWS:
            if kind != "T":
                raise surprise(kind, body, "RowDescription")
        elif kind != "n":
            raise surprise(kind, body, "NoData")

    def describe_portal(self, name):
        self.begins()
        kind, body = yield
        portal = self.portals.get(name)
        if portal is None or self.block == "E":
            self.refused(kind, body, ("34000", name), *(
                [True, (FAILED_BLOCK, ANY_TEXT)] if self.block == "E" else []))
        else:
            self.described(kind, body, portal.statement)

    def execute(self, name, limit):
        portal = self.portals.get(name)
        if portal is None or (self.block == "E" and portal.statement.kind not in RUN_IN_FAILED):
            kind, body = yield
            self.refused(kind, body, ("34000", name), *(
                [(FAILED_BLOCK, ANY_TEXT)] if self.block == "E" else []))
        else:
            yield from self.run(portal.statement, False, portal, limit)

    def close(self, what, name):
        kind, body = yield
        if self.expect(kind, body, "3"):
            (self.prepared if what == "S" else self.portals).pop(name, None)

    def sync(self):
        kind, body = yield
        self.extended = False
        if kind == "E":
            self.error(body)
            kind, body = yield
        self.skipping = False
        if self.block == "I":
            self.commit_rows()
            self.portals.clear()
        self.ready(kind, body)

    @staticmethod
    def rows_of(question, arguments):
        """The rows that it may write."""
        if question == "query":
            for statement in arguments:
                if statement.kind == "insert":
                    yield statement.number
                elif statement.kind == "copy_in":
                    yield from (statement.row(place) for place in range(1, statement.count + 1))
        elif question == "parse":
            yield from Session.rows_of("query", arguments[1:])
        elif question == "bind":
            yield arguments[2]
