"""Servers that are broken, lie, or mean harm while we connect to them, or while they are idle."""

import base64
import struct
import threading
import time

import pytest

from support import wire
from support.fake_server import (answer, error_body, parameter_status, ready,
                                 serve_number)
from support.process import SLACK, free_port, wait_for
from support.truth import unharmed

OK = wire.message("R", struct.pack("!i", 0))
SCRAM_OFFER = wire.message("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")


def hears_nothing(side):
    """Waits for the end; whatever the pooler says instead is one word too many."""
    try:
        got = side.read()
    except OSError:
        return
    raise AssertionError("the pooler answered: %r" % (got,))


def sends(data):
    """A script that answers the startup packet with these bytes."""
    def script(side):
        side.read_startup()
        side.send_raw(data)
        hears_nothing(side)
    return script


def scram_first(make):
    """A script that goes wrong in its first SCRAM message; `make` gets our nonce."""
    def script(side):
        side.read_startup()
        side.send_raw(SCRAM_OFFER)
        nonce = side.read().body.split(b"r=")[1].decode()
        side.send("R", struct.pack("!i", 11) + make(nonce).encode())
        hears_nothing(side)
    return script


def first_message(nonce, salt="c2FsdHNhbHRzYWx0c2FsdA==", iterations="4096"):
    return "r=%s,s=%s,i=%s" % (nonce, salt, iterations)


def start(start_pooler, pg, server, **settings):
    """Database p0 is the fake one, p1 belongs to the canary."""
    settings.setdefault("query_wait_timeout", "0.5")
    settings.setdefault("server_login_retry", "0.1")
    settings.setdefault("server_connect_timeout", "2")
    return start_pooler(server=server, pool_mode="transaction", databases={
        "p0": "", "p1": "host=127.0.0.1 port=%d" % pg.port}, **settings)


def ask(pooler, database="p0", user="bob"):
    client = pooler.wire()
    client.startup(user, database)
    return client


def refused(client):
    """The error that a client gets, and then the end."""
    fields = client.expect_any_error()
    assert fields["S"] == "FATAL"
    client.expect_eof()
    client.close()
    return fields


def meet(pooler, user="bob"):
    return refused(ask(pooler, "p0", user))


def gone(pooler, server, database="p0"):
    """The server's connection is closed, from its own point of view too."""
    wait_for(lambda: not pooler.show("SERVERS", database=database), "no server is left")
    wait_for(lambda: all(hasattr(side, "ended") for side in server.sides), "all were closed")


def check_all_refused(start_pooler, pg, fake_server, scripts, **settings):
    """
    Each of these servers is closed for good, with one error for who waits and nothing for others.
    A good server in its place heals it. Returns the errors by name.
    """
    settings.setdefault("query_wait_timeout", "1")
    servers = {name: fake_server(script) for name, script in scripts.items()}
    names = list(servers)
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.2", databases={
        "p1": "host=127.0.0.1 port=%d" % pg.port,
        **{"d%d" % n: "host=127.0.0.1 port=%d" % servers[name].port
           for n, name in enumerate(names)}}, **settings)

    def meet_all():
        clients = [ask(pooler, "d%d" % n) for n in range(len(names))]
        errors = {name: refused(client) for name, client in zip(names, clients)}
        for n, name in enumerate(names):
            gone(pooler, servers[name], "d%d" % n)
        return errors
    pooler.value("SELECT 1", dbname="p1", user="alice")
    meet_all()  # whatever is made for a pool is made now
    with unharmed(pooler):
        errors = meet_all()
    for n, name in enumerate(names):
        assert servers[name].failures == [], name
        assert errors[name]["C"] == "08P01", name
        assert "127.0.0.1" not in errors[name]["M"], name
        assert str(servers[name].port) not in errors[name]["M"], name
        servers[name].script = serve_number
        assert pooler.client("d%d" % n).value("SELECT 1"), name
    return errors


# BS01

