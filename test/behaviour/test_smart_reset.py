"""server_reset_query_mode = smart: a session that left nothing is not cleaned up after."""

import pytest

from support import wire
from support.fake_server import (answer, command_complete, error_body, parameter_status, ready)
from support.process import wait_for
from support.truth import check_clean

pytestmark = pytest.mark.pgweir_only("a setting of its own")

BACKEND = "SELECT pg_backend_pid()"
FUNCTIONS = ("CLOSE ALL;SET SESSION AUTHORIZATION DEFAULT;RESET ALL;DEALLOCATE ALL;UNLISTEN *;"
             "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES;")


def tag_server(side):
    """Answers a query with the tag that it consists of; "fails" fails."""
    status = ["I"]

    def reply(side, sql):
        if sql == "fails":
            return wire.message("E", error_body("as wished", "ERROR", "22012")) + ready("E")
        if sql == "SELECT 1":
            return answer(1)
        status[0] = {"BEGIN": "T", "COMMIT": "I", "ROLLBACK": "I"}.get(sql, status[0])
        return command_complete(sql) + ready(status[0])
    if side.log_in():
        side.serve(reply)


@pytest.fixture
def start(start_pooler, fake_server):
    """start(...) gives a pooler in session mode with one server, and that fake server."""
    def begin(script=tag_server, **settings):
        server = fake_server(script)
        return start_pooler(server=server, databases={"p0": ""}, default_pool_size="1",
                            **{"server_reset_query_mode": "smart", **settings}), server
    return begin


def drain(client):
    """Reads up to the next ReadyForQuery; the SQLSTATE of an error, or None."""
    sqlstate = None
    while True:
        got = client.read()
        if got.type == "E":
            sqlstate = wire.parse_fields(got.body)["C"]
        if got.type == "Z":
            return sqlstate


def fails(client, sql):
    """The SQLSTATE with which it fails."""
    client.send_raw(wire.query(sql))
    return drain(client)


def run(pooler, *queries):
    """One session."""
    client = pooler.client()
    for sql in queries:
        client.send_raw(wire.query(sql))
        drain(client)
    client.terminate()
    pooler.wait_pool(sv_active=0, sv_tested=0)


@pytest.mark.parametrize("queries,reset", [
    (("BEGIN", "COMMIT", "START TRANSACTION", "SHOW", "ROLLBACK"), []),
    (("SET",), ["SET SESSION AUTHORIZATION DEFAULT;RESET ALL;"]),
    (("LISTEN", "BEGIN", "COMMIT"), ["UNLISTEN *;"]),
    (("PREPARE", "LISTEN"), ["DEALLOCATE ALL;UNLISTEN *;"]),
    (("SELECT 1",), [FUNCTIONS]),
    (("BEGIN", "fails", "ROLLBACK"), [FUNCTIONS]),
    (("CREATE TABLE",), ["DISCARD ALL"]),
    (("NEW COMMAND",), ["DISCARD ALL"]),
    (("x" * 63,), ["DISCARD ALL"]), (("x" * 300,), ["DISCARD ALL"]),
    (("CREATE TABLE", "DISCARD ALL"), []),
    (("DISCARD ALL", "LISTEN"), ["UNLISTEN *;"])])
def test_only_what_is_needed(start, queries, reset):
    pooler, server = start()
    run(pooler, *queries)
    assert server.queries() == [*queries, *reset]
    run(pooler, "BEGIN", "COMMIT") # marks do not last
    assert server.queries() == [*queries, *reset, "BEGIN", "COMMIT"]


def test_a_session_without_a_query_costs_nothing(start):
    pooler, server = start()
    for _ in range(3):
        pooler.client().terminate()
    run(pooler)
    assert server.queries() == []


def test_extended_protocol(start):
    """The server's messages tell: a statement; what has been planned or run."""
    def script(side):
        replies = {"P": b"1", "B": b"2", "D": b"n", "C": b"3"}
        if not side.log_in():
            return
        while True:
            got = side.read()
            if got.type in replies:
                side.send(replies[got.type].decode())
            elif got.type == "E":
                side.send_raw(command_complete("BEGIN"))
            elif got.type == "S":
                side.send_raw(ready())
            elif got.type == "Q":
                side.send_raw(command_complete("RESET") + ready())
            elif got.type == "X":
                return
    pooler, server = start(script)
    for data, reset in ((wire.parse("BEGIN", "s") + wire.close("S", "s"), "DEALLOCATE ALL;"),
                        (wire.extended("BEGIN"), FUNCTIONS), (wire.sync(), None)):
        client = pooler.client()
        client.send_raw(data + wire.sync())
        drain(client)
        client.terminate()
        pooler.wait_pool(sv_active=0, sv_tested=0)
        assert server.queries()[-1:] == ([reset] if reset else [FUNCTIONS])


