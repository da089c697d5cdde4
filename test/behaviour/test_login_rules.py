"""Two secrets for one user, and waiting after failed logins."""

import hashlib
import time

import pytest

from support import wire
from support.pooler import ADMIN, ADMIN_PASSWORD, userlist_text

pytestmark = pytest.mark.pgweir_only("its own rules")


def stored(pg, kind, password):
    """A secret of that kind for the user "twice"."""
    if kind == "md5":
        return "md5" + hashlib.md5((password + "twice").encode()).hexdigest()
    if kind == "scram":
        name = "verifier_" + password.replace("-", "_")
        pg.sql("DROP ROLE IF EXISTS " + name)
        pg.create_role(name, password)
        return pg.stored_secret(name)
    return password


def write_secrets(pooler, *secrets):
    pooler.userlist_raw = userlist_text({ADMIN: ADMIN_PASSWORD}) + "".join(
        userlist_text({"twice": secret}) for secret in secrets)
    pooler.reload()


def logs_in(pooler, password):
    client = pooler.wire()
    try:
        client.login("twice", "p0", password)
        return client.value("SELECT 1") == "1"
    except wire.ServerError as error:
        assert "authentication failed" in error.message
        return False
    finally:
        client.close()


@pytest.fixture
def two_secrets(start_pooler, pg):
    """Starts a pooler whose user "twice" has an old and a new secret of the given kinds."""
    def start(auth_type, old, new):
        pooler = start_pooler(auth_type=auth_type, databases={"p0": "user=bob"})
        write_secrets(pooler, stored(pg, old, "old-pw"), stored(pg, new, "new-pw"))
        return pooler
    return start


@pytest.mark.parametrize("auth_type, old, new", [
    ("plain", "plain", "plain"), ("plain", "md5", "scram"), ("plain", "scram", "plain"),
    ("md5", "plain", "plain"), ("md5", "md5", "md5"), ("md5", "plain", "md5"),
    ("scram-sha-256", "plain", "plain"), ("scram-sha-256", "plain", "scram"),
    ("scram-sha-256", "scram", "plain")])
def test_two_secrets_are_both_good(two_secrets, auth_type, old, new):
    pooler = two_secrets(auth_type, old, new)
    for _ in range(2):
        assert logs_in(pooler, "old-pw")
        assert logs_in(pooler, "new-pw")
        assert not logs_in(pooler, "other-pw")


def test_two_verifiers_are_tried_in_turn(two_secrets):
    """Their salts differ and one must be told first: the second try gets in at the latest."""
    pooler = two_secrets("scram-sha-256", "scram", "scram")
    for _ in range(2):
        assert logs_in(pooler, "new-pw")
        assert logs_in(pooler, "old-pw") or logs_in(pooler, "old-pw")
    assert not any(logs_in(pooler, "other-pw") for _ in range(4))


def test_a_line_that_is_gone_lets_nobody_in(two_secrets):
    pooler = two_secrets("scram-sha-256", "plain", "plain")
    write_secrets(pooler, "new-pw")
    assert not logs_in(pooler, "old-pw")
    assert logs_in(pooler, "new-pw")


# Waiting

def begin(pooler, user):
    client = pooler.wire()
    client.startup(user, "p0")
    return client


def fail(pooler, user):
    client = begin(pooler, user)
    with pytest.raises(wire.ServerError):
        client.authenticate("wrong")
        client.welcome()
    client.close()


@pytest.mark.parametrize("user", ["plainuser", "nobody"])
def test_wait_after_failures(start_pooler, user):
    """The next login of the pair is not answered at once; others are, also meanwhile."""
    pooler = start_pooler(auth_type="scram-sha-256", auth_delay_max="1")
    for _ in range(4):
        fail(pooler, user)
    waiting = begin(pooler, user)
    other = begin(pooler, "bob")
    other.authenticate("bob-pw")
    assert other.welcome().value("SELECT 1") == "1"
    assert not waiting.has_data()
    if user == "plainuser":
        waiting.authenticate("plain-pw")
        assert waiting.welcome().value("SELECT 1") == "1"
        at_once = begin(pooler, user)  # a success clears the pair
        at_once.authenticate("plain-pw")
        assert at_once.welcome().value("SELECT 1") == "1"


def test_client_that_leaves_or_is_late_while_it_waits(start_pooler):
    pooler = start_pooler(auth_type="md5", auth_delay_max="30", client_login_timeout="1")
    for _ in range(2):
        fail(pooler, "plainuser")
    for _ in range(9):
        begin(pooler, "plainuser").reset()
    started = time.monotonic()
    while time.monotonic() - started < 3:  # failures until the wait is longer than a login may take
        client = begin(pooler, "plainuser")
        with pytest.raises(wire.ServerError) as caught:
            client.authenticate("wrong")
            client.welcome()
        if caught.value.message == "client_login_timeout":
            break
    else:
        pytest.fail("the wait does not grow")


def test_no_wait_by_default(start_pooler):
    pooler = start_pooler(auth_type="scram-sha-256")
    for _ in range(30):
        fail(pooler, "plainuser")
    client = begin(pooler, "plainuser")
    client.authenticate("plain-pw")
    assert client.welcome().value("SELECT 1") == "1"