def test_server_that_never_answers(start_pooler, pg, fake_server):
    """Closed at server_connect_timeout; who waits is told at query_wait_timeout."""
    errors = check_all_refused(start_pooler, pg, fake_server, {"silent": sends(b"")},
                               server_connect_timeout="0.3", query_wait_timeout="0.5")
    assert errors["silent"]["M"] == "query_wait_timeout"


# BS02

ERRORS = {
    "no code": (b"SFATAL\0Mno code\0\0", "08P01", "no code"),
    "no severity": (b"C28000\0Mno severity\0\0", "28000", "no severity"),
    "no message": (b"SFATAL\0C28000\0\0", None, None),
    "empty": (b"", None, None),
    "only the end": (b"\0", None, None),
    "no end of a field": (b"SFATAL\0C28000\0Mendless", None, None),
    "no end of the fields": (b"SFATAL\0C28000\0Munended\0", "28000", "unended"),
    "unknown fields": (b"SFATAL\0x\0\1y\0zz\0C28000\0Mstrange\0\0", "28000", "strange"),
    "twice": (b"SFATAL\0C28000\0C42000\0Mfirst\0Msecond\0\0", "28000", "first"),
    "short code": (b"SFATAL\0C28\0Mshort\0\0", "08P01", "short"),
    "long code": (b"SFATAL\0C2800028000\0Mlong\0\0", None, "long"),
    "line breaks": (b"SFATAL\0C28000\0Mone\ntwo\x1b[31m\0\0", "28000", "one\ntwo\x1b[31m"),
    "format": (b"SFATAL\0C28000\0M%s%n%p%d\0\0", "28000", "%s%n%p%d"),
}


def test_errors_instead_of_a_login(start_pooler, pg, fake_server):
    for what, (body, code, text) in ERRORS.items():
        server = fake_server(sends(wire.message("E", body)))
        pooler = start(start_pooler, pg, server)
        fields = meet(pooler)
        gone(pooler, server)
        assert len(fields["C"]) == 5, what
        if code:
            assert fields["C"] == code, what
        if text:
            assert fields["M"] == text, what
        assert "\x1b" not in pooler.log() and "\ntwo" not in pooler.log()
        server.script = serve_number
        assert pooler.client().value("SELECT 1")
        pooler.stop()
        pooler.process = None


def test_error_of_a_megabyte(start_pooler, pg, fake_server):
    data = wire.message("E", b"SFATAL\0C28000\0M" + b"x" * 1_000_000 + b"\0\0")
    check_all_refused(start_pooler, pg, fake_server, {"megabyte": sends(data)})


# BS03

FRAMES = {
    "beef": b"\xde\xad\xbe\xef" * 1000,
    "negative": b"R" + struct.pack("!i", -5),
    "three": b"R" + struct.pack("!i", 3),
    "huge": b"R" + struct.pack("!i", 0x7ffffff0),
    "over the cap": b"R" + struct.pack("!i", 65537),
    "type 0": b"\0" + struct.pack("!i", 8) + b"\0\0\0\0",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "most negative": b"S" + struct.pack("!i", -2147483648),
}


def test_bad_frames(start_pooler, pg, fake_server):
    """Seen from the header, without waiting for the announced length."""
    begin = time.monotonic()
    check_all_refused(start_pooler, pg, fake_server,
                      {name: sends(data) for name, data in FRAMES.items()},
                      server_connect_timeout="60")
    assert time.monotonic() - begin < 30 * SLACK


# BS04

MANY = b"".join(b"M%d\0" % n for n in range(10_000))
SASL = struct.pack("!i", 10)
REQUESTS = {
    "99": struct.pack("!i", 99), "-1": struct.pack("!i", -1), "no list": SASL,
    "empty list": SASL + b"\0", "SHA-1": SASL + b"SCRAM-SHA-1\0\0",
    "no end": SASL + b"SCRAM-SHA-256", "no end of the list": SASL + b"SCRAM-SHA-256\0",
    "bytes behind the list": SASL + b"SCRAM-SHA-256\0\0more", "many": SASL + MANY + b"\0",
    "many and long": SASL + MANY + MANY + b"SCRAM-SHA-256\0\0",
    "no salt": struct.pack("!i", 5), "short salt": struct.pack("!i", 5) + b"abc",
    "continue first": struct.pack("!i", 11) + b"r=x", "final first": struct.pack("!i", 12) + b"v=x",
}


