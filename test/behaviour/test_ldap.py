"""auth_type = ldap against a real slapd, and against one that never answers."""

import os
import signal
import socket
import threading
import time

import pytest

from support import wire
from support.crowd import Crowd
from support.ldap import BASE, READER, READER_PASSWORD, SLAPD, Slapd
from support.pooler import ADMIN, environment
from support.postgres import PASSWORDS
from support.process import SLACK, free_port, open_descriptors, wait_for

pytestmark = [pytest.mark.pgweir_only("Debian's build has no LDAP"),
              pytest.mark.skipif(SLAPD is None, reason="the package slapd is not installed")]

FAILED = "LDAP authentication failed"
PEOPLE = "ou=people," + BASE


@pytest.fixture(scope="module")
def slapd():
    server = Slapd()
    yield server
    server.remove()


def simple(port, **more):
    return options(ldapserver="127.0.0.1", ldapport=port, ldapprefix="uid=",
                   ldapsuffix="," + PEOPLE, **more)


def search(port, **more):
    return options(ldapserver="127.0.0.1", ldapport=port, ldapbasedn=BASE, ldapbinddn=READER,
                   ldapbindpasswd=READER_PASSWORD, **more)


def options(**values):
    return " ".join('%s="%s"' % (name, str(value).replace('"', '""'))
                    for name, value in values.items())


@pytest.fixture
def start(make_pooler):
    """start(options): nobody in it has an entry in auth_file."""
    def run(text, ca_file=None, userlist=None, **settings):
        env = environment()
        if ca_file is not None:
            env["LDAPTLS_CACERT"] = ca_file
        pooler = make_pooler(auth_type="ldap", auth_ldap_options=text, userlist=userlist or {},
                             **settings)
        return pooler.start(env=env)
    return run


def logs_in(pooler, user="bob", password="bob in ldap", database="p0"):
    client = pooler.client(database, user, password)
    assert client.auth_codes == [3, 0]
    assert client.query("SELECT current_user").value == user
    client.close()


def is_refused(pooler, user="bob", password="wrong", message=FAILED, database="p0"):
    with pytest.raises(wire.ServerError) as refusal:
        pooler.client(database, user, password)
    got = refusal.value
    assert (got.severity, got.sqlstate, got.message) == ("FATAL", "08P01", message)


def hang_up(pooler):
    """Reloads without the console, whose users may be other ones afterwards."""
    count = pooler.log().count("re-reading config")
    pooler.write()
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("re-reading config", count + 1)


# ---- modes ----

def test_simple_bind(start, slapd):
    pooler = start(simple(slapd.port))
    logs_in(pooler)
    logs_in(pooler)
    is_refused(pooler)
    is_refused(pooler, "nobody", "x")
    is_refused(pooler, "alice", "bob in ldap")
    logs_in(pooler, "alice", "alice in ldap")
    assert "LDAP bind: Invalid credentials" in pooler.log()
    assert "bob in ldap" not in pooler.output()


def test_unix_socket(start, slapd):
    pooler = start(simple(slapd.port))
    client = pooler.wire(pooler.socket_dir).login("bob", "p0", "bob in ldap")
    assert client.query("SELECT 1").value == "1"


def test_libpq(start, slapd):
    pooler = start(simple(slapd.port))
    assert pooler.value("SELECT current_user", password="bob in ldap") == "bob"


@pytest.mark.parametrize("user", ["bob,ou=people", "bob+cn=bob", "bob ", "bo\\62"])
def test_user_stays_a_value_in_a_name(start, slapd, user):
    """Whoever can choose his name must not choose the entry whose password counts."""
    pooler = start(options(ldapserver="127.0.0.1", ldapport=slapd.port, ldapprefix="uid=",
                           ldapsuffix="," + BASE))
    is_refused(pooler, user, "bob in ldap")
    is_refused(pooler, "carol,ou=open", "carol in ldap")


def test_empty_password_is_no_anonymous_bind(start, slapd):
    pooler = start(simple(slapd.port))
    is_refused(pooler, "bob", "", "empty password returned by client")
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect("R")
    client.send("p", b"")  # not even a terminator
    assert wire.parse_fields(client.expect("E").body)["M"] == FAILED
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect("R")
    client.send("p", b"\0bob in ldap\0")
    assert wire.parse_fields(client.expect("E").body)["M"] == FAILED


