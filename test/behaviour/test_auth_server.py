"""Logging in to PostgreSQL: what it may ask, which secret answers, and how failures are told."""

import struct
import time

import psycopg
import pytest

from support import wire
from support.fake_server import answer, error_body, ready
from support.process import wait_for

WRONG = {"plainuser": "wrong", "md5user": "wrong", "scramuser": "wrong"}


def refused(client, database="p0", user="bob", password=""):
    """The ErrorResponse of a login that fails."""
    client.startup(user, database)
    if client.peek_type() == "R":
        with pytest.raises(wire.ServerError) as caught:
            client.authenticate(password)
            client.welcome()
        return caught.value.fields
    return client.expect_any_error()


# What PostgreSQL asks, and the secrets that answer it

@pytest.mark.parametrize("user", ["bob", "plainuser", "md5user", "scramuser"])
def test_plain_secret_answers_everything(pooler, user):
    assert pooler.value("SELECT current_user", user=user) == user


def test_md5_secret_answers_md5(start_pooler):
    pooler = start_pooler(userlist={"md5user": wire.md5_secret("md5user", "md5-pw")})
    assert pooler.wire().login("md5user", "p0").value("SELECT current_user") == "md5user"


def test_md5_secret_cannot_answer_scram(start_pooler):
    pooler = start_pooler(userlist={"scramuser": wire.md5_secret("scramuser", "scram-pw")})
    fields = refused(pooler.wire(), user="scramuser")
    assert (fields["C"], fields["M"]) == ("08P01", "server login failed: wrong password type")


@pytest.mark.parametrize("user", ["plainuser", "md5user", "scramuser"])
def test_forced_user_with_a_password(start_pooler, user):
    passwords = {"plainuser": "plain-pw", "md5user": "md5-pw", "scramuser": "scram-pw"}
    pooler = start_pooler(databases={"p0": "user=%s password=%s" % (user, passwords[user])})
    assert pooler.value("SELECT current_user") == user
    assert pooler.pool("p0", user)["cl_active"] in (0, 1)
    assert pooler.show("POOLS", database="p0", user=user)


def test_forced_user_with_the_password_of_the_userlist(start_pooler):
    pooler = start_pooler(databases={"p0": "user=scramuser"})
    assert pooler.value("SELECT current_user") == "scramuser"


def test_one_pool_for_a_forced_user(start_pooler):
    pooler = start_pooler(databases={"p0": "user=carol"}, pool_mode="transaction")
    pids = {pooler.value("SELECT pg_backend_pid()", user=user) for user in ("bob", "alice")}
    assert len(pids) == 1


def test_one_pool_for_each_user(pooler):
    pids = {pooler.value("SELECT pg_backend_pid()", user=user) for user in ("bob", "alice")}
    assert len(pids) == 2


@pytest.mark.parametrize("length", [100, 996])
def test_long_server_password(start_pooler, pg, length):
    if not pg.sql("SELECT 1 FROM pg_roles WHERE rolname = 'long%d'" % length):
        pg.create_role("long%d" % length, "x" * length)
    pooler = start_pooler(databases={"p0": "user=scramuser password=scram-pw"},
                          userlist={"long%d" % length: "x" * length})
    assert pooler.wire().login("long%d" % length, "p0").value("SELECT 1") == "1"


# SCRAM keys that pass through

def pass_through(start_pooler, pg, **arguments):
    """Only the verifier that PostgreSQL stores is in the userlist."""
    arguments.setdefault("databases", {"p0": "", "p1": ""})
    return start_pooler(auth_type="scram-sha-256", userlist={
        "scramuser": pg.stored_secret("scramuser"), "bob": "bob-pw"}, **arguments)


def test_scram_keys_pass_through(start_pooler, pg):
    pooler = pass_through(start_pooler, pg)
    client = pooler.wire().login("scramuser", "p0", "scram-pw")
    assert client.value("SELECT current_user") == "scramuser"


