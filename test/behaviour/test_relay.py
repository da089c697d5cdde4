"""Bytes between clients and servers: release rules, pipelines, COPY, large messages, parameters."""

import os
import random
import signal
import socket
import struct
import threading
import time

import psycopg
import pytest

from support import fake_server as fake
from support import wire
from support.process import wait_for

BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture
def single(start_pooler):
    """One server only, so that whoever is served next gets the same one."""
    return start_pooler(pool_mode="transaction", default_pool_size="1")


def read_until_ready(client, count=1):
    """The types of all messages up to the given number of ReadyForQuery."""
    types = ""
    while count > 0:
        got = client.read()
        types += got.type
        count -= got.type == "Z"
    return types


# When a server goes back

def test_transaction_mode_shares_one_server(single):
    clients = [single.client() for _ in range(5)]
    pids = {client.value(BACKEND) for client in clients for _ in range(3)}
    assert len(pids) == 1
    single.wait_pool(cl_active=5, sv_active=0, sv_idle=1)


def test_session_mode_keeps_the_server(start_pooler):
    pooler = start_pooler(default_pool_size="2")
    first, second = pooler.client(), pooler.client()
    assert first.value(BACKEND) == first.value(BACKEND) != second.value(BACKEND)
    pooler.wait_pool(sv_active=2, sv_idle=0)
    first.terminate()
    pooler.wait_pool(sv_active=1, sv_idle=1)


def test_a_transaction_holds_the_server(single):
    first, second = single.client(), single.client()
    first.query("BEGIN")
    second.send_raw(wire.query("SELECT 2"))
    single.wait_pool(cl_waiting=1, sv_active=1)
    second.expect_silence()
    first.query("COMMIT")
    assert second.result().value == "2"


def test_a_failed_transaction_holds_the_server(single):
    first, second = single.client(), single.client()
    first.query("BEGIN")
    with pytest.raises(wire.ServerError):
        first.query("SELECT 1/0")
    second.send_raw(wire.query("SELECT 2"))
    second.expect_silence()
    first.query("ROLLBACK")
    assert second.result().value == "2"


def test_statement_mode_refuses_transactions(start_pooler):
    pooler = start_pooler(pool_mode="statement")
    client = pooler.client()
    assert client.value("SELECT 1") == "1"
    client.send_raw(wire.query("BEGIN"))
    assert client.read().type == "C"
    client.expect_error("transaction blocks not allowed in statement pooling mode")
    assert pooler.value("SELECT 2") == 2
    assert "closing because: transaction blocks not allowed" in pooler.log()


def test_statement_mode_allows_a_whole_transaction_in_one_query(start_pooler):
    client = start_pooler(pool_mode="statement").client()
    assert client.query("BEGIN; SELECT 1; COMMIT").tags == ["BEGIN", "SELECT 1", "COMMIT"]


def test_waiting_clients_are_served_in_order(single):
    holder = single.client()
    waiting = [single.client() for _ in range(8)]
    holder.query("BEGIN")
    for place, client in enumerate(waiting):
        client.send_raw(wire.query("SELECT nextval('places'), pg_sleep(0.01)"))
        single.wait_pool(cl_waiting=place + 1)
    holder.query("CREATE TEMP SEQUENCE places")
    holder.query("COMMIT")
    assert [client.result().rows[0][0] for client in waiting] == [str(n) for n in range(1, 9)]


# The extended protocol

def test_pipeline_with_one_sync(single):
    client = single.client()
    client.send_raw(b"".join(wire.extended("SELECT $1::int * 2", (n,)) for n in range(50))
                    + wire.sync())
    assert read_until_ready(client) == "12TDC" * 50 + "Z"
    single.wait_pool(sv_active=0, sv_idle=1)
    assert single.stats()["total_query_count"] == 1


