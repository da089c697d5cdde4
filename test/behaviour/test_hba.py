"""auth_type = hba: the rules of auth_hba_file, the maps of auth_ident_file, peer."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile

import psycopg
import pytest

from support import wire
from support.pooler import ADMIN, ADMIN_PASSWORD

PASSWORD = "right-pw"
SECRETS = {
    "plain_secret": PASSWORD,
    "md5_secret": wire.md5_secret("md5_secret", PASSWORD),
    "scram_secret": wire.scram_secret(PASSWORD),
    "empty_secret": "",
    "bob": PASSWORD,
    "alice": PASSWORD,
}
ME = pwd.getpwuid(os.geteuid()).pw_name
NO_METHOD = "no authentication method is found"
REJECTED = "login rejected"
NOT_PEER = "unix socket login rejected"
WRONG = "password authentication failed"
WRONG_SCRAM = "SASL authentication failed"

# What the tests themselves need; line 1 of each file of rules.
HEAD = "local pgbouncer admin trust\n"

pytestmark = pytest.mark.pgweir_only("SCRAM, maps, and what a broken line does")


class Rules:
    """A pooler with rules; every client user becomes bob on the server."""

    def __init__(self, pooler):
        self.pooler = pooler
        self.file = os.path.join(pooler.folder, "hba.conf")
        self.maps = os.path.join(pooler.folder, "ident.conf")

    def write(self, name, text):
        self.pooler.write_file(os.path.join(self.pooler.folder, name), text)

    def attempt(self, user="bob", database="p0", host="127.0.0.1", password=PASSWORD):
        """Logs in; the authentication codes seen, and the error's text or None."""
        client = self.pooler.wire(self.pooler.socket_dir if host == "local" else host)
        try:
            client.login(user, database, password)
            if database != "pgbouncer":
                assert client.value("SELECT current_user") == "bob"
            return client.auth_codes, None
        except wire.ServerError as failure:
            assert (failure.severity, failure.sqlstate) == ("FATAL", "08P01")
            client.expect_eof()
            return client.auth_codes, failure.message
        finally:
            client.close()

    def outcome(self, *arguments, **named):
        return self.attempt(*arguments, **named)[1]


@pytest.fixture
def make_rules(make_pooler):
    def make(text, maps=None, head=HEAD, **settings):
        settings.setdefault("databases", {"p0": "user=bob", "p1": "user=bob", "bob": "user=bob dbname=p0"})
        settings.setdefault("userlist", {**SECRETS, ME: PASSWORD})
        settings.setdefault("auth_type", "hba")
        pooler = make_pooler(**settings)
        rules = Rules(pooler)
        pooler.settings.setdefault("auth_hba_file", rules.file)
        rules.write("hba.conf", head + text)
        if maps is not None:
            pooler.settings.setdefault("auth_ident_file", rules.maps)
            rules.write("ident.conf", maps)
        return rules
    return make


@pytest.fixture
def start_rules(make_rules):
    def start(*arguments, **settings):
        rules = make_rules(*arguments, **settings)
        rules.pooler.start()
        return rules
    return start


def refuses_to_start(rules):
    """It does not start, and --check says the same; the lines of errors."""
    pooler = rules.pooler
    pooler.write()
    code, _, started = pooler.run(pooler.ini)
    assert code == 1, started
    code, _, checked = pooler.run("--check", pooler.ini)
    assert code == 1
    errors = [line[len("error: "):] for line in checked.splitlines()
              if line.startswith("error: ")]
    assert errors
    for error in errors:
        assert error in started
    return errors


def reload_fails(pooler):
    pooler.write()
    with pytest.raises(wire.ServerError) as caught:
        pooler.admin("RELOAD")
    assert caught.value.sqlstate == "F0000"


# Methods