def test_search(start, slapd):
    pooler = start(search(slapd.port))
    logs_in(pooler)
    is_refused(pooler)
    is_refused(pooler, "nobody", "x")
    assert "the LDAP search found no entry" in pooler.log()
    is_refused(pooler, "twin", "twin-pw")
    assert "the LDAP search found more than one entry" in pooler.log()


@pytest.mark.parametrize("user", ["*", "b*b", "bob)(uid=*", "bob\\2a", "bo/b"])
def test_search_refuses_special_characters(start, slapd, user):
    pooler = start(search(slapd.port))
    is_refused(pooler, user, "bob in ldap")
    assert "a character that a search does not allow" in pooler.log()
    logs_in(pooler)


def test_search_attribute_and_filter(start, slapd, pg):
    pg.sql('CREATE ROLE "bob@example.net" LOGIN')
    try:
        pooler = start(search(slapd.port, ldapsearchattribute="mail"))
        logs_in(pooler, "bob@example.net")
        is_refused(pooler, "bob", "bob in ldap")
        pooler.settings["auth_ldap_options"] = search(
            slapd.port, ldapsearchfilter="(|(uid=$username)(mail=$username))")
        hang_up(pooler)
        logs_in(pooler, "bob@example.net")
        logs_in(pooler, "bob")
    finally:
        pooler.stop()
        pg.sql('DROP ROLE "bob@example.net"')


def test_search_without_a_name(start, slapd):
    """An anonymous search sees what is open to everybody."""
    pooler = start(options(ldapserver="127.0.0.1", ldapport=slapd.port,
                           ldapbasedn="ou=open," + BASE))
    logs_in(pooler, "carol", "carol in ldap")
    is_refused(pooler, "bob", "bob in ldap")


def test_search_with_a_wrong_reader(start, slapd):
    pooler = start(options(ldapserver="127.0.0.1", ldapport=slapd.port, ldapbasedn=BASE,
                           ldapbinddn=READER, ldapbindpasswd="no-such-secret"))
    is_refused(pooler, "bob", "bob in ldap")
    assert "LDAP bind with ldapbinddn: Invalid credentials" in pooler.log()
    assert "no-such-secret" not in pooler.output()


def test_url(start, slapd):
    reader = options(ldapbinddn=READER, ldapbindpasswd=READER_PASSWORD)
    url = "ldap://127.0.0.1:%d/" % slapd.port
    pooler = start('ldapurl="%s%s?uid?sub" %s' % (url, BASE, reader))
    logs_in(pooler)
    pooler.settings["auth_ldap_options"] = 'ldapurl="%s%s?uid?one" %s' % (url, BASE, reader)
    hang_up(pooler)
    is_refused(pooler, "bob", "bob in ldap")
    pooler.settings["auth_ldap_options"] = 'ldapurl="%s%s??one?(cn=$username)" %s' % (
        url, PEOPLE.replace("=", "%3d"), reader)
    hang_up(pooler)
    logs_in(pooler)


def test_second_server(start, slapd):
    """The first name that answers counts."""
    dead = free_port()
    pooler = start(options(ldapserver="127.0.0.1:%d 127.0.0.1:%d" % (dead, slapd.port),
                           ldapprefix="uid=", ldapsuffix="," + PEOPLE))
    logs_in(pooler)


def test_server_is_down(start):
    pooler = start(simple(free_port()))
    is_refused(pooler, "bob", "bob in ldap")
    assert "Can't contact LDAP server" in pooler.log()


# ---- TLS ----

@pytest.mark.parametrize("how", ["ldaps", "url", "starttls"])
def test_tls(start, slapd, how):
    text = {"ldaps": simple(slapd.tls_port, ldapscheme="ldaps"),
            "url": 'ldapurl="ldaps://127.0.0.1:%d" ldapprefix="uid=" ldapsuffix=",%s"' % (
                slapd.tls_port, PEOPLE),
            "starttls": simple(slapd.port, ldaptls=1)}[how]
    pooler = start(text, ca_file=slapd.ca_file)
    logs_in(pooler)
    is_refused(pooler)
    assert "TLS established" in slapd.log()