def test_pipeline_with_many_syncs(single):
    client = single.client()
    client.send_raw(b"".join(wire.extended("SELECT 1") + wire.sync() for _ in range(50)))
    assert read_until_ready(client, 50) == "12TDCZ" * 50
    single.wait_pool(sv_active=0, sv_idle=1)


def test_error_in_a_pipeline_skips_to_its_sync(single):
    client = single.client()
    client.send_raw(wire.extended("SELECT 1/0") + wire.extended("SELECT 2") + wire.close()
                    + wire.sync() + wire.extended("SELECT 3") + wire.sync())
    types = read_until_ready(client, 2)
    assert types.endswith("EZ12TDCZ")
    single.wait_pool(sv_active=0, sv_idle=1)
    assert single.client().value("SELECT 4") == "4"


def test_flush_without_sync_holds_the_server(single):
    first, second = single.client(), single.client()
    first.send_raw(wire.extended("SELECT 1") + wire.flush())
    assert "".join(first.read().type for _ in range(5)) == "12TDC"
    second.send_raw(wire.query("SELECT 2"))
    second.expect_silence()
    first.send_raw(wire.sync())
    assert first.read().type == "Z"
    assert second.result().value == "2"


def test_queries_behind_each_other(single):
    client = single.client()
    client.send_raw(b"".join(wire.query("SELECT %d" % n) for n in range(200)))
    assert [client.result().value for _ in range(200)] == [str(n) for n in range(200)]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_long_pipeline(start_pooler, mode):
    """More requests than the pooler keeps in mind, in more bytes than it reads at once."""
    client = start_pooler(pool_mode=mode).client()
    client.query("BEGIN")
    count = 120000
    sender = threading.Thread(target=client.send_raw, args=(wire.sync() * count,))
    sender.start()
    for _ in range(count):
        assert client.read() == ("Z", b"T")
    sender.join()


def test_simple_queries_and_pipelines_mixed(single):
    client = single.client()
    client.send_raw(wire.extended("SELECT 1") + wire.sync() + wire.query("SELECT 2; SELECT 3")
                    + wire.extended("SELECT 4") + wire.sync())
    assert read_until_ready(client, 3) == "12TDCZ" + "TDCTDCZ" + "12TDCZ"


def test_empty_queries(single):
    client = single.client()
    client.send_raw(wire.query("") + wire.extended("") + wire.sync() + wire.query(";"))
    assert read_until_ready(client, 3) == "IZ" + "12nIZ" + "IZ"


def test_portal_fetched_in_parts(single):
    client = single.client()
    client.send_raw(wire.parse("SELECT generate_series(1, 5)") + wire.bind() + wire.execute(limit=2)
                    + wire.execute(limit=2) + wire.execute(limit=2) + wire.sync())
    assert read_until_ready(client) == "12" + "DDs" + "DDs" + "DC" + "Z"


def test_describe_of_a_statement(single):
    client = single.client()
    client.send_raw(wire.parse("SELECT $1::int", "s") + wire.describe("S", "s")
                    + wire.close("S", "s") + wire.sync())
    assert read_until_ready(client) == "1tT3Z"
    single.wait_pool(sv_active=0, sv_idle=1)


def test_function_call(single, pg):
    oid = pg.value("SELECT oid::int FROM pg_proc WHERE proname = 'int4pl'")
    client = single.client()
    body = (oid.to_bytes(4, "big") + b"\0\0" + b"\0\2" + b"\0\0\0\x011" + b"\0\0\0\x012" + b"\0\0")
    client.send("F", body)
    assert client.expect("V").body == b"\0\0\0\x013"
    client.expect("Z")
    single.wait_pool(sv_active=0)


def test_psycopg_pipeline(start_pooler):
    pooler = start_pooler(pool_mode="transaction")
    with pooler.connect() as connection, connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", (n,)) for n in range(100)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(100))


