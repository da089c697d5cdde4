"""From the first byte of a client to its welcome: startup packets, authentication, limits."""

import base64
import struct
import subprocess
import time

import pytest

from support import wire
from support.fake_server import PARAMETERS, answer
from support.process import is_running, unprivileged, wait_for

PASSWORD = "right-pw"
SECRETS = {
    "plain_secret": PASSWORD,
    "md5_secret": wire.md5_secret("md5_secret", PASSWORD),
    "scram_secret": wire.scram_secret(PASSWORD),
    "empty_secret": "",
    "bob": "bob-pw",
}
FAILED = {"plain": "password authentication failed", "md5": "password authentication failed",
          "scram-sha-256": "SASL authentication failed"}
ASKS = {"plain": 3, "md5": 5, "scram-sha-256": 10}


@pytest.fixture
def auth_pooler(start_pooler):
    """auth_pooler(auth_type): every client user becomes bob on the server."""
    def start(auth_type, **arguments):
        arguments.setdefault("databases", {"p0": "user=bob", "p1": "user=bob"})
        arguments.setdefault("userlist", SECRETS)
        return start_pooler(auth_type=auth_type, **arguments)
    return start


def attempt(pooler, user, password, database="p0"):
    """Logs in; the auth codes seen, and the error's text or None."""
    client = pooler.wire()
    try:
        client.login(user, database, password)
        assert client.value("SELECT 1") == "1"
        return client.auth_codes, None
    except wire.ServerError as failure:
        assert (failure.severity, failure.sqlstate) == ("FATAL", "08P01")
        client.expect_eof()
        return client.auth_codes, failure.message


# Which secret works with which method

@pytest.mark.parametrize("auth_type,user,asked,accepted", [
    ("plain", "plain_secret", 3, True), ("plain", "md5_secret", 3, True),
    ("plain", "scram_secret", 3, True),
    ("md5", "plain_secret", 5, True), ("md5", "md5_secret", 5, True),
    ("md5", "scram_secret", 10, True),
    ("scram-sha-256", "plain_secret", 10, True), ("scram-sha-256", "md5_secret", 10, False),
    ("scram-sha-256", "scram_secret", 10, True)])
def test_secret_and_method(auth_pooler, auth_type, user, asked, accepted):
    pooler = auth_pooler(auth_type)
    codes, error = attempt(pooler, user, PASSWORD)
    assert codes[0] == asked
    assert error == (None if accepted else FAILED[auth_type])
    codes, error = attempt(pooler, user, "wrong")
    assert codes[0] == asked
    assert error == ("SASL authentication failed" if asked == 10 else FAILED[auth_type])


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_libpq_logs_in(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type)
    assert pooler.value("SELECT 1", user="plain_secret", password=PASSWORD) == 1


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_unknown_user_looks_like_a_wrong_password(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type)
    assert attempt(pooler, "nobody", PASSWORD) == attempt(pooler, "plain_secret", "wrong")
    assert attempt(pooler, "nobody", PASSWORD)[1] == FAILED[auth_type]
    assert "no such user: nobody" in pooler.log()


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_user_without_a_secret_never_gets_in(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type)
    for password in ("x", "md5", "d41d8cd98f00b204e9800998ecf8427e"):
        assert attempt(pooler, "empty_secret", password)[1] == FAILED[auth_type]


@pytest.mark.parametrize("auth_type", ["plain", "md5"])
def test_empty_password(auth_pooler, auth_type):
    client = auth_pooler(auth_type).wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    client.send("p", b"\0")
    client.expect_error("empty password returned by client")


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_unknown_database_is_told_after_the_password(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type)
    assert attempt(pooler, "plain_secret", PASSWORD, "nowhere")[1] == "no such database: nowhere"
    assert attempt(pooler, "plain_secret", "wrong", "nowhere")[1] == FAILED[auth_type]
    assert attempt(pooler, "nobody", "wrong", "nowhere")[1] == FAILED[auth_type]


def test_long_database_name_is_cut_in_the_error(auth_pooler):
    pooler = auth_pooler("trust")
    client = pooler.wire()
    client.startup("bob", "x" * 100)
    assert client.expect_any_error()["M"].startswith("no such database: " + "x" * 63)


def test_trust(auth_pooler):
    pooler = auth_pooler("trust")
    assert attempt(pooler, "plain_secret", "") == ([0], None)


def test_trust_needs_a_known_user(auth_pooler):
    client = auth_pooler("trust").wire()
    client.startup("nobody", "p0")
    client.expect_error('"trust" authentication failed')


def test_trust_of_a_user_with_an_empty_secret(auth_pooler):
    assert attempt(auth_pooler("trust"), "empty_secret", "")[1] is None


def test_any(auth_pooler):
    pooler = auth_pooler("any")
    client = pooler.wire().login("whoever", "p0")
    assert client.auth_codes == [0]
    assert client.value("SELECT current_user") == "bob"
    assert pooler.show("CLIENTS", database="p0")[0]["user"] == "bob"


def test_any_does_not_need_an_auth_file(start_pooler):
    pooler = start_pooler(auth_type="any", auth_file="", databases={"p0": "user=bob"})
    assert pooler.wire().login("whoever", "p0").value("SELECT 1") == "1"


def test_any_needs_a_forced_user(auth_pooler):
    pooler = auth_pooler("any", databases={"p0": ""})
    client = pooler.wire()
    client.startup("whoever", "p0")
    client.expect_error("bouncer config error")