def test_bad_authentication_requests(start_pooler, pg, fake_server):
    check_all_refused(start_pooler, pg, fake_server, {
        name: sends(wire.message("R", body)) for name, body in REQUESTS.items()})


# BS05, BS06

LONG_SALT = base64.b64encode(b"s" * 45_000).decode()
FIRSTS = {
    "nonce of 60,000 bytes": lambda nonce: first_message(nonce + "x" * 60_000),
    "nonce of 8,200 bytes": lambda nonce: first_message(nonce + "x" * 8_200),
    "our own nonce": first_message,
    "another nonce": lambda nonce: first_message("x" * len(nonce) + "y"),
    "half of our nonce": lambda nonce: first_message(nonce[:10]),
    "nonce with a comma": lambda nonce: first_message(nonce + "x,y"),
    "nonce with a zero": lambda nonce: first_message(nonce + "x\0y"),
    "no salt": lambda nonce: first_message(nonce + "x", ""),
    "salt of 60 KB": lambda nonce: first_message(nonce + "x", LONG_SALT),
    "salt that is no base64": lambda nonce: first_message(nonce + "x", "!!!!"),
    "no iterations": lambda nonce: first_message(nonce + "x", iterations=""),
    "0": lambda nonce: first_message(nonce + "x", iterations="0"),
    "-1": lambda nonce: first_message(nonce + "x", iterations="-1"),
    "abc": lambda nonce: first_message(nonce + "x", iterations="abc"),
    "10000000": lambda nonce: first_message(nonce + "x", iterations="10000000"),
    "2147483647": lambda nonce: first_message(nonce + "x", iterations="2147483647"),
    "4294967297": lambda nonce: first_message(nonce + "x", iterations="4294967297"),
    "extension": lambda nonce: "m=x," + first_message(nonce + "x"),
    "empty": lambda nonce: "",
}


def test_bad_first_messages_of_scram(start_pooler, pg, fake_server):
    check_all_refused(start_pooler, pg, fake_server, {
        name: scram_first(make) for name, make in FIRSTS.items()})


# BS06

MOST_ITERATIONS = 1_000_000


def test_others_are_served_while_costly_keys_are_derived(start_pooler, pg, fake_server):
    """Four servers at once. Inline, one query could slip in between two of them."""
    verifiers = {"d%d" % number: wire.scram_secret("bob-pw", MOST_ITERATIONS)
                 for number in range(4)}
    asked, answered = threading.Event(), []

    def script(side):
        verifier = verifiers[side.read_startup()["database"]]
        asked.set()
        assert side.ask_scram(verifier)
        answered.append(side)
        side.welcome()
        side.serve(lambda side, sql: answer("in"))
    server = fake_server(script)
    pooler = start_pooler(
        server_connect_timeout="60", query_wait_timeout="60", pool_mode="transaction",
        userlist={"bob": "bob-pw", "alice": ""}, databases={
            "p1": "host=127.0.0.1 port=%d" % pg.port,
            **{name: "host=127.0.0.1 port=%d" % server.port for name in verifiers}})
    other = pooler.client("p1", "alice")
    other.value("SELECT 1")
    clients = [ask(pooler, name) for name in verifiers]
    assert asked.wait(wire.TIMEOUT)
    served = 0
    while len(answered) < len(clients):
        assert other.value("SELECT 1") == "1"
        served += 1
    assert served >= 15
    for client in clients:
        client.welcome()


def test_server_that_does_not_wait_for_a_costly_proof(start_pooler, pg, fake_server):
    """Nor does it get one later: what is being derived for it is given up."""
    def impatient(what_follows):
        def script(side):
            side.read_startup()
            side.send_raw(SCRAM_OFFER)
            nonce = side.read().body.split(b"r=")[1].decode()
            challenge = first_message(nonce + "x", iterations=str(MOST_ITERATIONS))
            side.send_raw(wire.message("R", struct.pack("!i", 11) + challenge.encode())
                          + what_follows)
            if what_follows:
                hears_nothing(side)
        return script
    check_all_refused(start_pooler, pg, fake_server, {
        "OK": impatient(WELCOME), "offer": impatient(SCRAM_OFFER),
        "leaves": impatient(b"")})


