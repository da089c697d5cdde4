"""Section 3 of the catalogue: clients that prove themselves badly, or try to pass without proof."""

import base64
import contextlib
import glob
import os
import random
import re
import struct
import time

import pytest

from support import wire
from support.invariants import fatal, refused
from support.process import SLACK, resident_kib, wait_for

PASSWORD = "right-pw"
SECRETS = {
    "plain": PASSWORD,
    "hashed": wire.md5_secret("hashed", PASSWORD),
    "scram": wire.scram_secret(PASSWORD),
    "empty": "",
    "bob": "bob-pw",
    "alice": "alice-pw",
}
METHODS = ["plain", "md5", "scram-sha-256"]
FAILED = {"plain": "password authentication failed", "md5": "password authentication failed",
          "scram-sha-256": "SASL authentication failed"}
SCRAM_FAILED = FAILED["scram-sha-256"]
SOURCES = os.path.join(os.path.dirname(__file__), "..", "..", "..", "src")


@pytest.fixture
def doors(field):
    """doors(auth_type): every user of SECRETS becomes bob on the server; the canaries as usual."""
    def start(auth_type, **settings):
        settings.setdefault("databases", {"p0": "user=bob", "p1": ""})
        settings.setdefault("userlist", SECRETS)
        return field(auth_type=auth_type, **settings)
    return start


def offer(pooler, user="plain", database="p0"):
    """A client that has been asked for its password; the request's body."""
    client = pooler.wire()
    client.startup(user, database)
    return client, client.expect("R").body


def sasl_initial(data, mechanism="SCRAM-SHA-256", length=None):
    data = data if isinstance(data, bytes) else data.encode()
    return wire.message("p", wire.cstring(mechanism)
                        + struct.pack("!I", (len(data) if length is None else length) & 0xffffffff)
                        + data)


def begun(pooler, user="plain", password=PASSWORD, **scram_arguments):
    """A SCRAM login up to the server's first message: the client and its final message."""
    client, _ = offer(pooler, user)
    client.scram = wire.Scram(password, **scram_arguments)
    client.send_raw(sasl_initial(client.scram.first()))
    return client, client.scram.final(client.expect("R").body[4:])


def attempt(pooler, user, password, database="p0"):
    """Logs in and asks something; None, or the error that ended it."""
    client = pooler.wire()
    try:
        client.login(user, database, password)
    except wire.ServerError as failure:
        client.expect_eof()
        return failure.message
    assert client.value("SELECT 1") == "1"
    client.close()
    return None


# Messages that are not what they say

FIRST = b"n,,n=,r=abcdefgh"


def test_au01_lengths_of_the_initial_response(doors):
    """Never believed, never waited for."""
    pooler = doors("scram-sha-256")
    for length in (0xffffffff, 0xfffffff0, 0x7fffffff, 0xfffffffe, 0x80000000, len(FIRST) + 1,
                   len(FIRST) - 1, 0, 1):
        client, _ = offer(pooler)
        client.send_raw(sasl_initial(FIRST, length=length))
        fatal(client, SCRAM_FAILED)
    client, _ = offer(pooler)
    client.send_raw(sasl_initial(b"", length=-1))
    fatal(client, SCRAM_FAILED)


def test_au02_initial_responses_without_their_parts(doors):
    pooler = doors("scram-sha-256")
    for body in (b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256\0", b"SCRAM-SHA-256\0\0\0\0", b"\0",
                 b"\0\0\0\0",
                 b"x" * 1000, b"\0" * 1000):
        client, _ = offer(pooler)
        client.send("p", body)
        fatal(client)