def test_any_with_an_unknown_database(auth_pooler):
    """Names that mean nothing leave nothing behind."""
    pooler = auth_pooler("any")
    users = pooler.list_items()["users"]
    for number in range(3):
        client = pooler.wire()
        client.startup("stranger%d" % number, "nowhere")
        client.expect_error("no such database: nowhere")
    assert pooler.list_items()["users"] == users


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_password_is_checked_although_servers_are_open(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type, pool_mode="transaction")
    assert attempt(pooler, "plain_secret", PASSWORD)[1] is None
    assert attempt(pooler, "plain_secret", "wrong")[1] == FAILED[auth_type]


@pytest.mark.pgweir_only("fewer lines")
def test_failed_login_is_logged(auth_pooler):
    pooler = auth_pooler("md5")
    attempt(pooler, "plain_secret", "wrong")
    log = pooler.log()
    assert "login failed: db=p0 user=plain_secret" in log
    assert "pooler error: password authentication failed" in log
    assert "closing because: password authentication failed" in log
    assert PASSWORD not in log and "wrong" not in log


@pytest.mark.pgweir_only("they are, at the highest verbosity")
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_secrets_are_not_logged(make_pooler, auth_type):
    pooler = make_pooler(auth_type=auth_type, databases={"p0": "user=md5user password=md5-pw"},
                         userlist=SECRETS)
    pooler.start("-q", "-v", "-v", "-v", pooler.ini)
    attempt(pooler, "plain_secret", PASSWORD)
    attempt(pooler, "scram_secret", PASSWORD)
    assert PASSWORD not in pooler.log() and "md5-pw" not in pooler.log()
    assert SECRETS["scram_secret"][20:] not in pooler.log()


# md5

def test_md5_salts_differ(auth_pooler):
    pooler = auth_pooler("md5")
    salts = set()
    for _ in range(50):
        client = pooler.wire()
        client.startup("plain_secret", "p0")
        salts.add(client.expect("R").body[4:])
        client.close()
    assert len(salts) == 50


@pytest.mark.parametrize("answer", [
    b"md5" + b"0" * 32 + b"\0", b"md5" + b"0" * 31 + b"\0", b"md5" + b"0" * 33 + b"\0",
    b"x" * 35 + b"\0", PASSWORD.encode() + b"\0"])
def test_md5_bad_answers(auth_pooler, answer):
    client = auth_pooler("md5").wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    client.send("p", answer)
    client.expect_error("password authentication failed")


def test_md5_replay(auth_pooler):
    pooler = auth_pooler("md5")
    first = pooler.wire()
    first.startup("plain_secret", "p0")
    answer = wire.md5_answer(PASSWORD, "plain_secret", first.expect("R").body[4:])
    first.send("p", wire.cstring(answer))
    first.expect("R")
    second = pooler.wire()
    second.startup("plain_secret", "p0")
    second.expect("R")
    second.send("p", wire.cstring(answer))
    second.expect_error("password authentication failed")


# SCRAM

def scram_offer(pooler, user="plain_secret"):
    client = pooler.wire()
    client.startup(user, "p0")
    offer = client.expect("R")
    assert offer.body == struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"
    return client


def send_first(client, text, mechanism="SCRAM-SHA-256"):
    data = text if isinstance(text, bytes) else text.encode()
    client.send("p", wire.cstring(mechanism) + struct.pack("!i", len(data)) + data)


@pytest.mark.pgweir_only("no scram_iterations")
def test_scram_from_a_plain_secret(auth_pooler):
    client = scram_offer(auth_pooler("scram-sha-256", scram_iterations="5000"))
    scram = wire.Scram(PASSWORD)
    send_first(client, scram.first())
    server_first = client.expect("R").body
    assert server_first[:4] == struct.pack("!i", 11)
    final = scram.final(server_first[4:])
    assert scram.attributes["i"] == "5000"
    assert len(base64.b64decode(scram.attributes["s"])) == 16
    assert len(scram.attributes["r"]) == 48
    client.send("p", final)
    server_final = client.expect("R").body
    assert server_final[:4] == struct.pack("!i", 12)
    scram.verify(server_final[4:])
    assert client.expect("R").body == struct.pack("!i", 0)


def test_scram_from_a_stored_verifier(auth_pooler):
    """Its own salt and iterations are announced."""
    secret = wire.scram_secret(PASSWORD, 4321, b"0123456789abcdef")
    pooler = auth_pooler("scram-sha-256", userlist={"u": secret, "bob": "bob-pw"})
    client = pooler.wire().login("u", "p0", PASSWORD)
    assert client.scram.attributes["i"] == "4321"
    assert base64.b64decode(client.scram.attributes["s"]) == b"0123456789abcdef"


def test_scram_nonces_differ(auth_pooler):
    pooler = auth_pooler("scram-sha-256")
    nonces = {pooler.wire().login("scram_secret", "p0", PASSWORD).scram.attributes["r"][24:]
              for _ in range(20)}
    assert len(nonces) == 20


@pytest.mark.pgweir_only("not kept")
def test_scram_verifier_of_a_plain_secret_is_kept(auth_pooler):
    """One derivation for all logins: the salt stays."""
    pooler = auth_pooler("scram-sha-256")
    salts = {pooler.wire().login("plain_secret", "p0", PASSWORD).scram.attributes["s"]
             for _ in range(3)}
    assert len(salts) == 1


