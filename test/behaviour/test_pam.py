"""auth_type = pam against real modules, and against one that hangs."""

import os
import resource
import signal
import subprocess

import pytest

from support import wire
from support.crowd import Crowd
from support.pam import MATRIX, NOTE, WAITING, WRAPPER, Pam
from support.pooler import ADMIN, ADMIN_PASSWORD, STATS, STATS_PASSWORD
from support.postgres import PASSWORDS
from support.process import SLACK, open_descriptors, unprivileged, wait_for

pytestmark = [pytest.mark.pgweir_only("Debian's PgBouncer would need a service in /etc"),
              pytest.mark.skipif(not (WRAPPER and MATRIX),
                                 reason="the package libpam-wrapper is not installed")]

FAILED = "PAM authentication failed"
USERS = {"bob": "bob in pam", "alice": "alice in pam", ADMIN: ADMIN_PASSWORD,
         STATS: STATS_PASSWORD, **PASSWORDS}
THREADS, QUEUE = 8, 1024


@pytest.fixture
def pam():
    stack = Pam()
    stack.matrix(USERS)
    yield stack
    stack.remove()


@pytest.fixture
def start(make_pooler, pam):
    """Nobody has an entry in auth_file."""
    def run(preexec_fn=None, **settings):
        settings.setdefault("userlist", {})
        return make_pooler(auth_type="pam", **settings).start(env=pam.environment(),
                                                              preexec_fn=preexec_fn)
    return run


def logs_in(pooler, user="bob", password=None, host=None):
    client = pooler.wire(host).login(user, "p0", password or USERS[user])
    assert client.auth_codes == [3, 0]
    assert client.query("SELECT current_user").value == user
    client.close()


def is_refused(pooler, user="bob", password="wrong", message=FAILED, database="p0"):
    with pytest.raises(wire.ServerError) as refusal:
        pooler.client(database, user, password)
    got = refusal.value
    assert (got.severity, got.sqlstate, got.message) == ("FATAL", "08P01", message)


def test_login(start):
    pooler = start(verbose=2)
    logs_in(pooler)
    logs_in(pooler, "alice")
    logs_in(pooler, host=pooler.socket_dir)
    is_refused(pooler)
    is_refused(pooler, "bob", USERS["alice"])
    is_refused(pooler, "nobody", "x")
    assert "pam_authenticate: " in pooler.log()
    assert "in pam" not in pooler.output()
    assert pooler.value("SELECT current_user", password=USERS["bob"]) == "bob"


def test_empty_and_malformed_passwords(start):
    pooler = start()
    is_refused(pooler, "bob", "", "empty password returned by client")
    for body in (b"", b"bob in pam", b"\0bob in pam\0"):
        client = pooler.wire()
        client.startup("bob", "p0")
        client.expect("R")
        client.send("p", body)
        assert wire.parse_fields(client.expect("E").body)["M"] == FAILED


def test_long_password(start, pam):
    """As long as PgBouncer takes them; PAM itself has a limit of its own."""
    pooler = start()
    is_refused(pooler, "bob", "x" * 65530)
    logs_in(pooler)


def test_service_steps_and_address(start, pam):
    pam.write("note", NOTE, 0o755)
    pam.service("auth required pam_exec.so quiet %(folder)s/note",
                "account required pam_exec.so quiet %(folder)s/note")
    pooler = start()
    logs_in(pooler)
    logs_in(pooler, host=pooler.socket_dir)
    assert pam.notes() == ["pgbouncer auth bob 127.0.0.1", "pgbouncer account bob 127.0.0.1",
                           "pgbouncer auth bob unix", "pgbouncer account bob unix"]


def test_account_counts(start, pam):
    """A right password of an account that is closed."""
    pam.service("auth required %(matrix)s passdb=%(folder)s/passwords",
                "account required pam_succeed_if.so quiet user != alice",
                "account required pam_permit.so")
    pooler = start()
    is_refused(pooler, "alice", USERS["alice"])
    assert "pam_acct_mgmt: " in pooler.log()
    logs_in(pooler)


def test_no_such_service(start, pam):
    """As on Debian, where the service "other" lets nobody in."""
    pam.service("auth required pam_deny.so", "account required pam_deny.so", name="other")
    os.unlink(os.path.join(pam.services, "pgbouncer"))
    pooler = start()
    is_refused(pooler, "bob", USERS["bob"])


@pytest.mark.parametrize("user", sorted(PASSWORDS))
def test_password_serves_at_the_server(start, user):
    pooler = start()
    logs_in(pooler, user)


def test_auth_file_is_not_read(start):
    pooler = start(auth_file="/nonexistent")
    assert "auth_file" not in pooler.output()
    logs_in(pooler)