@pytest.mark.parametrize("auth_type", METHODS)
def test_au03_forged_lengths_of_a_password_message(doors, field, auth_type):
    """Too much is refused from the header; no unknown client makes the pooler keep megabytes."""
    pooler = doors(auth_type)
    for length in (0, 3, -1, -2147483648, 65541, 1 << 30, 0x7fffffff):
        client, _ = offer(pooler)
        client.send_raw(wire.forged("p", length))
        assert "bad packet header" in fatal(client)["M"]
    memory = resident_kib(pooler.pid)
    for _ in range(5):
        client, _ = offer(pooler)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send_raw(wire.forged("p", 1 << 30) + b"x" * (4 << 20))
        refused(client, 2)
    if not field.watch.sanitized:
        assert resident_kib(pooler.pid) - memory <= 1024


def test_au03_password_messages_that_never_end(doors, field):
    """What an unknown client may make us keep is one message, and the next ones find its memory."""
    pooler = doors("plain")
    count, kib = 40, 65
    field.watch.memory_kib += count * kib  # freed, but between what is not
    peaks = []
    for _ in range(3):
        clients = [offer(pooler)[0] for _ in range(count)]
        for client in clients:
            client.send_raw(wire.forged("p", 65000) + b"x" * 64000)
        assert attempt(pooler, "plain", PASSWORD) is None
        peaks.append(resident_kib(pooler.pid))
        for client in clients:
            client.close()
        wait_for(lambda: pooler.list_items()["login_clients"] == 0, "all gone")
    if not field.watch.sanitized:
        assert peaks[0] - field.watch.memory_before <= count * kib + 1024
        assert peaks[2] - peaks[0] <= 512


def test_au04_other_mechanisms(doors):
    pooler = doors("scram-sha-256")
    for mechanism in ("FOO", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "", "scram-sha-256",
                      "SCRAM-SHA-256 ",
                      "SCRAM-SHA-25", "SCRAM-SHA-2566", "%s%n", "x" * 5000):
        client, _ = offer(pooler)
        client.send_raw(sasl_initial(FIRST, mechanism))
        fatal(client, "client selected an invalid SASL authentication mechanism")


def test_au06_channel_binding_that_was_not_agreed_on(doors):
    """What the final message binds is what the first one announced, byte for byte."""
    pooler = doors("scram-sha-256")
    bindings = [base64.b64encode(text).decode() for text in (
        b"y,,", b"p=tls-server-end-point,,", b"p=tls-unique,,", b"n,a=x,", b"n,,x", b"", b"n,",
        b"N,,")]
    for binding in bindings + ["biws=", "biw", "biwsbiws", ""]:
        client, final = begun(pooler)
        client.send("p", final.replace(b"c=biws", b"c=" + binding.encode()))
        fatal(client, SCRAM_FAILED)
    client, final = begun(pooler, gs2="y,,")
    client.send("p", final.replace(b"c=eSws", b"c=biws"))
    fatal(client, SCRAM_FAILED)
    for gs2 in ("p=tls-server-end-point,,", "p=,,", "p=tls-unique,a=x,"):
        client, _ = offer(pooler)
        client.send_raw(sasl_initial(gs2 + "n=,r=abcdefgh"))
        fatal(client, SCRAM_FAILED)


BAD_FIRSTS = [
    b"n,a=plain,n=,r=abc", b"n,,m=x,n=,r=abc", b"n,,n=,r=", b"n,,n=", b"n,,r=abc",
    b"n,,n=,m=x,r=abc",
    b"", b"n", b"n,", b"n,,", b",,,,,,", b"n,,n=,r=abc\0def", b"n,,n=,r=\xff\xfe", b"n,,n=,r=a b",
    b"n,,n=,r=\xc3\xa4", b"n,,\0n=,r=abc", b"\0" * 100, b"n,,n=,r", b"n,,n=,=abc", b"x" * 60000,
    b"," * 60000, b"n,,n=,r=" + b"r" * 60000, b"n,,n=" + b"u" * 60000 + b",r=abc"]