@pytest.mark.pgweir_only("no scram_iterations")
def test_scram_mock_exchange(auth_pooler):
    """The same salt for the same unknown name, another for another, and the usual iterations."""
    pooler = auth_pooler("scram-sha-256", scram_iterations="4100")

    def salt(user):
        client = scram_offer(pooler, user)
        scram = wire.Scram(PASSWORD)
        send_first(client, scram.first())
        client.send("p", scram.final(client.expect("R").body[4:]))
        client.expect_error("SASL authentication failed")
        assert scram.attributes["i"] == "4100"
        assert len(base64.b64decode(scram.attributes["s"])) == 16
        return scram.attributes["s"]
    assert salt("nobody") == salt("nobody") != salt("nobody2")


def test_scram_accepts_y(auth_pooler):
    """The client could bind the channel, but believes that we cannot."""
    client = scram_offer(auth_pooler("scram-sha-256"))
    scram = wire.Scram(PASSWORD, gs2="y,,")
    send_first(client, scram.first())
    client.send("p", scram.final(client.expect("R").body[4:]))
    assert client.expect("R").body[:4] == struct.pack("!i", 12)


def test_scram_ignores_the_name_inside(auth_pooler):
    client = scram_offer(auth_pooler("scram-sha-256"))
    scram = wire.Scram(PASSWORD, user="somebody")
    send_first(client, scram.first())
    client.send("p", scram.final(client.expect("R").body[4:]))
    assert client.expect("R").body[:4] == struct.pack("!i", 12)


LENIENT = pytest.mark.pgweir_only("accepted there")


@pytest.mark.parametrize("first", [
    "p=tls-server-end-point,,n=,r=abc", "n,a=other,n=,r=abc", "n,,m=x,n=,r=abc", "n,,n=",
    pytest.param("n,,r=abc", marks=LENIENT), pytest.param("n,,n=,r=", marks=LENIENT),
    "x,,n=,r=abc", "n", "", "n,,", ",,,,", "n,,n=,r=a\tb", "n,,n=,r=\x7f"])
def test_scram_bad_first_message(auth_pooler, first):
    client = scram_offer(auth_pooler("scram-sha-256"))
    send_first(client, first)
    client.expect_error("SASL authentication failed")


@pytest.mark.pgweir_only("accepted there")
def test_scram_first_message_with_a_nul(auth_pooler):
    client = scram_offer(auth_pooler("scram-sha-256"))
    send_first(client, b"n,,n=,r=abc\0def")
    client.expect_error("SASL authentication failed")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "FOO", ""])
def test_scram_other_mechanism(auth_pooler, mechanism):
    client = scram_offer(auth_pooler("scram-sha-256"))
    send_first(client, "n,,n=,r=abc", mechanism)
    client.expect_error("client selected an invalid SASL authentication mechanism")


@pytest.mark.pgweir_only("it waits for more")
@pytest.mark.parametrize("body", [
    b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256\0", b"SCRAM-SHA-256\0\0\0",
    b"SCRAM-SHA-256\0" + struct.pack("!i", 100) + b"n,,n=,r=abc",
    b"SCRAM-SHA-256\0" + struct.pack("!i", -2) + b"n,,n=,r=abc",
    b"SCRAM-SHA-256\0" + struct.pack("!i", 0x7fffffff) + b"n,,n=,r=abc",
    b"SCRAM-SHA-256\0" + struct.pack("!i", -16) + b"n,,n=,r=abc",
    b"SCRAM-SHA-256\0" + struct.pack("!i", 3) + b"n,,n=,r=abc"])
def test_scram_bad_lengths(auth_pooler, body):
    """Refused at once; never believed, never waited for."""
    client = scram_offer(auth_pooler("scram-sha-256"))
    client.send("p", body)
    assert client.expect_any_error()["C"] == "08P01"
    client.expect_eof()


@pytest.mark.parametrize("change", [
    lambda final: final.replace("r=", "r=x"), lambda final: final[:-1],
    lambda final: final.replace("c=biws", "c=eSws"), lambda final: final.split(",p=")[0],
    lambda final: final.split(",p=")[0] + ",p=", lambda final: final.split(",p=")[0] + ",p=!!!!",
    lambda final: final.split(",p=")[0] + ",p=" + base64.b64encode(b"x" * 31).decode(),
    lambda final: final.split(",p=")[0] + ",p=" + base64.b64encode(b"x" * 33).decode(),
    lambda final: final.split(",p=")[0] + ",p=" + base64.b64encode(b"x" * 32).decode(),
    lambda final: "", pytest.param(lambda final: "x" * 20000, marks=pytest.mark.pgweir_only(
        "another text"))])
def test_scram_bad_final_message(auth_pooler, change):
    client = scram_offer(auth_pooler("scram-sha-256"))
    scram = wire.Scram(PASSWORD)
    send_first(client, scram.first())
    final = scram.final(client.expect("R").body[4:]).decode()
    client.send("p", change(final).encode())
    client.expect_error("SASL authentication failed")


def test_scram_replay(auth_pooler):
    pooler = auth_pooler("scram-sha-256")
    old = wire.Scram(PASSWORD)
    first = scram_offer(pooler)
    send_first(first, old.first())
    final = old.final(first.expect("R").body[4:])
    first.send("p", final)
    first.expect("R")
    second = scram_offer(pooler)
    send_first(second, old.first())
    second.expect("R")
    second.send("p", final)
    second.expect_error("SASL authentication failed")