def test_another_reset_query_is_sent_whole(start):
    pooler, server = start(server_reset_query="CLEAN UP")
    run(pooler, "BEGIN", "COMMIT")
    run(pooler, "LISTEN")
    assert server.queries() == ["BEGIN", "COMMIT", "LISTEN", "CLEAN UP"]


def test_no_reset_query_is_none(start):
    pooler, server = start(server_reset_query="")
    run(pooler, "CREATE TABLE")
    assert server.queries() == ["CREATE TABLE"]


def test_transaction_mode(start):
    """With server_reset_query_always after each transaction that needs it, else never."""
    pooler, server = start(pool_mode="transaction", server_reset_query_always="1")
    run(pooler, "BEGIN", "SET", "COMMIT", "SHOW")
    assert server.queries() == ["BEGIN", "SET", "COMMIT",
                                "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;", "SHOW"]
    pooler, server = start(pool_mode="transaction")
    run(pooler, "SET")
    assert server.queries() == ["SET"]


def test_tag_in_pieces(start):
    def script(side):
        if not side.log_in():
            return
        while True:
            got = side.read()
            if got.type == "X":
                return
            for byte in command_complete("LISTEN") + ready():
                side.send_raw(bytes([byte]))
    pooler, server = start(script)
    run(pooler, "a")
    assert server.queries() == ["a", "UNLISTEN *;"]


def test_it_is_off_by_default(start):
    pooler, server = start(server_reset_query_mode=None)
    assert pooler.config("server_reset_query_mode") == "always-in-session"
    run(pooler, "BEGIN", "COMMIT")
    assert server.queries() == ["BEGIN", "COMMIT", "DISCARD ALL"]


@pytest.mark.parametrize("change", ["on", "off and on"])
def test_what_was_not_watched_may_have_left_anything(start, change):
    pooler, server = start(server_reset_query_mode=(
        "smart" if change == "off and on" else "always-in-session"))
    client = pooler.client()
    client.query("BEGIN")
    if change == "off and on":
        pooler.admin("SET server_reset_query_mode = 'always-in-session'")
        client.query("LISTEN")
    pooler.admin("SET server_reset_query_mode = 'smart'")
    client.query("COMMIT")
    client.terminate()
    pooler.wait_pool(sv_active=0, sv_tested=0)
    assert server.queries()[-1] == "DISCARD ALL"
    run(pooler, "BEGIN", "COMMIT")
    assert server.queries()[-1] == "COMMIT"


def test_our_own_set_leaves_nothing(start):
    """What it changes is known, and changed again for the next client."""
    def script(side):
        def reply(side, sql):
            status = b"".join(parameter_status("application_name", name)
                              for name in ("one", "two") if "'%s'" % name in sql)
            return status + command_complete(sql.split("=")[0].split(" ")[0]) + ready()
        if side.log_in():
            side.serve(reply)
    pooler, server = start(script)
    for name in ("one", "two", "two"):
        client = pooler.client(application_name=name)
        client.query("BEGIN")
        client.query("COMMIT")
        client.terminate()
        pooler.wait_pool(sv_active=0, sv_tested=0)
    assert server.queries() == ["SET application_name='one';", "BEGIN", "COMMIT",
                                "SET application_name='two';", "BEGIN", "COMMIT", "BEGIN", "COMMIT"]


@pytest.mark.parametrize("reply", [
    wire.message("E", error_body("cannot", "ERROR", "42501")) + ready(),
    command_complete("RESET") + ready("T"),
    command_complete("RESET") + ready() + ready(), None], ids=["error", "open", "two ends", "silence"])
def test_part_of_a_reset_that_fails(start, reply):
    """As with the whole: such a server is never used again, at a deadline at the latest."""
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: command_complete(sql) + ready() if sql == "LISTEN" else
                       reply if sql == "UNLISTEN *;" else answer(side.number))
    pooler, server = start(script, server_connect_timeout="0.5", server_login_retry="0.1")
    client = pooler.client()
    client.query("LISTEN")
    client.terminate()
    assert pooler.client().value("SELECT 1") == "2"
    wait_for(lambda: hasattr(server.sides[0], "ended"), "the first one is closed")


# With PostgreSQL: nothing of a session reaches the next one, which gets the same server.

SETUP = """
DROP TABLE IF EXISTS fires; CREATE TABLE fires (n int); GRANT ALL ON fires TO public;
CREATE OR REPLACE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN PERFORM set_config('work_mem', '7MB', false); RETURN NEW; END$$;
CREATE TRIGGER sets BEFORE INSERT ON fires FOR EACH ROW EXECUTE FUNCTION sets();
CREATE OR REPLACE FUNCTION planned() RETURNS int IMMUTABLE LANGUAGE plpgsql AS
  $$BEGIN PERFORM set_config('work_mem', '7MB', false); RETURN 1; END$$;
DROP SEQUENCE IF EXISTS counts; CREATE SEQUENCE counts; GRANT ALL ON counts TO public;
"""