@pytest.mark.parametrize("method,user,asked,accepted", [
    ("trust", "plain_secret", 0, True), ("trust", "md5_secret", 0, True),
    ("trust", "empty_secret", 0, True),
    ("password", "plain_secret", 3, True), ("password", "md5_secret", 3, True),
    ("password", "scram_secret", 3, True), ("password", "empty_secret", 3, False),
    ("md5", "plain_secret", 5, True), ("md5", "md5_secret", 5, True),
    ("md5", "scram_secret", 10, True), ("md5", "empty_secret", 5, False),
    ("scram-sha-256", "plain_secret", 10, True), ("scram-sha-256", "md5_secret", 10, False),
    ("scram-sha-256", "scram_secret", 10, True), ("scram-sha-256", "empty_secret", 10, False)])
@pytest.mark.parametrize("host", ["127.0.0.1", "local"])
def test_method_and_secret(start_rules, method, user, asked, accepted, host):
    rules = start_rules("local all all %s\nhost all all all %s\n" % (method, method))
    failed = WRONG_SCRAM if asked == 10 else WRONG
    codes, error = rules.attempt(user, host=host)
    assert codes[0] == asked
    assert error == (None if accepted else failed)
    if method != "trust":
        codes, error = rules.attempt(user, host=host, password="wrong")
        assert codes[0] == asked
        assert error == failed


@pytest.mark.parametrize("method,error", [
    ("trust", '"trust" authentication failed'), ("password", WRONG), ("md5", WRONG),
    ("scram-sha-256", WRONG_SCRAM), ("peer", NOT_PEER), ("reject", REJECTED),
    ("cert", "certificate authentication failed")])
def test_unknown_user(start_rules, method, error):
    rules = start_rules("local all all %s\n" % method)
    assert rules.outcome("nobody-knows", host="local") == error


@pytest.mark.parametrize("method,error", [
    ("trust", None), ("md5", None), ("scram-sha-256", None), ("reject", REJECTED)])
def test_unknown_database_is_told_after_authentication(start_rules, method, error):
    rules = start_rules("host all all all %s\n" % method)
    assert rules.outcome(database="nowhere") == (error or "no such database: nowhere")


def test_unknown_database_is_not_told_before(start_rules):
    rules = start_rules("host p0 all all md5\n")
    assert rules.outcome(database="nowhere") == NO_METHOD
    assert rules.outcome(database="nowhere", user="nobody-knows") == NO_METHOD


def test_reject(start_rules):
    rules = start_rules("host all bob all reject\nhost all all all trust\n")
    assert rules.attempt("bob") == ([], REJECTED)
    assert rules.attempt("alice") == ([0], None)
    assert "login failed: db=p0 user=bob: by line 2 of auth_hba_file" in rules.pooler.log()


def test_nothing_fits(start_rules):
    rules = start_rules("host p1 all all trust\n")
    assert rules.attempt() == ([], NO_METHOD)
    assert rules.outcome(database="p1") is None
    assert rules.outcome(database="p1", host="local") == NO_METHOD


def test_empty_file_lets_nobody_in(start_rules):
    assert start_rules("", head="# nothing\n").outcome() == NO_METHOD


def test_certificate_without_tls(start_rules):
    rules = start_rules("host all all all cert map=m\nlocal all all cert\n", maps="m bob bob\n")
    assert rules.attempt() == ([], "certificate authentication failed")
    assert rules.attempt(host="local") == ([], "certificate authentication failed")
    assert "TLS connection required" in rules.pooler.log()


def test_ldap_without_ldap(start_rules):
    """Or with LDAP, and without its server."""
    rules = start_rules('host all all all ldap ldapserver=127.0.0.1 ldapport=1 '
                        'ldapbasedn="dc=a" ldapbinddn="cn=a, b # c"\n')
    assert rules.attempt()[1] in ("ldap is not supported by this build",
                                  "LDAP authentication failed")


def test_ldap_options_are_checked(make_rules):
    rules = make_rules("host all all all ldap ldapserver=127.0.0.1 ldapbindpasswd=hidden\n")
    (error,) = refuses_to_start(rules)
    assert "hba.conf:2: \"ldap\": ldapbasedn, ldapprefix or ldapsuffix is missing" in error
    assert "hidden" not in rules.pooler.output()