@pytest.mark.parametrize("how", ["ldaps", "starttls"])
def test_certificate_of_an_unknown_authority(start, slapd, how):
    """The password must not reach it."""
    text = (simple(slapd.tls_port, ldapscheme="ldaps") if how == "ldaps"
            else simple(slapd.port, ldaptls=1))
    before = slapd.log().count("BIND dn=")
    pooler = start(text)
    is_refused(pooler, "bob", "bob in ldap")
    assert slapd.log().count("BIND dn=") == before


# ---- what follows from a login ----

@pytest.mark.parametrize("user", sorted(PASSWORDS))
def test_password_serves_at_the_server(start, slapd, user):
    pooler = start(simple(slapd.port))
    logs_in(pooler, user, PASSWORDS[user])
    pooler.admin("RECONNECT")
    logs_in(pooler, user, PASSWORDS[user])


def test_password_counts_before_auth_file(start, slapd):
    pooler = start(simple(slapd.port), userlist={"scramuser": "something else"})
    logs_in(pooler, "scramuser", PASSWORDS["scramuser"])
    is_refused(pooler, "scramuser", "something else")


def test_forced_user_has_his_own(start, slapd):
    pooler = start(simple(slapd.port), databases={
        "p0": "", "forced": "dbname=p0 user=scramuser password=scram-pw"})
    client = pooler.client("forced", "bob", "bob in ldap")
    assert client.query("SELECT current_user").value == "scramuser"
    client.close()


def test_received_password_is_forgotten(start, slapd):
    """Back with auth_file, what LDAP let in is gone."""
    pooler = start(simple(slapd.port), userlist={"scramuser": "other-pw"})
    logs_in(pooler, "scramuser", PASSWORDS["scramuser"])
    pooler.settings["auth_type"] = "plain"
    pooler.reload()
    pooler.admin("RECONNECT")
    client = pooler.wire()
    with pytest.raises(wire.ServerError) as refusal:
        client.login("scramuser", "p0", "other-pw").query("SELECT 1")
    assert "password authentication failed" in refusal.value.message


def test_tried_names_leave_no_trace(start, slapd):
    pooler = start(simple(slapd.port))
    for number in range(20):
        is_refused(pooler, "nobody%d" % number)
    assert not [row for row in pooler.show("USERS") if row["name"].startswith("nobody")]
    logs_in(pooler)
    assert pooler.show("USERS", name="bob")


def test_console(start, slapd):
    pooler = start(simple(slapd.port))
    assert pooler.show("VERSION")
    is_refused(pooler, ADMIN, "wrong", database="pgbouncer")
    for user in ("bob", "nobody"):
        client = pooler.wire()
        client.startup(user, "pgbouncer")
        assert wire.parse_fields(client.expect("E").body)["M"] == "not allowed"


def test_unknown_database(start, slapd):
    pooler = start(simple(slapd.port))
    is_refused(pooler, "bob", "bob in ldap", "no such database: missing", database="missing")
    is_refused(pooler, "bob", "wrong", database="missing")


def test_limit_of_a_user(start, slapd):
    pooler = start(simple(slapd.port), max_user_client_connections=1)
    first = pooler.client("p0", "bob", "bob in ldap")
    is_refused(pooler, "bob", "bob in ldap",
               "client connections exceeded (max_user_client_connections)")
    first.close()
    wait_for(lambda: not pooler.show("CLIENTS", user="bob"), "the first client has gone")
    logs_in(pooler)


def test_queries_that_come_with_the_password(start, slapd):
    pooler = start(simple(slapd.port))
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect("R")
    client.send_raw(wire.message("p", wire.cstring("bob in ldap")) + wire.query("SELECT 7"))
    client.expect("R")
    client.welcome()
    assert client.result().value == "7"


# ---- HBA ----