def test_scram_keys_serve_later_logins(start_pooler, pg):
    """Also when the client that brought them has left."""
    pooler = pass_through(start_pooler, pg, pool_mode="transaction")
    pooler.wire().login("scramuser", "p0", "scram-pw").terminate()
    clients = [pooler.wire().login("scramuser", "p0", "scram-pw") for _ in range(3)]
    for client in clients:
        client.query("BEGIN")
    assert pooler.servers("p0", "scramuser") == 3


def test_scram_keys_by_md5_method(start_pooler, pg):
    """auth_type md5 becomes SCRAM for such a secret, and the keys are learned as well."""
    pooler = start_pooler(auth_type="md5", userlist={"scramuser": pg.stored_secret("scramuser")})
    client = pooler.wire().login("scramuser", "p0", "scram-pw")
    assert client.value("SELECT current_user") == "scramuser"


def test_verifier_without_keys_cannot_log_in(start_pooler, pg):
    """trust learns nothing from the client."""
    pooler = start_pooler(userlist={"scramuser": pg.stored_secret("scramuser")})
    fields = refused(pooler.wire(), user="scramuser")
    assert fields["M"] == "server login failed: wrong password type"


def test_verifier_with_another_salt_does_not_pass_through(start_pooler, pg):
    """The client's keys belong to our salt, PostgreSQL's to its own."""
    pooler = start_pooler(auth_type="scram-sha-256",
                          userlist={"scramuser": wire.scram_secret("scram-pw")})
    fields = refused(pooler.wire(), user="scramuser", password="scram-pw")
    assert fields["C"] in ("28P01", "08P01")


@pytest.mark.pgweir_only("the pool breaks there")
def test_keys_of_a_client_do_not_replace_a_forced_users_password(start_pooler, pg):
    pooler = start_pooler(
        auth_type="scram-sha-256", pool_mode="transaction",
        databases={"p0": "user=scramuser password=scram-pw"},
        userlist={"u": wire.scram_secret("u-pw")})
    clients = [pooler.wire().login("u", "p0", "u-pw") for _ in range(3)]
    for client in clients:
        assert client.value("SELECT current_user") == "scramuser"
        client.query("BEGIN")
    assert pooler.servers("p0", "scramuser") == 3


# Failures

@pytest.mark.pgweir_only("another SQLSTATE")
def test_wrong_password_is_told_with_the_servers_words(start_pooler):
    pooler = start_pooler(userlist=WRONG)
    for user in WRONG:
        fields = refused(pooler.wire(), user=user)
        assert (fields["S"], fields["C"]) == ("FATAL", "28P01")
        assert fields["M"] == 'password authentication failed for user "%s"' % user
        assert set(fields) == {"S", "C", "M"}


@pytest.mark.pgweir_only("another SQLSTATE")
def test_missing_database_is_told_with_the_servers_words(start_pooler):
    pooler = start_pooler(databases={"p0": "dbname=no_such_database"})
    fields = refused(pooler.wire())
    assert (fields["C"], fields["M"]) == ("3D000", 'database "no_such_database" does not exist')


@pytest.mark.pgweir_only("another SQLSTATE")
def test_missing_role_is_told_with_the_servers_words(start_pooler):
    pooler = start_pooler(userlist={"no_such_role": "x"})
    fields = refused(pooler.wire(), user="no_such_role")
    assert (fields["C"], fields["M"]) == ("28000", 'role "no_such_role" does not exist')


def test_failure_is_logged_once(start_pooler):
    pooler = start_pooler(databases={"p0": "dbname=no_such_database"}, server_login_retry="5")
    refused(pooler.wire())
    text = 'server login failed: FATAL database "no_such_database" does not exist'
    assert pooler.log().count(text) == 1