def test_console(start):
    pooler = start()
    assert pooler.show("VERSION")
    is_refused(pooler, ADMIN, "wrong", database="pgbouncer")
    client = pooler.wire()
    client.startup("bob", "pgbouncer")
    assert wire.parse_fields(client.expect("E").body)["M"] == "not allowed"


def test_not_with_auth_user(start):
    pooler = start(databases={"p0": "auth_user=bob", "p1": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    assert wire.parse_fields(client.expect("E").body)["M"] == "bouncer config error"
    assert pooler.client("p1", "bob", USERS["bob"]).query("SELECT 1").value == "1"


def test_many_at_once(start):
    """More than there are threads, right and wrong ones mixed."""
    pooler = start(max_client_conn=500)
    right = Crowd(pooler, 100, "bob", USERS["bob"])
    wrong = Crowd(pooler, 100, "bob", "wrong")
    for client in right.clients:
        client.expect("R")
        client.welcome()
    assert set(wrong.failures()) == {FAILED}


# ---- a module that hangs ----

def test_other_clients_go_on(start, pam):
    pooler = start()
    canary = pooler.client("p0", "bob", USERS["bob"])
    crowd = Crowd(pooler, 50, WAITING)
    for number in range(200):
        assert canary.query("SELECT %d" % number).value == str(number)
    assert not crowd.answered()
    pam.open_gate()
    assert set(crowd.failures()) == {FAILED}
    logs_in(pooler)


def test_clients_that_leave_make_room(start, pam):
    pooler = start(max_client_conn=500)
    before = open_descriptors(pooler.pid)
    for _ in range(3):
        crowd = Crowd(pooler, 100, WAITING)
        for client in crowd.clients:
            client.reset()
    wait_for(lambda: open_descriptors(pooler.pid) <= before + 1, "all have gone")  # the eventfd
    pam.open_gate()
    logs_in(pooler)


@pytest.mark.slow
@pytest.mark.limit(180)
def test_thousand_logins_wait(start, pam):
    """
    Every thread hangs and the queue is full: queries go on, one more login is refused at once with
    one line for all of them, each login ends at its own limit, and the process ends at once.
    """
    pooler = start(max_client_conn=2000, client_login_timeout=12 * SLACK, log_connections=0,
                   log_disconnections=0)
    canary = pooler.client("p0", "bob", USERS["bob"])
    first = Crowd(pooler, THREADS, WAITING)
    crowd = Crowd(pooler, QUEUE, WAITING)
    for number in range(100):
        assert canary.query("SELECT %d" % number).value == str(number)
    late = Crowd(pooler, 20)
    assert set(late.failures()) == {FAILED}
    assert pooler.log().count("the queue for PAM and LDAP is full") == 1
    assert not first.answered() and not crowd.answered()
    for number in range(100):
        assert canary.query("SELECT %d" % number).value == str(number)
    assert set(first.failures()) == set(crowd.failures()) == {"client_login_timeout"}
    assert canary.query("SELECT 1").value == "1"
    pooler.wait_log("the queue for PAM and LDAP was full: 19 more logins were refused", timeout=15)
    pooler.signal(signal.SIGQUIT)
    pooler.expect_exit(0)


def test_end_while_a_module_hangs(start, pam):
    pooler = start()
    Crowd(pooler, 20, WAITING)
    pooler.signal(signal.SIGQUIT)
    pooler.expect_exit(0)


_, HARD_LIMIT = resource.getrlimit(resource.RLIMIT_NPROC)


def forbid_threads():
    resource.setrlimit(resource.RLIMIT_NPROC, (1, HARD_LIMIT))


def test_without_threads(start):
    """The system gives no thread: logins are refused, with one warning, and the rest goes on."""
    pooler = start(preexec_fn=forbid_threads)
    for _ in range(3):
        is_refused(pooler, "bob", USERS["bob"])
    assert pooler.log().count("could not start a thread for PAM and LDAP") == 1
    subprocess.run(["prlimit", "--pid", str(pooler.pid), "--nproc=%d:" % HARD_LIMIT], check=True,
                   **unprivileged())
    logs_in(pooler)


def test_in_the_background(make_pooler, pam):
    """Threads come after -d has left the terminal, not before."""
    pooler = make_pooler(auth_type="pam", userlist={})
    pooler.settings["pidfile"] = pooler.pid_file
    pooler.write()
    code, _, errors = pooler.run("-d", pooler.ini, env=pam.environment())
    assert code == 0, errors
    pooler.wait_log("process up")
    with open(pooler.pid_file) as file:
        pooler.pid = int(file.read())
    try:
        logs_in(pooler)
    finally:
        pooler.signal(signal.SIGQUIT)
        wait_for(lambda: not pooler.is_alive(), "the end")
    pooler.check_output()