@pytest.mark.pgweir_only("announced as it stands")
@pytest.mark.parametrize("secret", [
    "SCRAM-SHA-256$0:c2FsdA==$%s:%s", "SCRAM-SHA-256$-1:c2FsdA==$%s:%s",
    "SCRAM-SHA-256$x:c2FsdA==$%s:%s", "SCRAM-SHA-256$4096:!$%s:%s",
    "SCRAM-SHA-256$4096:c2FsdA==$%s"])
def test_malformed_verifier_is_no_open_door(auth_pooler, secret):
    key = base64.b64encode(b"k" * 32).decode()
    secret = secret % ((key,) * secret.count("%s"))
    pooler = auth_pooler("scram-sha-256", userlist={"u": secret, "bob": "bob-pw"})
    assert attempt(pooler, "u", PASSWORD)[1] == "SASL authentication failed"


@pytest.mark.parametrize("stored,given", [
    ("pässwörd", "pässwörd"), ("I\u00adX", "IX"), ("\u2168", "IX"), ("pass\u00a0word", "pass word")])
def test_scram_prepares_passwords(auth_pooler, stored, given):
    """SASLprep, as PostgreSQL and libpq do it."""
    pooler = auth_pooler("scram-sha-256", userlist={"u": stored, "bob": "bob-pw"})
    assert pooler.value("SELECT 1", user="u", password=given) == 1


# Long passwords

LENGTHS = [127, 128, 511, 512, 996, 1023, 1024, 2047]
LONG_LENGTHS = [2048, 4096, 8192, 65530]


@pytest.mark.pgweir_only("shorter limits")
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("length", LENGTHS + LONG_LENGTHS)
def test_long_passwords(auth_pooler, auth_type, length):
    password = "x" * length
    pooler = auth_pooler(auth_type, userlist={"u": password, "bob": "bob-pw"})
    assert attempt(pooler, "u", password)[1] is None
    assert attempt(pooler, "u", password[:-1])[1] == FAILED[auth_type]


@pytest.mark.pgweir_only("other limits")
@pytest.mark.parametrize("length", [65531, 65536, 100000])
def test_too_long_password_message(auth_pooler, length):
    """Refused; never a reason to keep megabytes of an unknown client."""
    client = auth_pooler("plain").wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    try:
        client.send("p", b"x" * length + b"\0")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.expect_any_error()["C"] == "08P01"


@pytest.mark.pgweir_only("it waits for the rest")
def test_huge_password_message_is_refused_from_its_header(auth_pooler):
    client = auth_pooler("plain").wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    client.send_raw(b"p" + struct.pack("!i", 1 << 30) + b"x" * 100)
    assert client.expect_any_error()["C"] == "08P01"
    client.expect_eof()


@pytest.mark.pgweir_only("a partial message is refused")
def test_password_in_pieces(auth_pooler):
    client = auth_pooler("plain").wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    for byte in wire.message("p", wire.cstring(PASSWORD)):
        client.send_raw(bytes([byte]))
    assert client.expect("R").body == struct.pack("!i", 0)


# The startup packet

def test_database_defaults_to_the_user(auth_pooler):
    pooler = auth_pooler("trust", databases={"bob": "dbname=p0"})
    assert pooler.wire().login("bob").value("SELECT current_database()") == "p0"


def test_empty_database_is_the_user(auth_pooler):
    pooler = auth_pooler("trust", databases={"bob": "dbname=p0"})
    assert pooler.wire().login("bob", "").value("SELECT current_database()") == "p0"


def test_order_of_the_parameters_does_not_matter(pooler):
    client = pooler.wire()
    client.send_raw(wire.startup_packet({"application_name": "x", "database": "p0",
                                         "user": "bob"}))
    client.authenticate()
    client.welcome()
    assert client.parameters["application_name"] == "x"


@pytest.mark.parametrize("parameters", [{}, {"user": ""}, {"database": "p0"},
                                        {"user": "", "database": "p0"}])
def test_no_user(pooler, parameters):
    client = pooler.wire()
    client.send_raw(wire.startup_packet(parameters))
    client.expect_error("no username supplied")


@pytest.mark.pgweir_only("another limit")
def test_long_user_names(auth_pooler):
    pooler = auth_pooler("trust", userlist={"x" * 127: "x", "bob": "bob-pw"})
    assert pooler.wire().login("x" * 127, "p0").value("SELECT 1") == "1"
    client = pooler.wire()
    client.startup("x" * 128, "p0")
    client.expect_error("username too long")


@pytest.mark.parametrize("name", ["extra_float_digits", "search_path", "statement_timeout", "x"])
def test_unsupported_parameter(pooler, name):
    client = pooler.wire()
    client.startup("bob", "p0", **{name: "1"})
    client.expect_error("unsupported startup parameter: " + name)


def test_ignored_parameters(start_pooler):
    pooler = start_pooler(ignore_startup_parameters="extra_float_digits, search_path")
    client = pooler.client(extra_float_digits="2", search_path="x")
    assert client.value("SHOW search_path") != "x"


@pytest.mark.pgweir_only("options are not read there")
@pytest.mark.parametrize("options", [
    "-c TimeZone=Europe/Paris", "-cTimeZone=Europe/Paris", "--TimeZone=Europe/Paris",
    "-c application_name=x -c TimeZone=Europe/Paris", "  -c TimeZone=Europe/Paris",
    "-c application_name=a\\ b --TimeZone=Europe/Paris"])
def test_options(pooler, options):
    client = pooler.client(options=options)
    assert client.value("SHOW TimeZone") == "Europe/Paris"