# BS07

def scram_with(act):
    """A script that runs SCRAM properly up to our proof, then says what `act(nonce)` gives."""
    def script(side):
        side.read_startup()
        side.send_raw(SCRAM_OFFER)
        nonce = side.read().body.split(b"r=")[1].decode()
        side.send("R", struct.pack("!i", 11) + first_message(nonce + "xyz").encode())
        assert b",p=" in side.read().body
        side.send_raw(act(nonce))
        hears_nothing(side)
    return script


WELCOME = OK + parameter_status("server_version", "15") + ready()


def final(body):
    return wire.message("R", struct.pack("!i", 12) + body) + WELCOME


PROOFS = {
    "OK early": lambda nonce: WELCOME,
    "wrong": lambda nonce: final(b"v=" + b"A" * 43 + b"="),
    "none": lambda nonce: final(b"v="),
    "empty": lambda nonce: final(b""),
    "error": lambda nonce: final(b"e=other-error"),
    "twice": lambda nonce: wire.message("R", struct.pack("!i", 11)
                                        + first_message(nonce + "xyz").encode()),
    "cleartext": lambda nonce: wire.message("R", struct.pack("!i", 3)),
    "anew": lambda nonce: SCRAM_OFFER,
}


def test_servers_that_do_not_prove_the_secret(start_pooler, pg, fake_server):
    scripts = {name: scram_with(act) for name, act in PROOFS.items()}
    scripts["OK instead of the first message"] = early
    check_all_refused(start_pooler, pg, fake_server, scripts)


def early(side):
    side.read_startup()
    side.send_raw(SCRAM_OFFER)
    side.read()
    side.send_raw(WELCOME)
    hears_nothing(side)


def test_second_question(start_pooler, pg, fake_server):
    """One method for each login; after its answer nothing but the verdict."""
    def asks_again(second):
        def script(side):
            side.read_startup()
            side.ask_md5()
            side.send_raw(second)
            hears_nothing(side)
        return script
    check_all_refused(start_pooler, pg, fake_server, {
        "scram": asks_again(SCRAM_OFFER),
        "cleartext": asks_again(wire.message("R", struct.pack("!i", 3))),
        "md5": asks_again(wire.message("R", struct.pack("!i", 5) + b"salt"))})


# BS09

def test_bad_parameters(start_pooler, pg, fake_server):
    """All of a login together may have 256 KiB."""
    check_all_refused(start_pooler, pg, fake_server, {name: sends(data) for name, data in {
        "too many": OK + b"".join(parameter_status("p%d" % n, "value")
                                  for n in range(100_000)) + ready(),
        "before OK": parameter_status("server_version", "15") + OK + ready(),
        "no value": OK + wire.message("S", b"server_version\0") + ready(),
        "no end": OK + wire.message("S", b"server_version") + ready(),
        "empty": OK + wire.message("S", b"") + ready(),
        "three": OK + wire.message("S", b"a\0b\0c\0") + ready(),
        "1 MB": OK + parameter_status("a", "x" * 1_000_000) + ready()}.items()})


def test_parameter_twice(start_pooler, pg, fake_server):
    def script(side):
        side.read_startup()
        side.send_raw(OK + parameter_status("client_encoding", "UTF8")
                      + parameter_status("client_encoding", "LATIN1") + ready())
        side.serve(lambda side, sql: answer("in"))
    client = start(start_pooler, pg, fake_server(script)).client()
    assert client.value("SELECT 1") == "in"