@pytest.mark.pgweir_only("another SQLSTATE")
def test_one_failure_answers_everybody_who_waits(start_pooler, fake_server):
    """All clients of the pool's first login get the server's own text."""
    gate = []

    def script(side):
        side.read_startup()
        wait_for(lambda: gate, "the gate opens")
        side.send_error("not today", sqlstate="53300")
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, server_login_retry="5")
    clients = [pooler.wire() for _ in range(5)]
    for client in clients:
        client.startup("bob", "p0")
    pooler.wait_pool(cl_waiting=5)
    gate.append(True)
    for client in clients:
        client.expect_error("not today", sqlstate="53300")


@pytest.mark.pgweir_only("it fails them")
def test_starting_up_does_not_fail_those_who_wait(start_pooler, fake_server):
    """57P03 means: a little later."""
    attempts = []

    def script(side):
        side.read_startup()
        attempts.append(1)
        if len(attempts) < 3:
            side.send_error("the database system is starting up", sqlstate="57P03")
        else:
            side.welcome()
            side.serve(lambda side, sql: answer("up"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_login_retry="0.2")
    assert pooler.client().value("SELECT 1") == "up"
    assert len(attempts) == 3


def test_failure_of_one_user_is_nobody_elses(start_pooler):
    pooler = start_pooler(userlist={"scramuser": "wrong", "bob": "bob-pw"}, server_login_retry="5")
    refused(pooler.wire(), user="scramuser")
    assert pooler.value("SELECT 1") == 1


def test_corrected_password_works_without_a_restart(start_pooler):
    pooler = start_pooler(userlist={"scramuser": "wrong"}, server_login_retry="0.2")
    refused(pooler.wire(), user="scramuser")
    pooler.userlist["scramuser"] = "scram-pw"
    pooler.reload()
    assert pooler.wire().login("scramuser", "p0").value("SELECT 1") == "1"


@pytest.mark.pgweir_only("they go on waiting")
def test_failing_server_login_is_told_at_once_from_memory(start_pooler, pg):
    """A query on a pool without servers, within server_login_retry of a failed login."""
    pooler = start_pooler(databases={"p0": ""}, server_login_retry="20", pool_mode="transaction")
    first, second = pooler.client(), pooler.client()
    first.query("SELECT 1")
    pooler.databases["p0"] = "dbname=gone_database"
    pooler.reload()
    first.send_raw(wire.query("SELECT 1"))
    assert first.expect_any_error()["C"] == "3D000"
    second.send_raw(wire.query("SELECT 1"))
    fields = second.expect_any_error()
    assert fields["C"] == "08P01"
    assert fields["M"].startswith("server login has been failing, cached error: ")
    assert "gone_database" in fields["M"] and fields["M"].endswith("(server_login_retry)")


def kick(server):
    """Ends the open connections of a fake server."""
    for side in server.sides:
        try:
            side.sock.shutdown(2)
        except OSError:
            pass


@pytest.mark.pgweir_only("they go on waiting")
def test_server_login_retry_text(start_pooler, fake_server):
    refuse = []

    def script(side):
        if refuse:
            side.read_startup()
            side.send_error("out of order", sqlstate="53300")
        elif side.log_in():
            side.serve(lambda side, sql: answer(1))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""}, server_login_retry="10",
                          pool_mode="transaction")
    first, second, third = (pooler.client() for _ in range(3))
    refuse.append(True)
    kick(server)
    wait_for(lambda: pooler.servers() == 0, "the server is gone")
    first.send_raw(wire.query("SELECT 1"))
    first.expect_error("out of order", sqlstate="53300")
    second.send_raw(wire.query("SELECT 1"))
    second.expect_error("server login has been failing, cached error: out of order "
                        "(server_login_retry)")
    third.send_raw(wire.query("SELECT 1"))
    third.expect_error("server login has been failing, cached error: out of order "
                       "(server_login_retry)")