def test_au07_bad_first_messages(doors):
    """A failure like any other, in no time to speak of."""
    pooler = doors("scram-sha-256")
    for first in BAD_FIRSTS:
        client, _ = offer(pooler)
        begin = time.monotonic()
        client.send_raw(sasl_initial(first))
        fatal(client, SCRAM_FAILED)
        assert time.monotonic() - begin < 0.5 * SLACK


def test_au07_first_messages_that_are_good(doors):
    """An extension behind the nonce is ignored, a comma ends the nonce, the user name does not count."""
    pooler = doors("scram-sha-256")
    for extra in ("", ",x=y", ",x=y,z=abc"):
        scram = wire.Scram(PASSWORD, user="=2C=3D")
        scram.first_bare += extra
        client, _ = offer(pooler)
        client.send_raw(sasl_initial(scram.first()))
        client.send("p", scram.final(client.expect("R").body[4:]))
        assert client.expect("R").body[:4] == struct.pack("!i", 12)


def test_au07_bad_final_messages(doors):
    pooler = doors("scram-sha-256")
    proofs = [base64.b64encode(b"x" * size) for size in (0, 1, 31, 32, 33, 64, 40000)]
    proofs += [b"", b"!", b"====", b"A" * 43, b"A" * 45, b"\0" * 44, b"A" * 43 + b"\xff", b" " * 44]
    changes = [lambda final, proof=proof: final.split(b",p=")[0] + b",p=" + proof
               for proof in proofs]
    changes += [
        lambda final: b"", lambda final: b"\0", lambda final: final + b"\0",
        lambda final: b"\0" + final,
        lambda final: final.split(b",p=")[0], lambda final: final + b",x=y",
        lambda final: final + b",p=" + final.split(b",p=")[1],
        lambda final: final.replace(b"r=", b"r=x"),
        lambda final: final.replace(b"r=", b"R="), lambda final: final.replace(b",p=", b",i=1,p="),
        lambda final: final.replace(b",p=", b",r=x,p="),
        lambda final: final.replace(b",p=", b",,p="),
        lambda final: final.replace(b"c=biws,", b""), lambda final: b"," * 60000,
        lambda final: b"x=y," * 15000 + final,
        lambda final: final.replace(b",p=", b",x=" + b"y" * 60000)]
    for change in changes:
        client, final = begun(pooler)
        begin = time.monotonic()
        client.send("p", change(final))
        assert fatal(client)["M"] == SCRAM_FAILED, change(final)[-200:]
        assert time.monotonic() - begin < 0.5 * SLACK


# Replay and order

def test_au08_replay_and_nonces(doors):
    pooler = doors("scram-sha-256")
    client, final = begun(pooler)
    recorded = client.scram
    client.send("p", final)
    assert client.expect("R").body[:4] == struct.pack("!i", 12)
    again, _ = offer(pooler)
    again.send_raw(sasl_initial(recorded.first()))
    again.expect("R")
    again.send("p", final)
    fatal(again, SCRAM_FAILED)

    nonces = set()
    for _ in range(300):
        client, _ = offer(pooler)
        client.send_raw(sasl_initial(FIRST))
        attributes = dict(part.split(b"=", 1) for part in client.expect("R").body[4:].split(b","))
        assert attributes[b"r"].startswith(b"abcdefgh")
        nonces.add(base64.b64decode(attributes[b"r"][8:], validate=True))
        client.close()
    assert len(nonces) == 300 and min(map(len, nonces)) >= 18


def test_au09_messages_out_of_turn(doors):
    pooler = doors("scram-sha-256")
    first = sasl_initial(FIRST)
    client, _ = offer(pooler)
    client.send_raw(first)
    client.expect("R")
    client.send_raw(first)
    fatal(client, SCRAM_FAILED)
    both, _ = offer(pooler)
    both.send_raw(first + first)
    both.expect("R")
    fatal(both, SCRAM_FAILED)
    client, final = begun(pooler)
    client.send_raw(wire.message("p", final) * 2)
    client.expect("R")
    client.expect("R")
    client.welcome()
    fatal(client, "unknown pkt")
    for stage in (offer, begun):
        for kind in "QXSPdcf":
            client, _ = stage(pooler)
            client.send(kind, b"SELECT 1\0")
            assert refused(client) is None