def test_hba(make_pooler, slapd):
    """Each line has its own way; nobody needs an entry in auth_file for it."""
    pooler = make_pooler(auth_type="hba", userlist={"alice": "alice-pw"})
    rules = "\n".join(["local pgbouncer all trust",
                       "host p0 all 127.0.0.1/32 ldap " + simple(slapd.port),
                       "host p1 all 127.0.0.1/32 ldap " + search(slapd.port),
                       "host p2 all 127.0.0.1/32 ldap " + simple(free_port()),
                       "host p3,pgbouncer all 127.0.0.1/32 password"]) + "\n"
    pooler.settings["auth_hba_file"] = os.path.join(pooler.folder, "hba.conf")
    pooler.write_file(pooler.settings["auth_hba_file"], rules)
    pooler.start()
    for database in ("p0", "p1"):
        logs_in(pooler, database=database)
        is_refused(pooler, "alice", "alice-pw", database=database)
        logs_in(pooler, "alice", "alice in ldap", database=database)
    is_refused(pooler, "bob", "bob in ldap", database="p2")
    logs_in(pooler, "alice", "alice-pw", database="p3")
    logs_in(pooler, "scramuser", PASSWORDS["scramuser"])
    client = pooler.wire()
    client.startup("bob", "pgbouncer")
    client.expect("R")
    client.send("p", wire.cstring("bob in ldap"))
    assert wire.parse_fields(client.expect("E").body)["M"] == "password authentication failed"
    assert READER_PASSWORD not in pooler.output()


def test_console_by_hba(make_pooler, slapd):
    pooler = make_pooler(auth_type="hba", userlist={})
    pooler.settings["auth_hba_file"] = os.path.join(pooler.folder, "hba.conf")
    pooler.write_file(pooler.settings["auth_hba_file"],
                      "local all all ldap %s\nhost all all all ldap %s\n" % (
                          simple(slapd.port), simple(slapd.port)))
    pooler.start()
    assert pooler.show("VERSION")
    is_refused(pooler, "bob", "bob in ldap", "not allowed", database="pgbouncer")


# ---- configuration ----

def line_of(pooler, text):
    with open(pooler.ini) as file:
        for number, line in enumerate(file, 1):
            if line.startswith(text):
                return "%s:%d: " % (pooler.ini, number)
    raise AssertionError(text)


@pytest.mark.parametrize("text, message", [
    ("ldapserver=a", "ldapbasedn, ldapprefix or ldapsuffix is missing"),
    ("ldapserver=a ldapprefix=x ldapbasedn=y", "cannot be mixed"),
    ("ldapserver=a ldapprefix=x ldaphost=y", "unknown LDAP option: ldaphost"),
    ("ldapserver=a ldapprefix=x ldapport=99999", "ldapport: expected a port from 1 to 65535"),
    ("ldapurl=http://a/dc=x", "ldapurl: expected ldap or ldaps"),
])
@pytest.mark.parametrize("auth_type", ["ldap", "md5"])
def test_broken_options(make_pooler, auth_type, text, message):
    pooler = make_pooler(auth_type=auth_type, auth_ldap_options=text)
    pooler.write()
    code, _, errors = pooler.run("--check", pooler.ini)
    assert code == 1
    assert "%sauth_ldap_options: " % line_of(pooler, "auth_ldap_options") in errors
    assert message in errors


def test_broken_options_change_nothing(start, slapd):
    pooler = start(simple(slapd.port))
    good = pooler.settings["auth_ldap_options"]
    pooler.settings["auth_ldap_options"] = "ldapserver=127.0.0.1"
    pooler.write()
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    logs_in(pooler)
    with pytest.raises(wire.ServerError):
        pooler.admin("SET auth_ldap_options = 'ldapserver=a ldaptls=maybe ldapprefix=x'")
    logs_in(pooler)
    pooler.settings["auth_ldap_options"] = good
    pooler.reload()


def test_bind_password_is_not_shown(start, slapd):
    pooler = start(search(slapd.port), verbose=2)
    logs_in(pooler)
    assert "ldapbindpasswd=***" in pooler.config("auth_ldap_options")
    pooler.settings["auth_ldap_options"] = search(slapd.port, ldaptls=0)
    pooler.reload()
    assert "setting auth_ldap_options changed" in pooler.log()
    assert READER_PASSWORD not in pooler.output()
    assert READER_PASSWORD not in pooler.config("auth_ldap_options")


def test_without_options(start):
    pooler = start(None)
    assert "auth_ldap_options is not set: nobody can log in" in pooler.output()
    client = pooler.wire()
    client.startup("bob", "p0")
    assert wire.parse_fields(client.expect("E").body)["M"] == "auth_ldap_options is null"
    pooler.expected_exit = None


@pytest.mark.parametrize("databases, settings", [({"p0": "auth_user=bob"}, {}),
                                                 (None, {"auth_user": "bob"})])
