"""track_extra_parameters and application_name_add_host."""

import os
import socket

import pytest

from support.fake_server import PARAMETERS, answer, command_complete, ready


def note(settings):
    """A server with these parameters, which answers everything and changes nothing."""
    def script(side):
        if side.log_in({**PARAMETERS, **settings}):
            side.serve(lambda side, sql: command_complete("SET") + ready()
                       if sql.startswith("SET ") else answer(side.number))
    return script


@pytest.fixture
def track(start_pooler, fake_server):
    """track(names, reported) gives a pooler that tracks the names, and its fake server."""
    def start(names, **reported):
        server = fake_server(note(reported))
        settings = {} if names is None else {"track_extra_parameters": names}
        return start_pooler(server=server, databases={"p0": ""}, pool_mode="transaction",
                            default_pool_size="1", **settings), server
    return start


TRACKED = ["DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings",
           "application_name"]


def test_interval_style_is_the_default(track):
    pooler, server = track(None)
    client = pooler.client(intervalstyle="iso_8601")
    client.query("SELECT 1")
    assert client.parameters["IntervalStyle"] == "iso_8601"
    assert server.queries() == ["SET IntervalStyle='iso_8601';", "SELECT 1"]


def test_order_and_spelling(track):
    """First what is not tracked, as the server told it; then the built-in ones; then the list."""
    pooler, server = track(" SEARCH_PATH,intervalSTYLE ", search_path='"$user", public')
    client = pooler.client(application_name="me")
    assert client.parameter_order == [
        "server_version", "server_encoding", "integer_datetimes", "is_superuser",
        "session_authorization", *TRACKED, "SEARCH_PATH", "intervalSTYLE"]
    changed = pooler.client(application_name="me", IntervalStyle="iso_8601", TimeZone="Asia/Tokyo",
                            DateStyle="German")
    changed.query("SELECT 1")
    assert server.queries() == [
        "SET DateStyle='German';SET TimeZone='Asia/Tokyo';SET application_name='me';"
        "SET intervalSTYLE='iso_8601';", "SELECT 1"]


def test_a_list_replaces_the_default(track):
    pooler, server = track("search_path", search_path="public")
    refused = pooler.wire()
    refused.startup("bob", "p0", IntervalStyle="iso_8601")
    refused.expect_error("unsupported startup parameter: IntervalStyle")
    assert "IntervalStyle" in pooler.client().parameter_order[:6]


def test_what_servers_do_not_report_is_never_set(track):
    pooler, server = track("work_mem, IntervalStyle")
    client = pooler.client(work_mem="8MB")
    client.query("SELECT 1")
    assert client.parameters["work_mem"] == "8MB"
    assert server.queries() == ["SELECT 1"]


@pytest.mark.parametrize("value,sql", [
    ('a, "B c", public', 'a, "B c", public'), ('""', "''"), ("", "''"), ("a'; DROP", "'a''; DROP'"),
    ('"', "'\"'"), ("a\\", "E'a\\\\'")])
@pytest.mark.pgweir_only("PgBouncer quotes nothing of it")
def test_search_path_is_a_list(track, value, sql):
    pooler, server = track("search_path", search_path='"$user", public')
    pooler.client(search_path=value).query("SELECT 1")
    assert server.queries() == ["SET search_path=%s;" % sql, "SELECT 1"]


@pytest.mark.pgweir_only("PgBouncer leaves long values out and breaks long statements")
def test_long_values(track):
    pooler, server = track("search_path", search_path="public")
    path = ", ".join("schema_%d" % n for n in range(500))
    pooler.client(search_path=path, application_name="x" * 126, TimeZone="y" * 3000).query("SELECT 1")
    assert server.queries() == [
        "SET TimeZone='%s';SET application_name='%s';SET search_path=%s;"
        % ("y" * 3000, "x" * 126, path), "SELECT 1"]


# application_name_add_host

@pytest.fixture
def decorated(start_pooler):
    return start_pooler(application_name_add_host="1", listen_addr="127.0.0.1, ::1",
                        pool_mode="transaction", default_pool_size="1")


def name_of(client):
    return client.parameters["application_name"]


@pytest.mark.parametrize("host,form", [("127.0.0.1", "127.0.0.1:%d"), ("::1", "[::1]:%d")])
def test_name_with_address(decorated, host, form):
    client = decorated.client(application_name="me", host=host)
    place = form % client.sock.getsockname()[1]
    assert name_of(client) == "me - " + place
    assert client.value("SHOW application_name") == "me - " + place
    nameless = decorated.client(host=host)
    assert name_of(nameless) == "app - " + form % nameless.sock.getsockname()[1]


def test_name_with_process(decorated):
    place = "unix(%d@%s):%d" % (os.getpid(), socket.gethostname(), decorated.port)
    assert name_of(decorated.client(application_name="me", host=decorated.socket_dir)) == "me - " + place
    assert name_of(decorated.client(host=decorated.socket_dir)) == "app - " + place


def test_only_the_startup_value_is_decorated(decorated):
    client, other = decorated.client(application_name="me"), decorated.client()
    client.query("SET application_name = 'mine'")
    assert other.value("SHOW application_name").startswith("app - ")
    assert client.value("SHOW application_name") == "mine"
    assert decorated.client(options="-c application_name=plain").value("SHOW application_name") == "plain"


def test_a_long_name_is_cut(decorated):
    client = decorated.client(application_name="x" * 1000)
    assert name_of(client) == "x" * 399


def test_names_come_and_go_with_a_reload(start_pooler):
    pooler = start_pooler()
    assert name_of(pooler.client(application_name="me")) == "me"
    pooler.settings["application_name_add_host"] = "1"
    pooler.reload()
    assert name_of(pooler.client(application_name="me")).startswith("me - 127.0.0.1:")