@pytest.mark.parametrize("auth_type", ["plain", "md5"])
def test_au09_passwords_out_of_turn(doors, auth_type):
    pooler = doors(auth_type)
    for kind in "QXSPdcf":
        client, _ = offer(pooler)
        client.send(kind, b"SELECT 1\0")
        assert refused(client) is None
    client, request = offer(pooler)
    answer = PASSWORD if auth_type == "plain" else wire.md5_answer(PASSWORD, "plain", request[4:8])
    client.send_raw(wire.message("p", wire.cstring(answer)) * 2)
    client.expect("R")
    client.welcome()
    fatal(client, "unknown pkt")


# What a failure tells

SECRET_WORDS = r"key|proof|signature|password|response|expected|verifier|nonce"


def test_au10_secrets_are_compared_in_constant_time():
    """By the calls that the code makes: a stopwatch could not tell on a shared machine."""
    sources = {}
    for path in sorted(glob.glob(os.path.join(SOURCES, "auth", "*.c"))) + [
            os.path.join(SOURCES, "base", "secret.c")]:
        with open(path) as file:
            sources[os.path.basename(path)] = file.read()
    for name in ("secret.c", "client_auth.c", "scram.c"):
        assert "CRYPTO_memcmp(" in sources[name], name
    for name, text in sources.items():
        for call in re.findall(r"(?<!CRYPTO_)\b(?:memcmp|strn?cmp|strn?casecmp|bcmp)\([^;{]*?\)", text):
            assert not re.search(SECRET_WORDS, call) or "salt" in call or "->nonce, own" in call or (
                "prefix" in call), (name, call)


@pytest.mark.parametrize("auth_type", METHODS)
def test_au10_the_place_of_the_first_wrong_byte_does_not_show(doors, auth_type):
    pooler = doors(auth_type)
    for place in range(len(PASSWORD)):
        wrong = PASSWORD[:place] + "\x01" + PASSWORD[place + 1:]
        assert attempt(pooler, "plain", wrong) == FAILED[auth_type]
    assert attempt(pooler, "plain", PASSWORD[:-1]) == FAILED[auth_type]
    assert attempt(pooler, "plain", PASSWORD + "x") == FAILED[auth_type]


def transcript(pooler, user, database, password="wrong"):
    """What a peer sees of a failed login, without what is random."""
    client = pooler.wire()
    client.startup(user, database)
    with pytest.raises(wire.ServerError) as failure:
        client.authenticate(password)
    client.expect_eof()
    shown = (tuple(client.auth_codes), tuple(sorted(failure.value.fields.items())))
    if 11 in client.auth_codes:
        attributes = client.scram.attributes
        shown += (len(attributes["r"]), len(attributes["s"]), attributes["i"])
    return shown


@pytest.mark.parametrize("auth_type", METHODS)
def test_au11_failures_look_alike(doors, auth_type):
    """A wrong password, an unknown user, a secret that cannot be used, an unknown database."""
    pooler = doors(auth_type)
    users = ["plain", "nobody", "empty", "nobody\xe4", "%s", "hashed"]
    if auth_type != "md5":  # there a SCRAM secret is asked for with SCRAM, as PgBouncer does
        users.append("scram")
    for password in ("wrong", "md5" + "0" * 32):
        seen = {transcript(pooler, user, database, password)
                for user in users for database in ("p0", "nowhere")}
        assert len(seen) == 1, seen