def test_messages_cut_at_every_byte(single):
    client = single.client()
    data = wire.query("SELECT 1") + wire.extended("SELECT $1::text", ("abc",)) + wire.sync()
    for place in range(len(data)):
        client.send_raw(data[place:place + 1])
    assert read_until_ready(client, 2) == "TDCZ12TDCZ"


@pytest.mark.parametrize("seed", range(5))
def test_messages_cut_at_random(single, seed):
    draw = random.Random(seed)
    parts = []
    for n in range(60):
        text = "x" * draw.randrange(2000)
        parts.append(draw.choice([wire.query("SELECT '%s'" % text),
                                  wire.extended("SELECT $1", (text,)) + wire.sync()]))
    data, client, place = b"".join(parts), single.client(), 0
    while place < len(data):
        step = draw.randrange(1, 3000)
        client.send_raw(data[place:place + step])
        place += step
    read_until_ready(client, 60)
    single.wait_pool(sv_active=0, sv_idle=1)


# COPY

@pytest.fixture
def table(pg):
    pg.sql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int, t text);"
           " GRANT ALL ON copied TO public")
    return pg


def test_copy_in(single, table):
    client = single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN"))
    client.expect("G")
    for n in range(1000):
        client.send_raw(wire.copy_data(b"%d\ttext\n" % n))
    client.send_raw(wire.copy_done())
    assert read_until_ready(client) == "CZ"
    assert table.value("SELECT count(*) FROM copied") == 1000
    single.wait_pool(sv_active=0, sv_idle=1)


def test_copy_in_without_waiting_for_the_answer(single, table):
    client = single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN") + wire.copy_data(b"1\ta\n")
                    + wire.copy_done() + wire.query("SELECT 5"))
    assert read_until_ready(client, 2) == "GCZTDCZ"
    assert table.value("SELECT count(*) FROM copied") == 1


def test_copy_in_that_fails(single, table):
    client = single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN"))
    client.expect("G")
    client.send_raw(wire.copy_data(b"not a number\ta\n") + wire.copy_data(b"1\tb\n") * 100
                    + wire.copy_done())
    assert read_until_ready(client) == "EZ"
    assert client.value("SELECT 1") == "1"
    single.wait_pool(sv_active=0, sv_idle=1)


def test_copy_fail(single, table):
    client = single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN"))
    client.expect("G")
    client.send_raw(wire.copy_data(b"1\ta\n") + wire.copy_fail())
    assert read_until_ready(client) == "EZ"
    assert client.value("SELECT count(*) FROM copied") == "0"


def test_copy_in_that_fails_before_it_was_read(start_pooler, fake_server):
    """The server has said all before it reads the rest: nobody else will free it."""
    go_on = threading.Event()

    def script(side):
        side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        if side.log_in():
            side.read()
            side.send("G", struct.pack("!bh", 0, 0))
            time.sleep(0.5)
            side.send_error("bad row", severity="ERROR")
            side.send_raw(fake.ready())
            go_on.wait(10)
            side.serve(lambda side, sql: fake.answer(sql))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""}, default_pool_size="1",
                          pool_mode="transaction", tcp_socket_buffer="8192")
    client, other = pooler.client(host=pooler.socket_dir), pooler.client()
    client.send_raw(wire.query("COPY t FROM STDIN"))
    client.expect("G")
    pooler.signal(signal.SIGSTOP)
    client.send_raw(wire.copy_data(b"x" * 995) * 100)
    pooler.signal(signal.SIGCONT)
    client.expect("E")
    client.expect("Z")
    go_on.set()
    assert other.value("next") == "next"


def test_late_copy_data_is_dropped(single, table):
    """After an error the client may still be sending; nobody else gets that."""
    client, other = single.client(), single.client()
    client.send_raw(wire.query("COPY nowhere FROM STDIN"))
    assert read_until_ready(client) == "EZ"
    client.send_raw(wire.copy_data(b"1\ta\n") + wire.copy_done())
    assert other.value("SELECT 1") == "1"
    assert client.value("SELECT 2") == "2"