def test_libpq_logs_in(start_rules):
    rules = start_rules("host all all 127.0.0.1/32 scram-sha-256\nlocal all all md5\n")
    pooler = rules.pooler
    assert pooler.value("SELECT 1", user="scram_secret", password=PASSWORD) == 1
    assert pooler.value("SELECT 1", user="md5_secret", password=PASSWORD,
                        host=pooler.socket_dir) == 1
    with pytest.raises(psycopg.OperationalError, match=WRONG_SCRAM):
        pooler.connect(user="bob", password="wrong")


# TLS

@pytest.fixture(scope="module")
def certificates():
    """A folder with ca.crt, and NAME.crt and NAME.key of server, bob and boss."""
    folder = tempfile.mkdtemp(prefix="pgweir-certificates-")
    os.chmod(folder, 0o755)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
           "-days", "2")
    openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    for name in ("server", "bob", "boss"):
        openssl(*new, "-subj", "/CN=" + name, "-CA", "ca.crt", "-CAkey", "ca.key",
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-keyout", name + ".key", "-out", name + ".crt")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start_tls(make_rules, certificates):
    def start(text, mode="allow", **arguments):
        rules = make_rules(text, client_tls_sslmode=mode,
                           client_tls_ca_file=os.path.join(certificates, "ca.crt"), **arguments)
        for kind in ("crt", "key"):
            with open(os.path.join(certificates, "server." + kind)) as file:
                rules.write("server." + kind, file.read())
        rules.pooler.settings["client_tls_cert_file"] = rules.pooler.folder + "/server.crt"
        rules.pooler.settings["client_tls_key_file"] = rules.pooler.folder + "/server.key"
        rules.pooler.start()
        return rules
    return start


def tls_outcome(rules, certificates, user="bob", certificate=None, database="p0"):
    named = dict(sslcert=os.path.join(certificates, certificate + ".crt"),
                 sslkey=os.path.join(certificates, certificate + ".key")) if certificate else {}
    try:
        with rules.pooler.connect(dbname=database, user=user, password=PASSWORD,
                                  sslmode="require", **named) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("bob",)
    except psycopg.OperationalError as failure:
        return str(failure).split("FATAL:  ")[1].strip()


def test_hostssl_and_hostnossl(start_tls, certificates):
    rules = start_tls("hostssl all bob all trust\nhostnossl all alice all trust\n"
                      "host all plain_secret all trust\n")
    assert tls_outcome(rules, certificates, "bob") is None
    assert rules.outcome("bob") == NO_METHOD
    assert rules.outcome("alice") is None
    assert tls_outcome(rules, certificates, "alice") == NO_METHOD
    assert tls_outcome(rules, certificates, "plain_secret") is None
    assert rules.outcome("plain_secret") is None


@pytest.mark.parametrize("mode", ["allow", "verify-full"])
def test_certificate(start_tls, certificates, mode):
    rules = start_tls("hostssl p0 all all cert\nhostssl p1 all all cert map=m\n"
                      "hostssl bob all all cert map=everybody\n", mode=mode,
                      maps="m boss alice\nm boss bob\neverybody boss all\n")
    refused = "certificate authentication failed"
    assert tls_outcome(rules, certificates, "bob", "bob") is None
    assert tls_outcome(rules, certificates, "alice", "bob") == refused
    assert tls_outcome(rules, certificates, "bob", "boss") == refused
    assert "TLS certificate name mismatch" in rules.pooler.log()
    assert tls_outcome(rules, certificates, "alice", "boss", "p1") is None
    assert tls_outcome(rules, certificates, "bob", "boss", "p1") is None
    assert tls_outcome(rules, certificates, "plain_secret", "boss", "p1") == refused
    assert "ident map: m does not have a match" in rules.pooler.log()
    assert tls_outcome(rules, certificates, "plain_secret", "boss", "bob") is None
    assert tls_outcome(rules, certificates, "boss", "boss", "bob") == refused  # no such user
    if mode == "allow":
        assert tls_outcome(rules, certificates, "bob") == refused
        assert "TLS client certificate required" in rules.pooler.log()


# Which rule

def test_hostssl_and_hostnossl_without_tls(start_rules):
    rules = start_rules("hostssl all all all reject\nhostnossl all bob all trust\n"
                        "host all alice all trust\n")
    assert rules.outcome("bob") is None
    assert rules.outcome("alice") is None
    assert rules.outcome("plain_secret") == NO_METHOD


def test_first_rule_that_fits_decides(start_rules):
    rules = start_rules("host all bob 127.0.0.1/32 reject\n"
                        "host p0 alice 127.0.0.0 255.0.0.0 reject\n"
                        "host all all 127.0.0.0/8 trust\n"
                        "host all bob 0.0.0.0/0 trust\n"
                        "host all alice all md5\n")
    assert rules.outcome("bob") == REJECTED
    assert rules.outcome("alice") == REJECTED
    assert rules.attempt("alice", "p1") == ([0], None)
    assert rules.attempt("plain_secret") == ([0], None)


def test_ipv6(start_rules):
    rules = start_rules("host all bob ::1/128 trust\nhost all alice ::/0 reject\n"
                        "host all all 0.0.0.0/0 md5\n", listen_addr="127.0.0.1, ::1")
    assert rules.attempt("bob", host="::1") == ([0], None)
    assert rules.attempt("bob")[0][0] == 5
    assert rules.outcome("alice", host="::1") == REJECTED
    assert rules.outcome("plain_secret", host="::1") == NO_METHOD


def test_ipv4_on_an_ipv6_socket(start_rules):
    """However the listener shows it, a client from 127.0.0.1 meets the rule for 127.0.0.1."""
    rules = start_rules("host all bob 127.0.0.1/32 trust\nhost all alice 127.0.0.0/8 reject\n"
                        "host all all all trust\n", listen_addr="*")
    assert rules.attempt("bob") == ([0], None)
    assert rules.outcome("alice") == REJECTED


def test_samehost_and_samenet(start_rules):
    rules = start_rules("host all bob samehost trust\nhost all alice samenet trust\n")
    assert rules.outcome("bob") is None
    assert rules.outcome("alice") is None
    assert rules.outcome("bob", host="local") == NO_METHOD


def test_names_and_keywords(start_rules):
    rules = start_rules('host sameuser all all trust\n'
                        'host "all" all all trust\n'
                        'host p1 "all" , alice all trust\n')
    assert rules.outcome("bob", "bob") is None
    assert rules.outcome("bob", "p0") == NO_METHOD
    assert rules.outcome("bob", "p1") == NO_METHOD
    assert rules.outcome("alice", "p1") is None


@pytest.mark.parametrize("user", ["bo", "bobb", "BOB", "alic"])
def test_names_fit_exactly(start_rules, user):
    rules = start_rules("host all bob,alice all trust\n", userlist={**SECRETS, user: PASSWORD})
    assert rules.outcome(user) == NO_METHOD
    assert rules.outcome("bob") is None


def test_files_of_names(make_rules):
    rules = make_rules('host p0 @users all trust\nhost @lists/databases alice all trust\n')
    os.mkdir(os.path.join(rules.pooler.folder, "lists"), 0o755)
    rules.write("users", "# who\nbob, plain_secret\n")
    rules.write("lists/databases", "@more\n")
    rules.write("lists/more", "p1")
    rules.pooler.start()
    assert rules.outcome("bob") is None
    assert rules.outcome("plain_secret") is None
    assert rules.outcome("alice") == NO_METHOD
    assert rules.outcome("alice", "p1") is None
    rules.write("users", "alice\n")
    assert rules.outcome("alice") == NO_METHOD
    rules.pooler.reload()
    assert rules.outcome("alice") is None
    assert rules.outcome("bob") == NO_METHOD


@pytest.mark.limit(120)
def test_many_rules(start_rules):
    """A line for each of 100,000 users, and as many addresses nobody has."""
    text = "".join("host all user%d 127.0.0.1/32 md5\n" % i for i in range(100000))
    text += "".join("host all all 10.%d.%d.%d/32 reject\n" % (i >> 16, i >> 8 & 255, i & 255)
                    for i in range(100000))
    rules = start_rules(text + "host all bob all trust\n")
    assert rules.outcome("bob") is None
    assert rules.outcome("alice") == NO_METHOD
    assert rules.outcome("user99999") == WRONG
    rules.pooler.reload()
    assert rules.outcome("bob") is None


# The console

def test_console(start_rules):
    rules = start_rules("host pgbouncer admin all md5\nhost all all all trust\n")
    assert rules.outcome(ADMIN, "pgbouncer", password="wrong") == WRONG
    assert rules.attempt(ADMIN, "pgbouncer", password=ADMIN_PASSWORD) == ([5, 0], None)
    assert rules.outcome("bob", "pgbouncer") == "not allowed"
    assert rules.attempt(ADMIN, "pgbouncer", host="local") == ([0], None)


def test_console_needs_a_rule(start_rules):
    rules = start_rules("host p0 all all trust\n")
    assert rules.outcome(ADMIN, "pgbouncer") == NO_METHOD
    assert rules.outcome("adm", "pgbouncer") == NO_METHOD


# peer

def test_peer(start_rules):
    rules = start_rules("local all all peer\nhost all all all peer\n")
    assert rules.attempt(ME, host="local") == ([0], None)
    assert rules.attempt("bob", host="local") == ([], NOT_PEER)
    assert rules.attempt(ME) == ([], NOT_PEER)
    assert "peer works on Unix sockets only" in rules.pooler.log()


def test_peer_with_a_map(start_rules):
    rules = start_rules("local p0 all peer map=m1\nlocal p1 all peer map=m2\n"
                        "local bob all peer map=m3\n",
                        maps="m1 someone bob\nm1 %s bob\nm1 %s plain_secret\n"
                             "m2 %s all\nm3 someone all\n" % (ME, ME, ME))
    assert rules.attempt("bob", host="local") == ([0], None)
    assert rules.attempt("plain_secret", host="local") == ([0], None)
    assert rules.outcome("alice", host="local") == NOT_PEER
    assert rules.outcome(ME, host="local") == NOT_PEER
    assert rules.outcome("alice", "p1", host="local") is None
    assert rules.outcome("nobody-knows", "p1", host="local") == NOT_PEER
    assert rules.outcome("bob", "bob", host="local") == NOT_PEER
    assert "ident map: m3 does not have a match" in rules.pooler.log()


@contextlib.contextmanager
def as_uid(uid):
    """What connects inside of it comes from that user."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


def nameless_uid():
    uid = 54321
    while True:
        try:
            pwd.getpwuid(uid)
            uid += 1
        except KeyError:
            return uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_peer_of_a_user_without_a_name(start_rules):
    """Not even a map for everybody lets somebody in whom the system does not know."""
    rules = start_rules("local p0 all peer\nlocal p1 all peer map=m\n",
                        maps="m \"%d\" all\nm %s all\n" % (nameless_uid(), ME),
                        userlist={**SECRETS, str(nameless_uid()): PASSWORD})
    with as_uid(nameless_uid()):
        assert rules.outcome("bob", host="local") == NOT_PEER
        assert rules.outcome(str(nameless_uid()), host="local") == NOT_PEER
        assert rules.outcome("bob", "p1", host="local") == NOT_PEER
    assert "the system does not know the user at the other end" in rules.pooler.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_peer_is_who_connected(start_rules):
    rules = start_rules("local p0 all peer\nlocal p1 all peer map=m\n", maps="m nobody bob\n",
                        userlist={**SECRETS, "nobody": "", "root": ""})
    with as_uid(pwd.getpwnam("nobody").pw_uid):
        assert rules.outcome("nobody", host="local") is None
        assert rules.outcome("root", host="local") == NOT_PEER
        assert rules.outcome("bob", "p1", host="local") is None
    assert rules.outcome("bob", "p1", host="local") == NOT_PEER


def test_peer_on_an_abstract_socket(start_rules):
    """The credentials are those of the process, wherever the socket has its name."""
    rules = start_rules("host pgbouncer admin all trust\nlocal all all peer\n",
                        unix_socket_dir="@pgweir-test-%d" % os.getpid())
    pooler = rules.pooler
    host = "@pgweir-test-%d" % os.getpid()
    with psycopg.connect(host=host, port=pooler.port, user=ME, dbname="p0",
                         prepare_threshold=None) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match=NOT_PEER):
        psycopg.connect(host=host, port=pooler.port, user="bob", dbname="p0")


# Files that are wrong

BROKEN = {
    "type": ("lokal all all trust", '"lokal" is out of place: expected local, host'),
    "method": ("host all all all any", '"any" is out of place: expected a method'),
    "quote": ('host "all all all trust', "a quote that is not closed"),
    "address": ("host all all localhost trust", '"localhost": not an address'),
    "mask": ("host all all 127.0.0.1 reject", "without a mask: write /32 behind it"),
    "bits": ("host all all 127.0.0.1/8 reject", "bits outside of its mask"),
    "group": ("host all +staff all reject", "groups are not known to the pooler"),
    "role": ("host samerole all all reject", "groups are not known to the pooler"),
    "short": ("host all", "the line ends too early"),
    "map": ("local all all peer map=nomap", "no line of auth_ident_file begins with that name"),
    "file": ("host all @nofile all reject", "nofile\": No such file or directory"),
    "zero byte": ("host all all\0 all reject", "a zero byte"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_line_at_start(make_rules, what):
    """It is not skipped: what a lost reject would open stays closed."""
    line, error = BROKEN[what]
    rules = make_rules("host all all 10.0.0.0/8 reject\n%s\nhost all all all trust\n" % line)
    (told,) = refuses_to_start(rules)
    assert told.startswith(rules.file + ":3: ")
    assert error in told


@pytest.mark.parametrize("what", BROKEN)
def test_broken_line_at_reload(start_rules, what):
    line, error = BROKEN[what]
    rules = start_rules("host all bob all reject\nhost all all all trust\n")
    pooler = rules.pooler
    rules.write("hba.conf", HEAD + "%s\nhost all all all trust\n" % line)
    reload_fails(pooler)
    assert "%s:2: " % rules.file in pooler.log() and error in pooler.log()
    assert rules.outcome("bob") == REJECTED
    assert rules.outcome("alice") is None
    rules.write("hba.conf", HEAD + "host all all all trust\n")
    pooler.reload()
    assert rules.outcome("bob") is None


def test_every_error_is_told(make_rules):
    rules = make_rules("one\nhost all all all trust\nhost two\nhost all all three trust\n",
                       maps="m\nm a b c\n")
    errors = refuses_to_start(rules)
    places = [error.split(": ", 1)[0] for error in errors]
    assert places == [rules.maps + ":1", rules.maps + ":2",
                      rules.file + ":2", rules.file + ":4", rules.file + ":5"]


@pytest.mark.parametrize("setting", ["auth_hba_file", "auth_ident_file"])
@pytest.mark.parametrize("what", ["missing", "folder", "fifo"])
def test_unreadable_file(make_rules, setting, what):
    rules = make_rules("host all all all trust\n", maps="m a b\n")
    pooler = rules.pooler
    path = os.path.join(pooler.folder, "wrong")
    good = pooler.settings[setting]
    if what == "folder":
        os.mkdir(path)
    elif what == "fifo":
        os.mkfifo(path)
    pooler.settings[setting] = path
    (error,) = refuses_to_start(rules)
    assert 'could not open %s "%s": ' % (setting, path) in error
    assert error.startswith(pooler.ini + ":")
    pooler.settings[setting] = good
    pooler.start()
    pooler.settings[setting] = path
    reload_fails(pooler)
    assert rules.outcome("bob") is None


def test_no_file(make_rules):
    (error,) = refuses_to_start(make_rules("", auth_hba_file=""))
    assert "auth_type = hba needs rules: set auth_hba_file" in error


def test_broken_maps_at_reload(start_rules):
    rules = start_rules("local all all peer map=m\n", maps="m %s bob\n" % ME)
    rules.write("ident.conf", "m %s alice\nm x\n" % ME)
    reload_fails(rules.pooler)
    assert "%s:2: the line ends too early" % rules.maps in rules.pooler.log()
    assert rules.outcome("bob", host="local") is None
    assert rules.outcome("alice", host="local") == NOT_PEER


def test_map_that_goes_away(start_rules):
    rules = start_rules("local all all peer map=m\n", maps="m %s bob\n" % ME)
    rules.write("ident.conf", "other %s bob\n" % ME)
    reload_fails(rules.pooler)
    assert rules.outcome("bob", host="local") is None


# Changes while it runs

def test_reload_is_for_the_next_logins(start_rules):
    rules = start_rules("host all bob all trust\nlocal all all peer map=m\n", maps="m x all\n")
    client = rules.pooler.client(user="bob")
    rules.write("hba.conf", HEAD + "host all bob all reject\nhost all alice all md5\n"
                "local all all peer map=m\n")
    rules.write("ident.conf", "m %s all\n" % ME)
    assert rules.outcome("bob") is None
    assert rules.outcome("alice") == NO_METHOD
    assert rules.outcome("bob", host="local") == NOT_PEER
    rules.pooler.reload()
    assert rules.outcome("bob") == REJECTED
    assert rules.attempt("alice") == ([5, 0], None)
    assert rules.outcome("bob", host="local") is None
    assert client.value("SELECT 1") == "1"


def test_login_goes_on_through_a_reload(start_rules):
    """The method that a client was asked for counts, whatever the rules say meanwhile."""
    rules = start_rules("host all all all password\n")
    client = rules.pooler.wire()
    client.startup("bob", "p0")
    client.expect("R")
    rules.write("hba.conf", HEAD + "host all all all reject\n")
    rules.pooler.reload()
    client.send("p", wire.cstring(PASSWORD))
    client.expect("R")
    assert rules.outcome("bob") == REJECTED


def test_reload_turns_rules_on_and_off(start_rules):
    rules = start_rules("host all bob all reject\nhost all all all trust\n", auth_type="trust")
    pooler = rules.pooler
    assert rules.outcome("bob") is None
    pooler.settings["auth_type"] = "hba"
    pooler.reload()
    assert rules.outcome("bob") == REJECTED
    pooler.settings["auth_type"] = "trust"
    pooler.reload()
    assert rules.outcome("bob") is None


def test_files_are_not_read_for_other_types(start_rules):
    """As PgBouncer: what nobody uses need not be right."""
    rules = start_rules("nonsense\n", maps="nonsense\n", auth_type="trust")
    assert rules.outcome("bob") is None
    rules.pooler.reload()
    assert rules.outcome("bob") is None


def test_set_auth_type(start_rules):
    """SET loads nothing: without rules it is refused, for it would lock everybody out."""
    rules = start_rules("host all bob all reject\nhost all all all trust\n", auth_type="trust")
    pooler = rules.pooler
    with pytest.raises(wire.ServerError, match="SET failed"):
        pooler.admin("SET auth_type = 'hba'")
    assert pooler.config("auth_type") == "trust"
    assert rules.outcome("bob") is None
    pooler.settings["auth_type"] = "hba"
    pooler.reload()
    assert rules.outcome("bob") == REJECTED
    pooler.admin("SET auth_type = 'trust'")
    assert rules.outcome("bob") is None
    pooler.admin("SET auth_type = 'hba'")
    assert rules.outcome("bob") == REJECTED