def test_connect_failure_keeps_clients_waiting(start_pooler, fake_server):
    """Nobody listens: that may change within query_wait_timeout."""
    server = fake_server()
    port = server.port
    server.stop_listening()
    pooler = start_pooler(server=server, databases={"p0": ""}, server_login_retry="0.2")
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_silence(0.5)
    server.listen(port)
    client.authenticate()
    assert client.welcome().value("SELECT 1") == "1"


@pytest.mark.pgweir_only("it fails them")
def test_attempts_keep_their_distance(start_pooler, fake_server):
    times = []

    def script(side):
        times.append(time.monotonic())
        side.read_startup()
        side.send_error("starting", sqlstate="57P03")
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_login_retry="0.5")
    client = pooler.wire()
    client.startup("bob", "p0")
    wait_for(lambda: len(times) >= 3, "three attempts")
    assert all(later - earlier > 0.45 for earlier, later in zip(times, times[1:]))


def test_unsupported_authentication(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        side.send("R", struct.pack("!i", 7))
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    pooler.wait_log("unknown/unsupported auth method: 7")


def test_sasl_without_scram(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        side.send("R", struct.pack("!i", 10) + b"OTHER\0\0")
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_error("server login failed: none of the server's SASL authentication mechanisms "
                        "are supported")


def test_scram_plus_is_passed_over(start_pooler, fake_server):
    secret = wire.scram_secret("bob-pw")

    def script(side):
        side.read_startup()
        send = side.send

        def offer(kind, body=b""):
            if body == struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0":
                body = struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
            send(kind, body)
        side.send = offer
        assert side.ask_scram(secret)
        side.welcome()
        side.serve(lambda side, sql: answer("in"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    assert pooler.client().value("SELECT 1") == "in"


def test_scram_server_must_prove_itself(start_pooler, fake_server):
    secret = wire.scram_secret("bob-pw")

    def script(side):
        side.read_startup()
        side.ask_scram(secret, signature=b"x" * 32)
        side.welcome()
        side.serve(lambda side, sql: answer("false server"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_error("server login failed: invalid server signature")


@pytest.mark.pgweir_only("the early acceptance is believed there")
def test_scram_server_may_not_skip_its_proof(start_pooler, fake_server):
    """AuthenticationOk in the middle of SCRAM: such a server does not know the secret."""
    def script(side):
        side.read_startup()
        side.send("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")
        side.read()
        side.welcome()
        side.serve(lambda side, sql: answer("false server"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          query_wait_timeout="1")
    client = pooler.wire()
    client.startup("bob", "p0")
    assert client.expect_any_error()["C"] == "08P01"


@pytest.mark.pgweir_only("the whole process stands still there")
@pytest.mark.parametrize("iterations", ["0", "-1", "abc", "2147483647", "99999999999"])
def test_scram_server_with_senseless_iterations(start_pooler, fake_server, iterations):
    def script(side):
        side.read_startup()
        side.send("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")
        first = side.read().body
        nonce = first.split(b"r=")[1].decode()
        side.send("R", struct.pack("!i", 11) + ("r=%sxyz,s=c2FsdA==,i=%s" % (
            nonce, iterations)).encode())
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          query_wait_timeout="1")
    client = pooler.wire()
    client.startup("bob", "p0")
    assert client.expect_any_error()["C"] == "08P01"
    assert pooler.show("VERSION")


@pytest.mark.pgweir_only("some are waited for")
@pytest.mark.parametrize("data", [
    b"\xde\xad\xbe\xef" * 1000, b"R" + struct.pack("!i", -5), b"R" + struct.pack("!i", 3),
    b"R" + struct.pack("!i", 0x7ffffff0), b"E" + struct.pack("!i", 1 << 30) + b"SFATAL\0",
    wire.message("R", b""), wire.message("R", b"\0\0"), wire.message("R", struct.pack("!i", 5)),
    wire.message("E", b""), wire.message("E", b"Mno end"), wire.message("Z", b"I"),
    wire.message("D", b"\0\0"), wire.message("S", b"no end")])
def test_senseless_server(start_pooler, fake_server, data):
    """Closed; whoever waits is told when its time has come; nobody else notices."""
    def script(side):
        side.read_startup()
        side.send_raw(data)
        side.read()
    pooler = start_pooler(server=fake_server(script), query_wait_timeout="0.5",
                          databases={"p0": ""}, server_connect_timeout="1")
    client = pooler.wire()
    client.startup("bob", "p0")
    assert client.expect_any_error()["S"] == "FATAL"
    assert pooler.show("VERSION")
    wait_for(lambda: pooler.list_items()["used_servers"] == 0, "the server is gone")


def test_error_without_a_code(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        side.send("E", b"SFATAL\0Mno code\0\0")
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect_error("no code")


@pytest.mark.pgweir_only("an open transaction at login goes on to the client")
@pytest.mark.parametrize("status", ["T", "E", "?"])
def test_server_that_is_not_idle_after_its_login(start_pooler, fake_server, status):
    def script(side):
        side.read_startup()
        side.welcome(status=status)
        side.read()
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          query_wait_timeout="0.5")
    client = pooler.wire()
    client.startup("bob", "p0")
    assert client.expect_any_error()["S"] == "FATAL"
    wait_for(lambda: pooler.list_items()["used_servers"] == 0, "the server is gone")


@pytest.mark.pgweir_only("it waits for ever")
def test_login_split_at_every_byte(start_pooler, fake_server):
    def script(side):
        sock, whole = side.sock, side.send_raw

        def pieces(data):
            for byte in data:
                sock.send(bytes([byte]))
        side.send_raw = pieces
        if side.log_in():
            side.send_raw = whole
            side.serve(lambda side, sql: answer("in"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    assert pooler.client().value("SELECT 1") == "in"


@pytest.mark.pgweir_only("it stops")
def test_notices_during_the_login(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        notice = wire.message("N", error_body("by the way", "NOTICE", "00000"))
        side.send_raw(notice + wire.message("R", struct.pack("!i", 0)) + notice
                      + wire.message("K", side.key) + notice + ready())
        side.serve(lambda side, sql: answer("in"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    assert pooler.client().value("SELECT 1") == "in"


def test_startup_packet_for_the_server(start_pooler, fake_server):
    """Nothing of the client's, only what the entry says, in this order."""
    server = fake_server()
    pooler = start_pooler(server=server, databases={
        "p0": "dbname=real client_encoding=UTF8 datestyle=ISO timezone=GMT application_name=weir"})
    pooler.client(application_name="mine")
    (side,) = server.logged_in
    assert side.startup_order == ["database", "client_encoding", "datestyle", "timezone",
                                  "application_name", "user"]
    assert side.startup == {"database": "real", "client_encoding": "UTF8", "datestyle": "ISO",
                            "timezone": "GMT", "application_name": "weir", "user": "bob"}


def test_server_that_hangs_in_its_login(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        if side.number == 1:
            side.read()
        side.welcome()
        side.serve(lambda side, sql: answer(side.number))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_connect_timeout="1", server_login_retry="0.1")
    assert pooler.client().value("SELECT 1") == "2"
    assert "closing because: connect timeout" in pooler.log()


@pytest.mark.pgweir_only("it stops")
def test_backend_key_may_be_missing(start_pooler, fake_server):
    def script(side):
        side.read_startup()
        side.send_raw(wire.message("R", struct.pack("!i", 0)) + ready())
        side.serve(lambda side, sql: answer("in"))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""})
    assert pooler.client().value("SELECT 1") == "in"


def test_psycopg_sees_the_servers_error(start_pooler):
    pooler = start_pooler(databases={"p0": "dbname=no_such_database"})
    with pytest.raises(psycopg.OperationalError, match='database "no_such_database" does not exist'):
        pooler.connect()