def test_copy_in_with_the_extended_protocol(single, table):
    client = single.client()
    client.send_raw(wire.parse("COPY copied FROM STDIN") + wire.bind() + wire.execute()
                    + wire.sync())
    assert "".join(client.read().type for _ in range(3)) == "12G"
    client.send_raw(wire.copy_data(b"7\tx\n") + wire.copy_done() + wire.sync())
    assert read_until_ready(client) in ("CZ", "CZZ")
    assert client.value("SELECT n FROM copied") == "7"
    single.wait_pool(sv_active=0, sv_idle=1)


def test_copy_in_that_fails_before_its_first_row(single, table):
    """The error comes behind CopyInResponse, and the Sync that waits there is no part of the COPY."""
    client = single.client()
    for _ in range(3):
        client.send_raw(wire.parse("COPY copied FROM STDIN (FREEZE)") + wire.bind() + wire.execute()
                        + wire.sync())
        assert read_until_ready(client) == "12GEZ"
        single.wait_pool(sv_active=0, sv_idle=1)
    assert client.value("SELECT 1") == "1"


def test_copy_out(single):
    client = single.client()
    client.send_raw(wire.query("COPY (SELECT generate_series(1, 20000)) TO STDOUT"))
    assert read_until_ready(client) == "H" + "d" * 20000 + "cCZ"
    single.wait_pool(sv_active=0, sv_idle=1)