def test_parameter_that_flips_in_a_session(start_pooler, pg, fake_server):
    """It belongs to the client that saw it; the other one gets his own value back by our SET."""
    def script(side):
        side.log_in()
        sets = []

        def reply(side, sql):
            if "SET" in sql:
                sets.append(sql)
                return wire.message("C", b"SET\0") + ready()
            if sql == "flip":
                return parameter_status("client_encoding", "LATIN1") + answer("flipped")
            return answer(len(sets))
        side.serve(reply)
    pooler = start(start_pooler, pg, fake_server(script), default_pool_size="1")
    one, two = pooler.client(), pooler.client()
    assert one.value("flip") == "flipped"
    assert one.parameters["client_encoding"] == "LATIN1"
    assert two.value("SELECT 1") == "1"
    assert two.parameters["client_encoding"] == "UTF8"


@pytest.mark.parametrize("body", [b"client_encoding\0", b"a\0b\0c", b"", b"x" * 300_000 + b"\0y\0"],
                         ids=["no value", "no end", "empty", "300 KB"])
def test_bad_parameter_in_a_session(start_pooler, pg, fake_server, body):
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: wire.message("S", body) + answer("x"))
    server = fake_server(script)
    pooler = start(start_pooler, pg, server)
    client = pooler.client()
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("broken ParameterStatus packet")
    gone(pooler, server)


# Floods

@pytest.mark.parametrize("data", [
    wire.message("N", b"\0"), wire.message("N", error_body("psst", "NOTICE", "00000")),
    wire.message("N", b"SNOTICE\0M" + b"x" * 60_000 + b"\0\0")], ids=["tiny", "usual", "large"])
@pytest.mark.parametrize("when", ["login", "reset"])
def test_server_that_never_stops_talking(start_pooler, pg, fake_server, when, data):
    """As fast as it can: others are served meanwhile, and the time limit ends it."""
    block = data * (1 + (1 << 18) // len(data))

    def talk(side):
        while True:
            side.sock.sendall(block)

    def script(side):
        if when == "login":
            side.read_startup()
            side.send_raw(OK)
            talk(side)
        elif side.log_in():
            side.serve(lambda side, sql: talk(side) if sql == "RESET IT" else answer("in"))
    server = fake_server(script)
    pooler = start_pooler(pool_mode="transaction", server_connect_timeout="1",
                          query_wait_timeout="2", server_reset_query="RESET IT", databases={
                              "p0": "host=127.0.0.1 port=%d pool_mode=session" % server.port,
                              "p1": "host=127.0.0.1 port=%d" % pg.port})
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler, memory_kib=2048):
        client = ask(pooler)
        if when == "login":
            refused(client)
        else:
            client.authenticate()
            client.welcome()
            client.query("SELECT 1")
            client.terminate()
        gone(pooler, server)
    assert "closing because: " + {"login": "connect timeout",
                                  "reset": "reset query failed"}[when] in pooler.log()


# BS10

def test_bad_key_lengths(start_pooler, pg, fake_server):
    scripts = {size: sends(OK + wire.message("K", b"\0\0\0\1" + b"k" * size) + ready())
               for size in (0, 3, 257, 1000)}
    scripts["nothing"] = sends(OK + wire.message("K", b"") + ready())
    check_all_refused(start_pooler, pg, fake_server, scripts)


@pytest.mark.parametrize("keys", [b"", wire.message("K", b"\0\0\0\1" + b"k" * 32),
                                  wire.message("K", b"\0\0\0\1" + b"k" * 256),
                                  wire.message("K", b"\0\0\0\1aaaa") + wire.message("K", b"\0\0\0\2bbbb")],
                         ids=["none", "32", "256", "two"])
def test_unusual_keys(start_pooler, pg, fake_server, keys):
    """It works. A cancel request is answered by the end, and sent on with the key that was given last."""
    def script(side):
        if side.read_startup() is None:
            return
        side.send_raw(OK + keys + ready())
        side.serve(lambda side, sql: (time.sleep(0.3), answer("in"))[1])
    server = fake_server(script)
    client = start(start_pooler, pg, server).client()
    client.send_raw(wire.query("SELECT 1"))
    client.expect_silence(0.1)
    client.cancel()
    assert client.result().value == "in"
    assert client.value("SELECT 2") == "in"
    assert server.cancels == ([] if not keys else [keys[keys.rindex(b"K") + 5:]])


# BS11