def test_not_with_auth_user(start, slapd, databases, settings):
    pooler = start(simple(slapd.port), databases=databases, **settings)
    client = pooler.wire()
    client.startup("bob", "p0")
    assert wire.parse_fields(client.expect("E").body)["M"] == "bouncer config error"
    assert "auth_type ldap cannot be used together with auth_user" in pooler.log()


# ---- a server that never answers ----

@pytest.fixture
def silent_port():
    """Takes connections into its queue and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        yield listener.getsockname()[1]


def test_silent_server_gives_up_after_three_seconds(start, silent_port):
    pooler = start(simple(silent_port))
    is_refused(pooler, "bob", "bob in ldap")
    assert "Timed out" in pooler.log()


@pytest.mark.parametrize("how", ["ldaps", "starttls"])
def test_silent_server_with_tls(start, silent_port, how):
    more = {"ldapscheme": "ldaps"} if how == "ldaps" else {"ldaptls": 1}
    pooler = start(simple(silent_port, **more))
    is_refused(pooler, "bob", "bob in ldap")


START_TLS_DONE = bytes.fromhex("300c02010178070a010004000400")


def drip(sock):
    sock.recv(4096)
    while True:
        sock.sendall(b"\x30")
        time.sleep(0.2)


HOSTILE = {
    "closes": lambda sock: sock.recv(4096),
    "garbage": lambda sock: sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100),
    "huge": lambda sock: sock.sendall(b"\x30\x84\x7f\xff\xff\xff" + b"x" * 3000000),
    "half": lambda sock: (sock.recv(4096), sock.sendall(b"\x30\x0c\x02\x01"), sock.recv(4096)),
    "drip": drip,
    "another answer": lambda sock: (sock.recv(4096), sock.sendall(
        bytes.fromhex("300c02010561070a010004000400")), sock.recv(4096)),
    "silence": lambda sock: time.sleep(20),
}


@pytest.mark.parametrize("how", HOSTILE)
@pytest.mark.parametrize("tls", ["", "ldaps", "starttls"])
def test_hostile_server(start, how, tls):
    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(sock,), daemon=True).start()

    def answer(sock):
        try:
            if tls == "starttls":
                sock.recv(4096)
                sock.sendall(START_TLS_DONE)
            HOSTILE[how](sock)
            if how in ("half", "another answer"):
                time.sleep(20)
        except OSError:
            pass
        sock.close()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        threading.Thread(target=serve, daemon=True).start()
        more = {"ldapscheme": "ldaps"} if tls == "ldaps" else {}
        more.update({"ldaptls": 1} if tls == "starttls" else {})
        pooler = start(simple(listener.getsockname()[1], **more))
        is_refused(pooler, "bob", "bob in ldap")
        listener.shutdown(socket.SHUT_RDWR)


def test_client_that_leaves_during_the_check(start, silent_port):
    pooler = start(simple(silent_port))
    before = open_descriptors(pooler.pid)
    crowd = Crowd(pooler, 20)
    for client in crowd.clients:
        client.reset()
    wait_for(lambda: open_descriptors(pooler.pid) < before + 12, "all have gone")


def test_early_bytes_are_limited(start, silent_port):
    pooler = start(simple(silent_port))
    client = Crowd(pooler, 1).clients[0]
    client.send_raw(b"Q" * 70000)
    pooler.wait_log("too many messages before the login was complete")


@pytest.mark.slow
@pytest.mark.limit(120)
def test_thousand_logins_wait_for_a_silent_server(start, silent_port):
    """Queries go on, each login ends at its own limit, and so does the process."""
    limit = 6 * SLACK
    pooler = start(simple(silent_port), max_client_conn=2000, admin_users="bob, " + ADMIN,
                   client_login_timeout=limit)
    crowd = Crowd(pooler, 1000)
    texts = crowd.failures()
    assert set(texts) <= {"client_login_timeout", FAILED}
    assert texts.count("client_login_timeout") >= 1000 - 8 * (1 + limit / 3)


def test_end_while_the_server_is_silent(start, silent_port):
    pooler = start(simple(silent_port))
    Crowd(pooler, 20)
    pooler.signal(signal.SIGQUIT)
    pooler.expect_exit(0)