def test_copy_both_ways_through_psycopg(start_pooler, table):
    pooler = start_pooler(pool_mode="transaction")
    with pooler.connect() as connection:
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for n in range(5000):
                copy.write_row((n, "x" * 100))
        with connection.cursor().copy("COPY copied TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 5000


def test_client_leaves_in_mid_copy(single, table):
    client = single.client()
    client.send_raw(wire.query("COPY copied FROM STDIN"))
    client.expect("G")
    client.send_raw(wire.copy_data(b"1\ta\n"))
    client.close()
    wait_for(lambda: single.value("SELECT count(*) FROM copied") == 0, "nothing was copied")


# Large messages

def test_large_query(single):
    client = single.client()
    text = "x" * 20_000_000
    assert client.value("SELECT length('%s')" % text) == str(len(text))


def test_large_row(single):
    client = single.client()
    assert client.value("SELECT repeat('y', 64000000)") == "y" * 64000000
    single.wait_pool(sv_active=0, sv_idle=1)


def test_large_result(single):
    result = single.client().query("SELECT n, repeat('z', 100) FROM generate_series(1, 100000) n")
    assert len(result.rows) == 100000 and result.rows[-1] == ["100000", "z" * 100]


def test_large_parameter(single):
    with single.connect() as connection:
        data = os.urandom(5_000_000)
        assert connection.execute("SELECT %s::bytea", (data,)).fetchone()[0] == data


def test_max_packet_size(start_pooler):
    pooler = start_pooler(pool_mode="transaction", max_packet_size="10000")
    client = pooler.client()
    client.send_raw(wire.query("SELECT '%s'" % ("x" * 20000)))
    client.expect_error("bad packet header: '5100004e2e53454c'")
    client = pooler.client()
    client.send_raw(wire.query("SELECT repeat('x', 20000)"))
    assert client.wait_closed()[-1].type == "E"
    assert pooler.value("SELECT 1") == 1


# Clients that leave

@pytest.mark.parametrize("how", ["close", "reset", "terminate"])
@pytest.mark.parametrize("state", ["transaction", "query", "pipeline", "half a message"])
def test_client_that_leaves(single, how, state):
    """Its server is not given to anybody else as it is."""
    client = single.client()
    data = {"transaction": wire.query("BEGIN"), "query": wire.query("SELECT pg_sleep(0.3)"),
            "pipeline": wire.extended("SELECT 1") + wire.flush(),
            "half a message": wire.query("SELECT 1")[:-3]}[state]
    client.send_raw(data)
    single.wait_pool(sv_active=1)
    getattr(client, how)()
    single.wait_log("closing because: client disconnect while server was not ready")
    other = single.client()
    assert other.value("SELECT now() = statement_timestamp()") == "t"
    single.wait_pool(cl_active=1, sv_active=0, sv_idle=1)


@pytest.mark.parametrize("state", ["linked", "syncing", "waiting"])
@pytest.mark.parametrize("data", [wire.query("SELECT 1")[:-3], wire.parse("SELECT 1"), b"QQ"])
def test_client_that_is_reset_with_its_last_bytes(single, data, state):
    """No answer will ever tell: the end has to be read."""
    holder = single.client()
    client = single.client(application_name="mine" if state == "syncing" else "")
    if state == "waiting":
        holder.query("BEGIN")
    single.signal(signal.SIGSTOP)
    client.send_raw(data)
    client.reset()
    time.sleep(0.1)
    single.signal(signal.SIGCONT)
    single.command_result("SHOW VERSION")
    if state == "waiting":
        holder.query("COMMIT")
    single.wait_pool(cl_active=1, cl_waiting=0, sv_active=0)
    assert holder.value("SELECT 1") == "1"


def test_client_that_leaves_a_session_clean(start_pooler):
    pooler = start_pooler(default_pool_size="1")
    client = pooler.client()
    pid = client.value(BACKEND)
    client.query("SET work_mem = '5MB'; CREATE TEMP TABLE mine (n int)")
    client.terminate()
    other = pooler.client()
    assert other.value(BACKEND) == pid
    assert other.value("SHOW work_mem") == "4MB"
    assert other.value("SELECT to_regclass('mine') IS NULL") == "t"


def test_reset_query_always(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1",
                          server_reset_query_always="1", server_reset_query="RESET ALL")
    client = pooler.client()
    client.query("SET work_mem = '5MB'")
    wait_for(lambda: client.value("SHOW work_mem") == "4MB", "reset")


def test_no_reset_query_in_transaction_mode(single):
    client = single.client()
    client.query("SET work_mem = '5MB'")
    assert client.value("SHOW work_mem") == "5MB"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_waiting_client_that_leaves(single, how):
    holder, waiting = single.client(), single.client()
    holder.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    single.wait_pool(cl_waiting=1)
    getattr(waiting, how)()
    single.wait_pool(cl_waiting=0, cl_active=1)
    holder.query("COMMIT")


def test_client_that_leaves_as_it_begins_to_wait(single):
    """The query and the end arrive at once."""
    holder, leaving = single.client(), single.client()
    holder.query("BEGIN")
    single.signal(signal.SIGSTOP)
    leaving.send_raw(wire.query("SELECT 1"))
    leaving.close()
    time.sleep(0.1)
    single.signal(signal.SIGCONT)
    single.wait_pool(cl_waiting=0, cl_active=1)
    holder.query("COMMIT")


# Notices, notifications, errors

def test_notices_pass(single):
    client = single.client()
    client.send_raw(wire.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"))
    assert read_until_ready(client) == "NCZ"


def test_notifications_in_session_mode(start_pooler):
    pooler = start_pooler(default_pool_size="2")
    listener, sender = pooler.client(), pooler.client()
    listener.query("LISTEN news")
    sender.query("NOTIFY news, 'it works'")
    assert b"it works" in listener.expect("A").body


def test_error_fields_pass(single):
    with pytest.raises(psycopg.errors.UniqueViolation) as caught, single.connect() as connection:
        connection.execute("CREATE TEMP TABLE u (n int PRIMARY KEY); INSERT INTO u VALUES (1), (1)")
    assert caught.value.diag.constraint_name == "u_pkey"


# Session parameters follow the client

@pytest.mark.parametrize("name,value", [
    ("DateStyle", "German, DMY"), ("client_encoding", "LATIN1"), ("TimeZone", "Asia/Tokyo"),
    ("application_name", "it's a \\ \"test\""), ("standard_conforming_strings", "off"),
    ("IntervalStyle", "iso_8601")])
def test_parameter_follows_the_client(single, name, value):
    mine, other = single.client(), single.client()
    assert other.value("SHOW " + name) != value
    mine.query("SELECT set_config('%s', $$%s$$, false)" % (name, value))
    before = other.value("SHOW " + name)
    assert before != value
    assert mine.value("SHOW " + name) == value
    assert other.value("SHOW " + name) == before


def test_startup_parameters_are_applied(single):
    client = single.client(application_name="first", DateStyle="SQL, DMY", options="-c timezone=Asia/Tokyo")
    assert client.parameters["application_name"] == "first"
    assert client.value("SHOW application_name") == "first"
    assert client.value("SHOW DateStyle") == "SQL, DMY"
    assert client.value("SHOW TimeZone") == "Asia/Tokyo"
    assert single.client().value("SHOW TimeZone") == "GMT"


def test_wrong_parameter_ends_the_client_only(single):
    client = single.client(TimeZone="Nowhere/Land")
    client.send_raw(wire.query("SELECT 1"))
    client.expect_error("invalid server parameter")
    assert single.value("SELECT 1") == 1


def test_parameter_sync_is_not_shown(single):
    """Our own SET leaves no trace in what the client sees."""
    first, second = single.client(application_name="one"), single.client(application_name="two")
    for _ in range(5):
        for client in (first, second):
            client.send_raw(wire.query("SELECT 1"))
            assert read_until_ready(client) == "TDCZ"


# Login without a server

def test_cached_welcome(single, pg):
    single.value("SELECT 1")
    pg.stop()
    try:
        client = single.client()
        assert client.parameters["server_version"]
    finally:
        pg.start()


def test_first_login_waits_for_the_server(single, pg):
    pg.stop()
    client = single.wire()
    client.startup("bob", "p0")
    client.expect_silence(0.3)
    pg.start()
    client.authenticate()
    client.welcome()
    assert client.value("SELECT 1") == "1"


# Servers that are lost

def test_server_that_ends_while_linked(single, pg):
    client, other = single.client(), single.client()
    client.query("BEGIN")
    pg.terminate("datname = 'p0'")
    got = client.wait_closed()
    assert [wire.parse_fields(m.body)["C"] for m in got if m.type == "E"] == ["57P01", "08P01"]
    assert wire.parse_fields(got[-1].body)["M"] == "server conn crashed?"
    assert other.value("SELECT 1") == "1"


@pytest.mark.parametrize("says_why", [False, True])
def test_server_that_ends_with_its_answer(start_pooler, fake_server, says_why):
    """Both arrive at once: what it says is not for the client, whose next query goes elsewhere."""
    def script(side):
        if side.log_in():
            side.read()
            time.sleep(0.1)
            side.send_raw(fake.answer(side.number) + last_word * says_why)
    last_word = wire.message("E", fake.error_body("terminating connection", sqlstate="57P01"))
    server = fake_server(script)
    pooler = start_pooler(server=server, databases={"p0": ""},
                          pool_mode="transaction", default_pool_size="1")
    client = pooler.client()
    for number in range(1, 6):
        client.send_raw(wire.query("SELECT 1"))
        wait_for(lambda: len(server.queries()) == number, "the query has arrived", pause=0.005)
        pooler.signal(signal.SIGSTOP)
        time.sleep(0.2)
        pooler.signal(signal.SIGCONT)
        assert client.result().value == str(number)


def test_server_that_ends_while_idle(single, pg):
    client = single.client()
    client.query("SELECT 1")
    pg.terminate("datname = 'p0'")
    single.wait_pool(sv_idle=0, cl_active=1)
    single.wait_log("got packet 'E' from server when not linked")
    single.wait_log("closing because: SV_IDLE server got dirty")
    assert client.value("SELECT 2") == "2"


def test_server_that_comes_back(start_pooler, fake_server):
    """Nobody waits any more, and those who come are refused; still somebody has to try again."""
    server = fake_server()
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction")
    client, other = pooler.client(), pooler.client()
    client.query("SELECT 1")
    port = server.port
    server.close()
    pooler.wait_pool(sv_idle=0)
    client.send_raw(wire.query("SELECT 1"))
    pooler.wait_log("closing because: connect failed")
    client.close()
    pooler.wait_pool(cl_waiting=0)
    server.listen(port)
    other.send_raw(wire.query("SELECT 1"))
    other.expect_error("server login has been failing, cached error: connect failed"
                       " (server_login_retry)")
    pooler.wait_pool(sv_idle=1)
    assert pooler.value("SELECT 1", dbname="p0") == "2"


def test_restart_of_postgresql(single, pg):
    client = single.client()
    client.query("SELECT 1")
    pg.restart()
    wait_for(lambda: client.value("SELECT 2") == "2", "the client goes on")


# Queries on connect and checks

def test_connect_query(start_pooler):
    pooler = start_pooler(pool_mode="transaction",
                          databases={"p0": "connect_query='SET work_mem = ''7MB'''"})
    assert pooler.value("SHOW work_mem") == "7MB"


def test_connect_query_that_fails_is_logged(start_pooler):
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "connect_query='SELECT 1/0'"})
    assert pooler.value("SELECT 1") == 1
    assert "division by zero" in pooler.log()