@pytest.mark.pgweir_only("options are not read there")
@pytest.mark.parametrize("options", ["TimeZone=GMT", "-x", "-c", "-c TimeZone", "-c TimeZone=GMT ",
                                     "--", "-d 1", "-c TimeZone=GMT x"])
def test_malformed_options(pooler, options):
    client = pooler.wire()
    client.startup("bob", "p0", options=options)
    client.expect_error("unsupported options startup parameter: only '-c config=val' and "
                        "'--config=val' are allowed")


@pytest.mark.pgweir_only("options are not read there")
def test_unsupported_setting_in_options(pooler):
    client = pooler.wire()
    client.startup("bob", "p0", options="-c search_path=x")
    client.expect_error("unsupported startup parameter in options: search_path")


@pytest.mark.pgweir_only("options are not read there")
def test_ignored_options(start_pooler):
    pooler = start_pooler(ignore_startup_parameters="options")
    client = pooler.client(options="-c search_path=x -c TimeZone=Europe/Paris")
    assert client.value("SHOW TimeZone") == "Europe/Paris"


def test_long_parameter_name_in_the_error(pooler):
    """Texts for clients are cut at 127 bytes."""
    client = pooler.wire()
    client.startup("bob", "p0", **{"x" * 300: "1"})
    text = client.expect_any_error()["M"]
    assert text.startswith("unsupported startup parameter: xxx") and len(text) <= 127


@pytest.mark.pgweir_only("another text")
@pytest.mark.parametrize("body", [
    b"user\0bob\0database\0p0\0", b"user\0bob\0database\0p0", b"user\0bob\0x", b"user",
    b"user\0bob\0database\0p0\0\0trailing\0"])
def test_badly_ended_startup_packet(pooler, body):
    client = pooler.wire()
    client.send_raw(struct.pack("!ii", 8 + len(body), wire.PROTOCOL_3) + body)
    client.expect_error("invalid startup packet layout: expected terminator as last byte")


@pytest.mark.parametrize("head", [
    struct.pack("!ii", 0, wire.PROTOCOL_3), struct.pack("!ii", 4, wire.PROTOCOL_3),
    struct.pack("!ii", 7, wire.PROTOCOL_3), struct.pack("!ii", 9, 12345),
    struct.pack("!ii", 8, 0), struct.pack("!ii", 16, 262144)])
def test_bad_startup_header(pooler, head):
    client = pooler.wire()
    client.send_raw(head)
    client.expect_error("bad packet header: '%s'" % head.hex())


@pytest.mark.parametrize("length", [0x00010000, 0x7fffffff, -1, -2147483648])
def test_huge_startup_packet(pooler, length):
    """Refused from its first bytes, or the connection is closed; memory is not taken."""
    client = pooler.wire(timeout=3)
    client.send_raw(struct.pack("!ii", length, wire.PROTOCOL_3) + b"user\0bob\0")
    assert all(got.type == "E" for got in client.wait_closed())


def test_old_protocol(pooler):
    client = pooler.wire()
    client.send_raw(wire.startup_packet({"user": "bob", "database": "p0"}, 131072))
    client.expect_error("old V2 protocol not supported")


def negotiated(client):
    """The parts of a NegotiateProtocolVersion."""
    body = client.expect("v").body
    version, count = struct.unpack("!ii", body[:8])
    names = body[8:].split(b"\0")[:-1]
    assert len(names) == count
    return version, [name.decode() for name in names]


@pytest.mark.pgweir_only("no negotiation there")
@pytest.mark.parametrize("version", [196611, 196608 + 9999])
def test_newer_minor_version(pooler, version):
    """3.2 is the newest that we speak."""
    client = pooler.wire()
    client.startup("bob", "p0", version)
    assert negotiated(client) == (196610, [])
    client.authenticate()
    assert client.welcome().value("SELECT 1") == "1"


@pytest.mark.pgweir_only("no long keys there")
@pytest.mark.parametrize("version, size", [(196608, 8), (196609, 8), (196610, 36), (206607, 36)])
def test_keys_of_a_version(pooler, version, size):
    client = pooler.wire()
    client.startup("bob", "p0", version)
    if version > 196610:
        negotiated(client)
    client.authenticate()
    client.welcome()
    assert len(client.key) == size
    client.send_raw(wire.query("DO $$BEGIN RAISE NOTICE 'it runs'; PERFORM pg_sleep(10); END$$"))
    client.expect("N")
    client.cancel()
    with pytest.raises(wire.ServerError) as caught:
        client.result().check()
    assert caught.value.sqlstate == "57014"
    for key in (client.key[:8], client.key[:-1], client.key + b"x"):
        if key != client.key:
            client.cancel(key)  # names nobody
    assert client.value("SELECT 1") == "1"


@pytest.mark.pgweir_only("no such setting there")
@pytest.mark.parametrize("knows", [True, False])
def test_servers_that_are_asked_for_a_newer_version(start_pooler, fake_server, knows):
    def script(side):
        if side.read_startup() is None:
            return
        if not knows:
            side.send("v", struct.pack("!ii", 196608, 0))
        side.key = b"\0\0\0\1" + b"k" * (200 if knows else 4)
        side.welcome()
        side.serve(lambda side, sql: (time.sleep(0.3), answer("in"))[1])
    server = fake_server(script)
    pooler = start_pooler(server=server, server_protocol="3.2")
    client = pooler.client()
    client.send_raw(wire.query("SELECT 1"))
    client.expect_silence(0.1)
    client.cancel()
    assert client.result().value == "in"
    side, = server.logged_in
    assert side.version == 196610
    assert server.cancels == [side.key]