def test_au11_the_salt_of_an_unknown_user_is_stable(doors):
    pooler = doors("scram-sha-256")
    salts = {}
    for user in ("plain", "nobody", "somebody", "hashed") * 3:
        client, _ = begun(pooler, user)
        salts.setdefault(user, set()).add(client.scram.attributes["s"])
        client.close()
    assert [len(seen) for seen in salts.values()] == [1] * 4
    assert len(set.union(*salts.values())) == 4
    pooler.admin("RELOAD")
    client, _ = begun(pooler, "nobody")
    assert salts["nobody"] == {client.scram.attributes["s"]}


# Passwords that are no passwords

@pytest.mark.parametrize("auth_type", METHODS)
def test_au12_empty_passwords(doors, auth_type):
    pooler = doors(auth_type)
    for user in ("plain", "hashed", "scram", "empty", "nobody"):
        assert attempt(pooler, user, "") in (
            FAILED[auth_type], SCRAM_FAILED, "empty password returned by client")
    for body in (b"", b"\0", b"\0\0", PASSWORD.encode(), PASSWORD.encode() + b"\0\0",
                 b"\0" + PASSWORD.encode() + b"\0", b"md5d41d8cd98f00b204e9800998ecf8427e\0"):
        for user in ("plain", "empty"):
            client, _ = offer(pooler, user)
            client.send("p", body)
            fatal(client)