def test_check_query(start_pooler, fake_server):
    server = fake_server()
    pooler = start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                          server_check_delay="0", server_check_query="SELECT 'check'")
    client = pooler.client()
    for _ in range(3):
        client.query("SELECT 'mine'")
    checks = [sql for sql in server.queries() if "check" in sql]
    assert len(checks) >= 2


def test_round_robin(start_pooler):
    for setting, expected in (("0", 1), ("1", 3)):
        pooler = start_pooler(pool_mode="transaction", server_round_robin=setting)
        clients = [pooler.client() for _ in range(3)]
        for client in clients:
            client.query("BEGIN")
        for client in clients:
            client.query("COMMIT")
        assert len({clients[0].value(BACKEND) for _ in range(6)}) == expected


# Counters

def test_counters(single):
    client = single.client()
    client.query("SELECT 1")
    client.query("BEGIN")
    client.query("SELECT 1; SELECT 2")
    client.query("COMMIT")
    stats = single.stats()
    assert (stats["total_query_count"], stats["total_xact_count"],
            stats["total_server_assignment_count"]) == (4, 2, 2)
    assert stats["total_received"] == sum(len(wire.query(sql)) for sql in (
        "SELECT 1", "BEGIN", "SELECT 1; SELECT 2", "COMMIT"))
    assert stats["total_sent"] > 0 and stats["total_query_time"] > 0


def test_counters_of_our_own_queries(start_pooler, fake_server):
    """What the server says to the reset query is traffic too."""
    def script(side):
        if side.log_in():
            side.serve(lambda side, sql: fake.answer(sql))
    pooler = start_pooler(server=fake_server(script), databases={"p0": ""},
                          server_reset_query="reset")
    client = pooler.client()
    client.query("hello")
    client.terminate()
    pooler.wait_pool(sv_idle=1)
    assert pooler.stats()["total_sent"] == len(fake.answer("hello") + fake.answer("reset"))


@pytest.mark.parametrize("data,text,line", [
    (wire.message("y", b"abc"), "unknown pkt", "unknown pkt from client: 121/0x79"),
    (b"Q\0\0\0\1abcdef", "bad packet header: '5100000001616263'", "bad packet header")])
def test_message_that_is_none(single, data, text, line):
    client = single.client()
    client.send_raw(data)
    client.expect_error(text)
    single.wait_log(line)