@pytest.mark.parametrize("body", [b"", struct.pack("!ii", 196610, 0), struct.pack("!ii", 196611, 0),
                                  struct.pack("!ii", 196608, 1) + b"_pq_.x\0",
                                  struct.pack("!iii", 196608, 0, 0)])
def test_servers_that_negotiate_nonsense(start_pooler, fake_server, body):
    def script(side):
        if side.read_startup() is not None:
            side.send("v", body)
            side.welcome()
    pooler = start_pooler(server=fake_server(script), server_protocol="3.2",
                          client_login_timeout="1")
    with pytest.raises(wire.ServerError) as caught:
        pooler.wire().login("bob", "p0")
    assert caught.value.message == "client_login_timeout (server down)"


@pytest.mark.pgweir_only("no negotiation there")
def test_protocol_extensions(auth_pooler):
    client = auth_pooler("md5").wire()
    client.startup("plain_secret", "p0", **{"_pq_.one": "1", "_pq_.two": "2"})
    assert negotiated(client) == (196608, ["_pq_.one", "_pq_.two"])
    client.authenticate(PASSWORD)
    assert client.welcome().value("SELECT 1") == "1"


def test_startup_byte_by_byte(pooler):
    client = pooler.wire()
    for byte in wire.startup_packet({"user": "bob", "database": "p0"}):
        client.send_raw(bytes([byte]))
    client.authenticate()
    assert client.welcome().value("SELECT 1") == "1"


def test_startup_password_and_query_in_one_segment(auth_pooler):
    client = auth_pooler("plain").wire()
    client.send_raw(wire.startup_packet({"user": "plain_secret", "database": "p0"})
                    + wire.message("p", wire.cstring(PASSWORD)) + wire.query("SELECT 7"))
    client.expect("R")
    client.expect("R")
    client.welcome()
    assert client.result().value == "7"


@pytest.mark.parametrize("code", [wire.SSL_REQUEST, wire.GSS_REQUEST])
@pytest.mark.parametrize("host", ["tcp", "unix"])
def test_encryption_is_declined(pooler, code, host):
    client = pooler.wire(pooler.socket_dir if host == "unix" else None)
    client.send_raw(wire.special_packet(code))
    assert client.read_bytes(1) == b"N"
    assert client.login("bob", "p0").value("SELECT 1") == "1"


def test_libpq_asks_for_both_encryptions(pooler):
    assert pooler.value("SELECT 1", sslmode="prefer", gssencmode="disable") == 1
    client = pooler.wire()
    for code in (wire.GSS_REQUEST, wire.SSL_REQUEST):
        client.send_raw(wire.special_packet(code))
        assert client.read_bytes(1) == b"N"
    assert client.login("bob", "p0").value("SELECT 1") == "1"


@pytest.mark.parametrize("code,text", [
    (wire.SSL_REQUEST, "received unencrypted data after SSL request"),
    (wire.GSS_REQUEST, "received unencrypted data after GSSAPI encryption request")])
def test_bytes_behind_an_encryption_request(pooler, code, text):
    client = pooler.wire()
    client.send_raw(wire.special_packet(code)
                    + wire.startup_packet({"user": "bob", "database": "p0"}))
    if client.peek_type() == "N":
        pytest.fail("the request was answered although more had come")
    client.expect_error(text)


def test_password_before_startup(pooler):
    client = pooler.wire()
    client.send("p", b"secret\0")
    client.expect_error("client password pkt before startup packet")


@pytest.mark.parametrize("kind", "QPBEDSHXCdcfF")
def test_message_before_startup(pooler, kind):
    """Closed without a word."""
    client = pooler.wire(timeout=3)
    client.send(kind, b"SELECT 1\0")
    client.expect_eof()


def test_second_startup_packet(auth_pooler):
    client = auth_pooler("md5").wire()
    client.startup("plain_secret", "p0")
    client.expect("R")
    client.startup("plain_secret", "p0")
    client.expect_error("client re-sent startup pkt")


@pytest.mark.pgweir_only("held open until client_login_timeout there")
@pytest.mark.parametrize("text", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"*1\r\n$4\r\nPING\r\n",
    b"\xff" * 64, b"\0" * 64])
def test_another_protocol(pooler, text):
    """Ended at once, whatever length its text seems to announce."""
    client = pooler.wire(timeout=3)
    client.send_raw(text)
    try:
        assert all(got.type == "E" for got in client.wait_closed())
    except AssertionError:
        raise
    assert is_running(pooler.pid)


def test_client_that_only_knocks(pooler):
    """Health checks connect and leave."""
    before = len(pooler.log())
    for _ in range(50):
        pooler.wire().close()
        pooler.wire(pooler.socket_dir).close()
        pooler.wire().reset()
    assert pooler.value("SELECT 1") == 1
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left")
    assert "ERROR" not in pooler.log()[before:]


@pytest.mark.parametrize("cut", [1, 4, 5, 8, 9, 20])
def test_client_that_leaves_in_its_startup(pooler, cut):
    packet = wire.startup_packet({"user": "bob", "database": "p0"})
    for ending in ("close", "reset"):
        client = pooler.wire()
        client.send_raw(packet[:cut])
        getattr(client, ending)()
    assert pooler.value("SELECT 1") == 1
    wait_for(lambda: pooler.list_items()["login_clients"] == 0, "nobody is left")