def test_login_in_pieces_with_notices(start_pooler, pg, fake_server):
    def script(side):
        side.read_startup()
        notice = wire.message("N", error_body("by the way", "NOTICE", "00000"))
        data = notice.join([b"", OK, parameter_status("server_version", "15"),
                            wire.message("K", side.key), ready()])
        for byte in data:
            side.sock.send(bytes([byte]))
        side.serve(lambda side, sql: answer("in"))
    assert start(start_pooler, pg, fake_server(script)).client().value("SELECT 1") == "in"


# BS12

def test_not_idle_after_the_login(start_pooler, pg, fake_server):
    check_all_refused(start_pooler, pg, fake_server, {
        body: sends(OK + wire.message("Z", body)) for body in (b"T", b"E", b"?", b"", b"II")})


def test_senseless_messages_in_a_login(start_pooler, pg, fake_server):
    scripts = {kind: sends(OK + wire.message(kind, b"\0\0\0\0") + ready())
               for kind in "TDCGHW123nstVIcdAv"}
    check_all_refused(start_pooler, pg, fake_server, scripts)


# BS13

IDLE_WORDS = {
    "notice": (wire.message("N", error_body("psst", "NOTICE", "00000")), False),
    "parameter": (parameter_status("server_version", "99"), False),
    "notification": (wire.message("A", b"\0\0\0\1news\0secret\0"), True),
    "57P01": (wire.message("E", error_body("terminating", "FATAL", "57P01")), False),
    "ready": (ready(), False),
    "answer": (answer("stolen"), False),
    "copy": (wire.message("G", b"\0\0\0"), False),
    "half a message": (b"D\0\0\1\0abc", False),
    "rubbish": (b"\xff" * 100, False),
}


def test_idle_servers_that_speak(start_pooler, pg, fake_server):
    """Nobody gets to read it; only a notification is no reason to close."""
    for what, (data, kept) in IDLE_WORDS.items():
        server = fake_server()
        pooler = start(start_pooler, pg, server)
        client = pooler.client()
        assert client.value("SELECT 1") == "1"
        server.sides[0].send_raw(data)
        if kept or what == "half a message":
            time.sleep(0.1)
        else:
            wait_for(lambda: hasattr(server.sides[0], "ended"), "it was closed: " + what)
        result = pooler.client().query("SELECT 2")
        assert (result.types, result.value) == ("TDCZ", "1" if kept else "2"), what
        assert client.value("SELECT 3") == result.value
        pooler.stop()
        pooler.process = None


def ends_when(event, how):
    """A script that logs in, answers one query, and ends when it is told to."""
    def script(side):
        if side.log_in():
            side.read()
            side.send_raw(answer(side.number))
            event.wait(10 * SLACK)
            getattr(side, how)()
    return script


@pytest.mark.parametrize("how", ["close", "reset"])
def test_idle_server_that_ends(start_pooler, pg, fake_server, how):
    end = threading.Event()
    server = fake_server(ends_when(end, how))
    pooler = start(start_pooler, pg, server)
    client = pooler.client()
    assert client.value("SELECT 1") == "1"
    server.script = serve_number
    end.set()
    wait_for(lambda: not pooler.show("SERVERS", database="p0"), "it is gone")
    assert client.value("SELECT 2") == "2"


# BS14

def refuse(side):
    side.reset()


def refuse_startup(side):
    side.read_startup()
    side.reset()


def refuse_password(side):
    side.read_startup()
    side.ask_md5()
    side.reset()


def refuse_parameters(side):
    side.read_startup()
    side.send_raw(OK + parameter_status("server_version", "15"))
    side.reset()


def end_in_a_message(side):
    side.read_startup()
    side.send_raw(OK + b"S\0\0\1\0server")


def test_connections_that_end_in_a_login(start_pooler, pg, fake_server):
    """Who waits goes on waiting; attempts keep their distance."""
    times = {}

    def timed(script):
        def timed_script(side):
            times.setdefault(script.__name__, []).append(time.monotonic())
            script(side)
        return timed_script
    scripts = (refuse, refuse_startup, refuse_password, refuse_parameters, end_in_a_message)
    errors = check_all_refused(start_pooler, pg, fake_server, {
        script.__name__: timed(script) for script in scripts})
    assert {fields["M"] for fields in errors.values()} == {"query_wait_timeout"}
    for name, when in times.items():
        assert 4 <= len(when) <= 16, name
        assert len(when) <= 2 + (when[-1] - when[0]) / 0.15, name