SESSIONS = {
    "SET": "SET work_mem = '7MB'",
    "SET in a transaction": ["BEGIN", "SET work_mem = '7MB'", "COMMIT"],
    "set_config": "SELECT set_config('work_mem', '7MB', false)",
    "DO": "DO $$BEGIN PERFORM set_config('work_mem', '7MB', false); END$$",
    "trigger": "INSERT INTO fires VALUES (1)",
    "COPY": "COPY (SELECT set_config('work_mem', '7MB', false)) TO STDOUT",
    "EXPLAIN": "EXPLAIN ANALYZE SELECT set_config('work_mem', '7MB', false)",
    "planning": "EXPLAIN SELECT planned()",
    "cursor that plans": ["BEGIN", "DECLARE c CURSOR FOR SELECT planned()", "COMMIT"],
    "cursor": ["BEGIN", "DECLARE c CURSOR FOR SELECT set_config('work_mem', '7MB', false)",
               "FETCH ALL FROM c", "COMMIT"],
    "read only": ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                  "SELECT set_config('work_mem', '7MB', false)"],
    "ROLE": "SET ROLE carol",
    "SESSION AUTHORIZATION": "SET SESSION AUTHORIZATION carol",
    "LISTEN": "LISTEN news",
    "LISTEN by DO": "DO $$BEGIN EXECUTE 'LISTEN news'; END$$",
    "PREPARE": "PREPARE old AS SELECT 1",
    "PREPARE that is rolled back": ["BEGIN", "PREPARE old AS SELECT 1", "ROLLBACK"],
    "named statement": [wire.parse("SELECT 1", "old") + wire.sync()],
    "unnamed statement": [wire.parse("SELECT 'secret'") + wire.sync()],
    "Bind that plans": [wire.parse("SELECT planned()") + wire.bind() + wire.sync()],
    "suspended portal": [wire.parse("SELECT set_config('work_mem', '7MB', false), g FROM"
                                    " generate_series(1, 9) g") + wire.bind()
                         + wire.execute("", 1) + wire.sync()],
    "temporary table": "CREATE TEMP TABLE kept (n int)",
    "SELECT INTO": "SELECT 1 AS n INTO TEMP kept",
    "temporary table by DO": "DO $$BEGIN EXECUTE 'CREATE TEMP TABLE kept (n int)'; END$$",
    "temporary table, read only": ["CREATE TEMP TABLE kept (n int)",
                                   "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
    "advisory lock": "SELECT pg_advisory_lock(4711)",
    "advisory lock in a failed query": "SELECT pg_advisory_lock(4711), 1 / (random() * 0)::int",
    "advisory lock in a failed DO": "DO $$BEGIN PERFORM pg_advisory_lock(4711); RAISE 'no'; END$$",
    "held cursor": ["BEGIN", "DECLARE held CURSOR WITH HOLD FOR SELECT 1", "COMMIT"],
    "sequence": "SELECT nextval('counts')",
    "sequence in a failed query": "SELECT nextval('counts'), 1 / (random() * 0)::int",
}


@pytest.fixture
def real(start_pooler, pg):
    pg.sql(SETUP)
    pg.sql("GRANT carol TO bob", dbname="postgres")
    yield lambda mode: start_pooler(pool_mode=mode, default_pool_size="1",
                                    server_reset_query_mode="smart",
                                    server_reset_query_always="1")
    pg.sql("REVOKE carol FROM bob", dbname="postgres")


def check_untouched(client):
    """What the fixture's sessions have done is not to be seen."""
    client.send_raw(wire.bind() + wire.sync())
    assert drain(client) == "26000", "an unnamed statement is left"
    check_clean(client)
    assert client.value("SHOW work_mem") == "4MB"
    assert client.value("SHOW transaction_read_only") == "off"
    assert client.query("SELECT current_user, session_user").rows == [["bob", "bob"]]
    assert client.value("SELECT pg_try_advisory_lock(4711)") == "t"
    assert fails(client, "SELECT currval('counts')") == "55000"
    assert fails(client, "SELECT lastval()") == "55000"
    assert client.value("SELECT to_regclass('pg_temp.kept')") is None


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("what", SESSIONS)
def test_nothing_is_left(real, pg, what, mode):
    steps = SESSIONS[what]
    if what == "SESSION AUTHORIZATION":
        pg.sql("ALTER ROLE bob SUPERUSER", dbname="postgres")
    pooler = real(mode)
    pid = int(pooler.client().value(BACKEND))
    pooler.close_clients()
    client = pooler.client()
    try:
        for step in [steps] if isinstance(steps, str) else steps:
            client.send_raw(wire.query(step) if isinstance(step, str) else step)
            drain(client)
    finally:
        pg.sql("ALTER ROLE bob NOSUPERUSER", dbname="postgres")
    if mode == "session":
        client.terminate()
    follower = pooler.client()
    check_untouched(follower)
    assert int(follower.value(BACKEND)) == pid