@pytest.mark.parametrize("auth_type", METHODS)
def test_au13_long_passwords_in_pieces(doors, auth_type):
    lengths = (1023, 1024, 4096, 65530)
    pooler = doors(auth_type, userlist={
        **SECRETS, **{"long%d" % length: "x" * length for length in lengths}})
    for length in lengths:
        client, request = offer(pooler, "long%d" % length)
        if auth_type == "scram-sha-256":
            assert attempt(pooler, "long%d" % length, "x" * length) is None
            continue
        answer = "x" * length
        if auth_type == "md5":
            answer = wire.md5_answer(answer, "long%d" % length, request[4:8])
        data = wire.message("p", wire.cstring(answer))
        for place in range(0, len(data), len(data) // 7 + 1):
            client.send_raw(data[place:place + len(data) // 7 + 1])
            time.sleep(0.002)
        assert client.expect("R").body == struct.pack("!i", 0)
    for length in (65531, 65535, 65536):
        client, _ = offer(pooler)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send("p", b"x" * length + b"\0")
        fatal(client)


def test_au14_salts_of_md5(doors, field):
    pooler = doors("md5")
    field.watch.events += 1000
    salts = set()
    for _ in range(1000):
        client = wire.Client(pooler.socket_dir, pooler.port)
        client.startup("plain", "p0")
        salts.add(client.expect("R").body[4:])
        client.close()
    assert len(salts) >= 999
    for place in range(4):
        assert len({salt[place] for salt in salts}) > 200
    client, request = offer(pooler)
    answer = wire.md5_answer(PASSWORD, "plain", request[4:8])
    client.send("p", wire.cstring(answer))
    client.expect("R")
    again, _ = offer(pooler)
    again.send("p", wire.cstring(answer))
    fatal(again, FAILED["md5"])


KEYS = "%s:%s" % ((base64.b64encode(b"k" * 32).decode(),) * 2)
GOOD_KEYS = SECRETS["scram"].split("$")[2]
BROKEN_SECRETS = {
    "none": "SCRAM-SHA-256$0:c2FsdA==$" + KEYS, "minus": "SCRAM-SHA-256$-1:c2FsdA==$" + KEYS,
    "salt": "SCRAM-SHA-256$4096:bad base64$" + KEYS, "cut": "SCRAM-SHA-256$4096:c2FsdA==$eA==",
    "keys": "SCRAM-SHA-256$4096:c2FsdA==$eA==:eA==", "head": "SCRAM-SHA-256$",
    "many": "SCRAM-SHA-256$2147483647:c2FsdA==$" + KEYS,
    "more": "SCRAM-SHA-256$4294967296:c2FsdA==$" + KEYS,
    "over": "SCRAM-SHA-256$1000001:c2FsdA==$" + KEYS}


@pytest.mark.parametrize("auth_type", METHODS)
def test_au15_broken_verifiers(doors, auth_type):
    """No way in, not even with the text itself, and no computation without an end."""
    pooler = doors(auth_type, userlist={**SECRETS, **BROKEN_SECRETS})
    for user, secret in BROKEN_SECRETS.items():
        if user in ("many", "over") and auth_type != "plain":
            continue  # no broken ones; there the client has to compute, not we
        begin = time.monotonic()
        for password in (PASSWORD, secret, "k" * 32):
            assert attempt(pooler, user, password) == FAILED[auth_type]
        assert time.monotonic() - begin < 1 * SLACK
    assert "k" * 32 not in pooler.log() and KEYS not in pooler.log()


def test_au15_methods_and_secrets(doors):
    """Which secret serves which method is PostgreSQL's table."""
    pooler = doors("plain")
    expected = {"plain": {"plain": None, "hashed": None, "scram": None},
                "md5": {"plain": None, "hashed": None, "scram": None},
                "scram-sha-256": {"plain": None, "hashed": SCRAM_FAILED, "scram": None}}
    for auth_type, table in expected.items():
        pooler.settings["auth_type"] = auth_type
        pooler.reload()
        for user, outcome in table.items():
            assert attempt(pooler, user, PASSWORD) == outcome
            assert attempt(pooler, user, "wrong") in (FAILED[auth_type], SCRAM_FAILED)
    for auth_type in ("plain", "scram-sha-256"):  # with md5 the hash is as good as the password
        pooler.settings["auth_type"] = auth_type
        pooler.reload()
        for user in ("hashed", "scram"):
            assert attempt(pooler, user, SECRETS[user]) == FAILED[auth_type]


def test_au16_an_unknown_user_never_becomes_auth_user(doors):
    pooler = doors("md5", auth_user="carol", userlist={**SECRETS, "carol": "carol-pw"})
    for database in ("p0", "p1"):
        for password in ("", "carol-pw", "x"):
            # carol may not ask for secrets, so the query fails
            assert attempt(pooler, "nobody", password, database) in (
                FAILED["md5"], "empty password returned by client", "bouncer config error")


@pytest.mark.parametrize("auth_type", METHODS)
def test_au21_the_password_counts_whatever_is_open(doors, auth_type):
    pooler = doors(auth_type)
    users = ["plain", "scram"] + ["hashed"] * (auth_type != "scram-sha-256")
    for user in users:
        for _ in range(3):
            assert attempt(pooler, user, PASSWORD) is None
            assert attempt(pooler, user, "wrong") in (FAILED[auth_type], SCRAM_FAILED)
    kept = pooler.client("p0", "plain", PASSWORD)
    kept.query("BEGIN")
    assert attempt(pooler, "plain", "wrong") == FAILED[auth_type]


@pytest.mark.parametrize("auth_type", METHODS)
def test_au22_the_consoles_door(doors, auth_type):
    """Names match whole, and the console wants the password like every database."""
    names = ["adm", "admin2", "dmin", "ADMIN", "admin ", " admin", "admin,stats", "stat", "bob"]
    pooler = doors(auth_type, userlist={**SECRETS, **dict.fromkeys(names, "admin-pw")})
    for name in names:
        assert attempt(pooler, name, "admin-pw", "pgbouncer") == "not allowed"
    for name in ("admin", "stats"):
        assert attempt(pooler, name, "wrong", "pgbouncer") == FAILED[auth_type]
    assert attempt(pooler, "pgbouncer", "x", "pgbouncer") == FAILED[auth_type]


# Numbers

@pytest.mark.parametrize("auth_type", METHODS)
def test_au25_wrong_passwords_by_the_hundred(doors, field, auth_type):
    """They fail and leave nothing; meanwhile another address's user gets in."""
    pooler = doors(auth_type)
    field.watch.events += 300
    for place in range(300):
        client = wire.Client(pooler.host, pooler.port)
        client.startup("plain", "p0")
        client.expect("R")
        client.send("p", b"wrong\0" if auth_type != "scram-sha-256" else b"SCRAM-SHA-256\0\0\0\0\0")
        fatal(client, FAILED[auth_type])
        client.close()
        if place % 100 == 0:
            assert attempt(pooler, "plain", PASSWORD) is None
    assert pooler.list_items()["login_clients"] == 0


def test_au26_scram_logins_do_not_stop_the_others(doors):
    """A verifier is made of a plain password once, not for each login: the canary watches."""
    pooler = doors("scram-sha-256")
    keys = {}
    for place in range(300):
        client, _ = offer(pooler)
        scram = client.scram = wire.Scram(PASSWORD)
        client.send_raw(sasl_initial(scram.first()))
        server_first = client.expect("R").body[4:]
        salt = re.search(rb"s=([^,]+)", server_first).group(1)
        if salt not in keys:
            keys[salt] = scram.final(server_first)
        client.send("p", b"c=biws,r=x,p=" if place % 10 else scram.final(server_first))
        got = client.read()
        assert got.type == ("E" if place % 10 else "R")
        client.close()
    assert len(keys) == 1


def test_au28_secrets_show_nowhere(doors, field):
    pooler = doors("scram-sha-256", verbose="2", userlist={**SECRETS, "odd": "p'w\"%s"})
    for user in ("plain", "scram", "hashed", "odd", "nobody"):
        attempt(pooler, user, PASSWORD)
        attempt(pooler, user, "wr0ng-passw0rd")
    shown = "".join(repr(pooler.admin("SHOW " + item)) for item in (
        "CONFIG", "USERS", "DATABASES", "CLIENTS", "SERVERS", "POOLS", "MEM", "STATE", "LISTS"))
    with open("/proc/%d/cmdline" % pooler.pid, "rb") as file:
        shown += file.read().decode()
    shown += pooler.log() + pooler.stderr()
    for secret in (PASSWORD, "bob-pw", "alice-pw", "admin-pw", "wr0ng-passw0rd", "p'w",
                   SECRETS["hashed"][3:], GOOD_KEYS, GOOD_KEYS.split(":")[0]):
        assert secret not in shown
    field.watch.events += 2000  # the log is verbose


LDAP = "ldapserver=127.0.0.1 ldapbasedn=dc=x"


@pytest.mark.parametrize("databases, settings, userlist, hba", [
    ("p0 = host=x password=%s pool_mode=no", "", "", ""),
    ("p0 = host=x password=%s port=70000", "", "", ""),
    ("p0 = password=%s word", "", "", ""),
    ("p0 = password='%s", "", "", ""),
    ("p0 = pasword=%s", "", "", ""),
    ("p0 host=x password=%s", "", "", ""),
    ("'p0 = password=%s", "", "", ""),
    ("", "password = %s", "", ""),
    ("", "auth_ldap_options = " + LDAP + " ldapbindpasswd=%s ldaptls=2", "", ""),
    ("", "auth_ldap_options = " + LDAP + " \"ldapbindpasswd=%s", "", ""),
    ("", "auth_ldap_options = " + LDAP + " ldapbindpasswd=two %s=x", "", ""),
    ("", "auth_type = ldap\nauth_ldap_options = ldapbindpasswd=%s", "", ""),
    ("", "", '"bob" "%s', ""),
    ("", "", '"bob" %s', ""),
    ("", "", '"" "%s"', ""),
    ("", "", "", "host all all all ldap " + LDAP + " ldapbindpasswd=%s word"),
    ("", "", "", "host all all all ldap " + LDAP + ' "ldapbindpasswd=%s'),
    ("", "", "", "host all all ldap " + LDAP + " ldapbindpasswd=%s"),
    ("", "", "", "host all all ldapbindpasswd=%s ldap"),
    ("", "", "", "host all all 127.0.0.1 ldapbindpasswd=%s"),
    ("", "", "", "local all ldap ldapbindpasswd=%s"),
    ("", "", "", "local all all md5 ldapbindpasswd=%s"),
    ("", "", "", "local all"),
])
def test_au28_no_error_of_the_configuration_shows_a_secret(make_pooler, databases, settings,
                                                           userlist, hba):
    """Only the last of these is without one."""
    pooler = make_pooler()
    secret = "Xy7Secret"
    hba_file = os.path.join(pooler.folder, "hba")
    pooler.ini_raw = "[databases]\n%s\n[pgbouncer]\nauth_type = %s\nauth_file = %s\n%s\n" \
                     "auth_hba_file = %s\n%s\n" % (
                         databases.replace("%s", secret), "hba" if hba else "md5",
                         pooler.userlist_file, "listen_addr = 127.0.0.1", hba_file,
                         settings.replace("%s", secret))
    pooler.userlist_raw = userlist.replace("%s", secret) + "\n"
    pooler.write()
    pooler.write_file(hba_file, hba.replace("%s", secret) + "\n")
    code, out, err = pooler.run("--check", pooler.ini)
    assert code == 1 and "error: " in err
    assert secret not in out + err


def test_au28_the_password_for_ldap_shows_nowhere(doors):
    options = LDAP + ' "ldapbindpasswd=Xy7 Secret"'
    pooler = doors("scram-sha-256", verbose="2", auth_ldap_options=options)
    shown = repr(pooler.admin("SHOW CONFIG"))
    assert "ldapbindpasswd=***" in shown
    pooler.settings["auth_ldap_options"] = options.replace("Xy7", "Xy8")
    pooler.reload()
    shown += repr(pooler.admin("SHOW CONFIG")) + pooler.log() + pooler.stderr()
    pooler.admin("SET auth_ldap_options = '%s'" % options.replace("Xy7", "Xy9"))
    shown += repr(pooler.admin("SHOW CONFIG")) + pooler.log() + pooler.stderr()
    assert not re.search("Xy[789]|Secret", shown)


@pytest.mark.parametrize("auth_type", METHODS)
def test_au29_the_deadline_and_everything_else_at_once(doors, auth_type):
    """The login's time is over while the client leaves, resets, or sends what completes the login."""
    seconds = 0.1
    pooler = doors(auth_type, tcp_defer_accept="0")
    pooler.admin("SET client_login_timeout = '%g'" % seconds)
    draw = random.Random(29)
    for _ in range(6):
        begin, actions = time.monotonic(), []
        for _ in range(12):
            client, request = offer(pooler)
            if auth_type == "plain":
                last = wire.message("p", wire.cstring(PASSWORD))
            elif auth_type == "md5":
                last = wire.message("p", wire.cstring(wire.md5_answer(PASSWORD, "plain",
                                                                      request[4:8])))
            else:
                client.scram = scram = wire.Scram(PASSWORD)
                client.send_raw(sasl_initial(scram.first()))
                last = wire.message("p", scram.final(client.expect("R").body[4:]))
            at = time.monotonic() + seconds - (time.monotonic() - begin) * draw.random()
            actions.append((at + draw.uniform(-0.01, 0.01), id(client), client, last))
        for at, _, client, last in sorted(actions):
            time.sleep(max(0.0, at - time.monotonic()))
            ending = draw.choice(["close", "reset", "last", "last and close", "half"])
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if "last" in ending:
                    client.send_raw(last)
                if ending == "half":
                    client.send_raw(last[:10])
                if ending == "reset":
                    client.reset()
                elif "close" in ending:
                    client.close()
    pooler.close_clients()
    pooler.admin("RELOAD")
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left")