def test_nobody_there(start_pooler, pg):
    """Refused, unreachable, no such socket: told in the log with the address, to clients without."""
    port, hosts = free_port(), ("127.0.0.1", "255.255.255.255", "::1", "/nowhere/at/all")
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.3",
                          query_wait_timeout="0.7", databases={
                              "p1": "host=127.0.0.1 port=%d" % pg.port,
                              **{"d%d" % n: "host=%s port=%d" % (host, port)
                                 for n, host in enumerate(hosts)}})
    pooler.value("SELECT 1", dbname="p1", user="alice")
    with unharmed(pooler):
        clients = [ask(pooler, "d%d" % n) for n in range(len(hosts))]
        for client, host in zip(clients, hosts):
            fields = refused(client)
            assert fields["M"] == "query_wait_timeout", host
    assert 4 <= pooler.log().count("sbuf_connect failed") <= 16


def test_fast_refusal_names_no_host(start_pooler, pg, fake_server):
    """A client that is in already is told at once that the server fails; who waited waits on."""
    end = threading.Event()
    server = fake_server(ends_when(end, "reset"))
    pooler = start(start_pooler, pg, server, query_wait_timeout="60")
    client, second = pooler.client(), pooler.client()
    assert client.value("SELECT 1") == "1"
    server.script = refuse_startup
    end.set()
    wait_for(lambda: not pooler.show("SERVERS", database="p0"), "the first one is gone")
    client.send_raw(wire.query("SELECT 2"))
    pooler.wait_log("closing because: server conn crashed?", 2)
    second.send_raw(wire.query("SELECT 3"))
    fields = second.expect_any_error()
    assert fields["M"].startswith("server login has been failing, cached error: ")
    assert fields["M"].endswith(" (server_login_retry)")
    assert str(server.port) not in fields["M"]
    server.script = serve_number
    assert int(client.result().value) >= 3


def test_reset_right_after_the_login(start_pooler, fake_server):
    """Many wait, and each new server dies before anybody has it: that is paced, too."""
    def script(side):
        if not side.log_in():
            return
        if side.number == 1:
            side.serve(lambda side, sql: answer(1, "T" if sql == "BEGIN" else "I"))
        elif side.number < 200:
            side.reset()
        else:
            serve_number(side)
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          server_login_retry="0.2", query_wait_timeout="60")
    holder = pooler.client()
    holder.query("BEGIN")
    clients = [pooler.client() for _ in range(40)]
    for client in clients:
        client.send_raw(wire.query("SELECT 1"))
    time.sleep(1)
    attempts = len(server.sides)
    told = [client for client in clients if client.has_data()]
    assert attempts <= len(told) + 60, (attempts, len(told))
    for client in told:
        refused(client)
    holder.query("COMMIT")
    for client in clients:
        if client not in told:
            client.result()


# BS15

def test_role_that_is_missing_for_a_while(start_pooler, pg):
    """Only its own pool fails, and is healed by the role alone."""
    pg.sql("DROP ROLE IF EXISTS ghost")
    pooler = start_pooler(pool_mode="transaction", server_login_retry="0.1", default_pool_size="1",
                          userlist={"ghost": "x", "bob": "x", "alice": "x"})
    assert pooler.value("SELECT 1", dbname="p1", user="alice") == 1
    with unharmed(pooler):
        for _ in range(3):
            fields = meet(pooler, "ghost")
            assert (fields["C"], fields["M"]) == ("28000", 'role "ghost" does not exist')
            assert pooler.value("SELECT 1", dbname="p1", user="alice") == 1
    pg.create_role("ghost")
    try:
        assert pooler.value("SELECT current_user::text", user="ghost") == "ghost"
    finally:
        pooler.admin("KILL p0")
        pg.sql("DROP ROLE ghost")