@pytest.mark.parametrize("name", ["%s%n%x", "a'b", 'a"b', "a\\b", "ä", "-rfile", "x;y"])
def test_odd_user_names(auth_pooler, name):
    pooler = auth_pooler("md5", userlist={name: "pw", "bob": "bob-pw"})
    assert attempt(pooler, name, "pw")[1] is None
    assert attempt(pooler, name + "x", "pw")[1] == "password authentication failed"


@pytest.mark.pgweir_only("raw control bytes reach the log there")
def test_control_characters_do_not_reach_the_log(pooler):
    client = pooler.wire()
    client.startup("a\n2026-01-01 forged line\x1b[31m", "p0")
    client.expect_any_error()
    assert "\x1b" not in pooler.log()
    assert not any(line.startswith("2026-01-01 forged") for line in pooler.log().splitlines())


# The welcome

UNTRACKED = [name for name in PARAMETERS if name not in (
    "DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings", "application_name",
    "IntervalStyle")]


@pytest.mark.pgweir_only("another order")
def test_order_of_the_welcome(start_pooler, fake_server):
    """Untracked parameters as the server sent them, then the tracked ones in a fixed order."""
    server = fake_server()
    pooler = start_pooler(server=server, databases={"p0": ""})
    client = pooler.client()
    assert client.parameter_order == UNTRACKED + [
        "DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings",
        "application_name", "IntervalStyle"]
    assert [message.type for message in client.login_messages[-2:]] == ["K", "Z"]
    assert client.login_messages[-1].body == b"I"


def test_welcome_shows_what_the_client_asked_for(pooler):
    """In its own spelling, before any server has seen it."""
    client = pooler.client(application_name="me", client_encoding="utf8", DateStyle="iso",
                           TimeZone="europe/paris")
    assert client.parameters["application_name"] == "me"
    assert client.parameters["client_encoding"] == "utf8"
    assert client.parameters["DateStyle"] == "iso"
    assert client.parameters["TimeZone"] == "europe/paris"


def test_each_welcome_is_that_of_its_client(start_pooler, fake_server):
    """What one was told is not told to the next, be it like the one before or unlike; nor is it
    what a server said before a RECONNECT."""
    parameters = dict(PARAMETERS)

    def script(side):
        if side.log_in(parameters):
            side.serve(lambda side, sql: answer(sql))
    server = fake_server(script)
    pooler = start_pooler(server=server, pool_mode="transaction")
    plain = {**PARAMETERS}

    def welcomed(**asked):
        return pooler.client(**asked).parameters
    assert welcomed() == plain
    for name in ("a", "a", "b", "a"):
        assert welcomed(application_name=name) == {**plain, "application_name": name}
        assert welcomed() == plain
        assert welcomed(timezone=name, application_name="x") == {
            **plain, "TimeZone": name, "application_name": "x"}
    assert welcomed(client_encoding="latin1") == {**plain, "client_encoding": "latin1"}
    for change in {"server_version": "16.0 (new)"}, {"TimeZone": "UTC"}:
        parameters.update(change)
        plain.update(change)
        assert welcomed() != plain
        pooler.admin("RECONNECT")
        assert welcomed() == plain


@pytest.mark.pgweir_only("any bits")
def test_cancel_key(pooler):
    """Eight random bytes, the first bit clear, as every driver expects."""
    keys = [pooler.client().key for _ in range(30)]
    assert len(set(keys)) == 30
    assert all(len(key) == 8 and key[0] < 128 for key in keys)
    assert len({key[1:4] for key in keys}) > 25 and len({key[4:] for key in keys}) == 30


def test_welcome_needs_no_second_server(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first = pooler.client()
    first.query("BEGIN")
    others = [pooler.client() for _ in range(5)]
    assert all(other.parameters["server_version"] for other in others)
    assert pooler.servers() == 1


@pytest.mark.pgweir_only("newer")
def test_login_notify_message(start_pooler):
    pooler = start_pooler(login_notify_message="The weir is open")
    client = pooler.client()
    (notice,) = [got for got in client.login_messages if got.type == "N"]
    fields = wire.parse_fields(notice.body)
    assert (fields["S"], fields["C"], fields["M"]) == ("NOTICE", "00000", "The weir is open")


@pytest.mark.parametrize("host", ["tcp", "unix"])
def test_application_name_with_host(start_pooler, host):
    pooler = start_pooler(application_name_add_host="1")
    client = pooler.client(application_name="me",
                           host=pooler.socket_dir if host == "unix" else None)
    name = client.value("SHOW application_name")
    assert name.startswith("me - 127.0.0.1:" if host == "tcp" else "me - unix(")


# The console's door

def test_console_refuses_ordinary_users_before_the_password(auth_pooler):
    client = auth_pooler("md5").wire()
    client.startup("plain_secret", "pgbouncer")
    client.expect_error("not allowed")


def test_console_does_not_tell_unknown_users(auth_pooler):
    pooler = auth_pooler("md5")
    assert attempt(pooler, "nobody", "x", "pgbouncer") == ([5], "password authentication failed")


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_console_asks_for_the_password(auth_pooler, auth_type):
    pooler = auth_pooler(auth_type)
    client = pooler.console(host=pooler.host)
    assert client.auth_codes[0] == ASKS[auth_type]
    refused = pooler.wire()
    refused.startup("admin", "pgbouncer")
    with pytest.raises(wire.ServerError, match=FAILED[auth_type]):
        refused.authenticate("wrong")


@pytest.mark.parametrize("name", ["adm", "admin2", "dmin", "ADMIN", "admin,stats"])
def test_console_names_match_whole(auth_pooler, name):
    pooler = auth_pooler("trust", userlist={name: "x", "bob": "bob-pw"})
    client = pooler.wire()
    client.startup(name, "pgbouncer")
    client.expect_error("not allowed")


def test_console_with_any_gives_everybody_stats(auth_pooler):
    pooler = auth_pooler("any")
    client = pooler.wire().login("whoever", "pgbouncer")
    assert client.query("SHOW POOLS").tags == ["SHOW"]
    with pytest.raises(wire.ServerError, match="admin access needed"):
        client.query("RELOAD")
    assert pooler.wire().login("admin", "pgbouncer").query("RELOAD").tags == ["RELOAD"]


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256"])
def test_console_trusts_its_own_user_on_the_unix_socket(start_pooler, auth_type):
    """User pgbouncer, the same operating system user, no password, full rights."""
    pooler = start_pooler(auth_type=auth_type, admin_users="", stats_users="")
    done = subprocess.run(
        ["psql", "-X", "-w", "-h", pooler.socket_dir, "-p", str(pooler.port), "-U", "pgbouncer",
         "-c", "RELOAD", "pgbouncer"], capture_output=True, text=True, cwd="/", **unprivileged())
    assert done.returncode == 0, done.stderr
    assert "RELOAD" in done.stdout
    assert "pgbouncer access from unix socket" in pooler.log()


def test_console_does_not_trust_others(start_pooler):
    pooler = start_pooler(auth_type="md5")
    client = pooler.wire()
    client.startup("pgbouncer", "pgbouncer")
    with pytest.raises(wire.ServerError):
        client.authenticate("x")


# Limits of clients

def test_max_client_conn(start_pooler):
    pooler = start_pooler(max_client_conn="3")
    clients = [pooler.client() for _ in range(3)]
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("no more connections allowed (max_client_conn)")
    assert clients[0].value("SELECT 1") == "1"
    clients[2].close()
    wait_for(lambda: attempt(pooler, "bob", "bob-pw")[1] is None, "one has left")


def test_max_client_conn_counts_those_who_have_not_logged_in(start_pooler):
    pooler = start_pooler(max_client_conn="3")
    """Who says nothing at all has to make room for who does; the oldest first."""
    silent = [pooler.wire(pooler.socket_dir) for _ in range(3)]
    wait_for(lambda: pooler.list_items()["login_clients"] == 3, "they are there")
    admitted = pooler.client()
    assert admitted.value("SELECT 1") == "1"
    silent[0].expect_eof()


@pytest.mark.pgweir_only("newer settings")
def test_failed_logins_leave_no_count(start_pooler):
    pooler = start_pooler(auth_type="md5", max_client_conn="3", userlist=SECRETS,
                          max_user_client_connections="2", max_db_client_connections="2",
                          databases={"p0": "user=bob"})
    for _ in range(10):
        assert attempt(pooler, "plain_secret", "wrong")[1] == "password authentication failed"
        client = pooler.wire()
        client.startup("plain_secret", "p0")
        client.expect("R")
        client.reset()
    wait_for(lambda: attempt(pooler, "plain_secret", PASSWORD)[1] is None, "counted down")
    pooler.close_clients()
    wait_for(lambda: pooler.show("USERS", name="plain_secret")[0]["current_client_connections"]
             == 0, "none counted")


@pytest.mark.pgweir_only("newer")
def test_max_db_client_connections(start_pooler):
    pooler = start_pooler(max_db_client_connections="2")
    clients = [pooler.client(), pooler.client(user="alice")]
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("client connections exceeded (max_db_client_connections)")
    assert pooler.client("p1").value("SELECT 1") == "1"
    clients[0].close()
    wait_for(lambda: pooler.show("DATABASES", name="p0")[0]["current_client_connections"] == 1,
             "one has left")
    assert pooler.client().value("SELECT 1") == "1"


@pytest.mark.pgweir_only("newer")
def test_max_db_client_connections_of_one_database(start_pooler):
    pooler = start_pooler(databases={"p0": "max_db_client_connections=1", "p1": ""})
    pooler.client()
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("client connections exceeded (max_db_client_connections)")
    for _ in range(3):
        pooler.client("p1")


@pytest.mark.pgweir_only("newer")
def test_max_user_client_connections(start_pooler):
    pooler = start_pooler(max_user_client_connections="2",
                          users={"alice": "max_user_client_connections=1"})
    pooler.client("p0")
    pooler.client("p1")
    refused = pooler.wire()
    refused.startup("bob", "p2")
    refused.expect_error("client connections exceeded (max_user_client_connections)")
    pooler.client("p0", "alice")
    refused = pooler.wire()
    refused.startup("alice", "p1")
    refused.expect_error("client connections exceeded (max_user_client_connections)")


@pytest.mark.pgweir_only("newer")
def test_limits_come_before_the_password(start_pooler):
    pooler = start_pooler(auth_type="md5", max_db_client_connections="1")
    pooler.client()
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("client connections exceeded (max_db_client_connections)")


def test_many_consoles_beside_max_client_conn(start_pooler):
    pooler = start_pooler(max_client_conn="10")
    consoles = [pooler.console() for _ in range(15)]
    assert consoles[-1].query("SHOW VERSION").rows
