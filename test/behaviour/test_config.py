"""The configuration files: grammar, errors, reload, SET. A broken file changes nothing."""

import os
import signal
import time

import pytest

from support import wire
from support.contract import SETTINGS
from support.pooler import userlist_text
from support.process import wait_for

# The two files of a well-known high-availability tutorial; addresses, ports and the auth_file's
# place are filled in, everything else is theirs.

TUTORIAL_1 = """[databases]
myapp = host=127.0.0.1 port={pg} dbname=myapp
myapp_read = host=127.0.0.1 port={pg} dbname=myapp
[pgbouncer]
listen_addr = *
listen_port = {port}
auth_type = md5
auth_file = {userlist}
admin_users = postgres
stats_users = postgres
pool_mode = transaction
server_reset_query = DISCARD ALL
max_client_conn = 1000
default_pool_size = 25
reserve_pool_size = 5
log_connections = 1
log_disconnections = 1
"""

TUTORIAL_2 = """[databases]
# Production databases
prod_app = host=127.0.0.1 port={pg} dbname=app_prod pool_size=30
prod_analytics = host=127.0.0.1 port={pg} dbname=analytics pool_size=10

# Read-only replicas
readonly_app = host=127.0.0.1 port={pg} dbname=app_prod pool_size=20
readonly_analytics = host=127.0.0.1 port={pg} dbname=analytics pool_size=15

[pgbouncer]
listen_addr = *
listen_port = {port}
auth_type = md5
auth_file = {userlist}

# Pool settings
pool_mode = transaction
default_pool_size = 25
min_pool_size = 5
reserve_pool_size = 5
max_client_conn = 1000
max_db_connections = 100

# Timeouts
server_round_robin = 1
query_timeout = 30
query_wait_timeout = 120
client_idle_timeout = 0
server_idle_timeout = 600
server_lifetime = 3600

# Health checks
server_check_delay = 30
server_check_query = SELECT 1

# Logging
log_connections = 1
log_disconnections = 1
log_pooler_errors = 1
"""


@pytest.fixture
def tutorial(make_pooler, pg):
    """Starts a file as it stands, with md5 secrets on both sides."""
    databases = [name for name in ("myapp", "app_prod", "analytics")
                 if not pg.sql("SELECT 1 FROM pg_database WHERE datname = %s", (name,))]
    for name in databases:
        pg.sql("CREATE DATABASE " + name)

    def start(template):
        pooler = make_pooler()
        pooler.ini_raw = template.format(pg=pg.port, port=pooler.port,
                                         userlist=pooler.userlist_file)
        pooler.userlist_raw = userlist_text({
            "postgres": wire.md5_secret("postgres", "pg-pw"),
            "md5user": wire.md5_secret("md5user", "md5-pw")})
        pooler.start(pooler.ini)
        pooler.console = lambda **_: pooler.wire().login("postgres", "pgbouncer", "pg-pw")
        return pooler
    return start


@pytest.mark.pgweir_only("fewer columns")
def test_first_tutorial_file(tutorial):
    pooler = tutorial(TUTORIAL_1)
    assert pooler.value("SELECT current_database()", dbname="myapp", user="md5user") == "myapp"
    assert pooler.value("SELECT current_database()", dbname="myapp_read", user="md5user") == "myapp"
    row = pooler.pool("myapp", "md5user")
    assert (row["sv_idle"], row["pool_mode"]) == (1, "transaction")
    (database,) = pooler.show("DATABASES", name="myapp")
    assert (database["pool_size"], database["reserve_pool_size"]) == (25, 5)
    assert pooler.config("max_client_conn") == "1000"


def test_second_tutorial_file(tutorial):
    pooler = tutorial(TUTORIAL_2)
    pooler.console = None
    for name, database in (("prod_app", "app_prod"), ("prod_analytics", "analytics"),
                           ("readonly_app", "app_prod"), ("readonly_analytics", "analytics")):
        assert pooler.value("SELECT current_database()", dbname=name, user="md5user") == database


def test_second_tutorial_file_keeps_five_servers(tutorial, pg):
    """min_pool_size = 5, one more at each tick of upkeep, while a client is there."""
    pooler = tutorial(TUTORIAL_2)
    with pooler.connect(dbname="prod_app", user="md5user") as connection:
        connection.execute("SELECT 1")
        wait_for(lambda: len(pg.backends("datname = 'app_prod'")) == 5, "five servers", timeout=8)


# The grammar

@pytest.mark.pgweir_only("no pool_size per user")
def test_comments_indentation_and_repeated_sections(make_pooler, pg):
    pooler = make_pooler()
    pooler.ini_raw = """
    ; a comment
    # another
[databases]
    p0 = host=127.0.0.1 port={pg}
  ; p1 = host=127.0.0.1
[pgbouncer]
listen_port = {port}
listen_addr = 127.0.0.1
   logfile = {log}
unix_socket_dir = {dir}
auth_type = trust
auth_file = {userlist}
admin_users = admin
[databases]
p2 = host=127.0.0.1 port={pg}
[users]
bob = pool_size=3
""".format(pg=pg.port, port=pooler.port, log=pooler.log_file, dir=pooler.socket_dir,
           userlist=pooler.userlist_file)
    pooler.start()
    assert {row["name"] for row in pooler.show("DATABASES")} == {"p0", "p2", "pgbouncer"}
    assert pooler.value("SELECT 1", dbname="p2") == 1


def test_second_header_wipes_the_first_settings(make_pooler):
    """Each [pgbouncer] header sets everything back to its default."""
    pooler = make_pooler(default_pool_size="7")
    pooler.ini_raw = pooler.ini_text() + "[pgbouncer]\n" + pooler.ini_text().split(
        "[pgbouncer]\n")[1].replace("default_pool_size = 7", "min_pool_size = 1")
    pooler.start()
    assert pooler.config("default_pool_size") == "20"
    assert pooler.config("min_pool_size") == "1"


def test_same_key_twice(make_pooler):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "default_pool_size = 3\ndefault_pool_size = 4\n"
    pooler.start()
    assert pooler.config("default_pool_size") == "4"


def test_same_database_twice(make_pooler, pg):
    pooler = make_pooler()
    pooler.ini_raw = ("[databases]\np0 = host=127.0.0.1 port=1\n" + pooler.ini_text())
    pooler.start()
    assert pooler.value("SELECT 1") == 1


@pytest.mark.pgweir_only("other quotes")
@pytest.mark.parametrize("key,name", [
    ("'my db'", "my db"), ("'a;b'", "a;b"), ("'a=b'", "a=b"), ("a.b-c_d", "a.b-c_d"),
    ("'a:b'", "a:b"), ("UPPER", "UPPER"), ("9", "9")])
def test_database_names(start_pooler, key, name):
    pooler = start_pooler(databases={key: "dbname=p0"})
    assert pooler.value("SELECT current_database()", dbname=name) == "p0"


def test_unquoted_colon_ends_a_name(make_pooler):
    """Only letters, digits and `_ . - *` belong to an unquoted name; a colon is no separator."""
    pooler = make_pooler(databases={"a:b": "dbname=p0"})
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and "FATAL" in err


def test_comment_signs_belong_to_a_value(make_pooler):
    pooler = make_pooler(databases={"p0": "user=plainuser password='plain-pw'"},
                         server_reset_query="SELECT 1 ; -- # no comment")
    pooler.start()
    assert pooler.config("server_reset_query") == "SELECT 1 ; -- # no comment"
    assert pooler.value("SELECT current_user") == "plainuser"


def test_trailing_white_space_and_carriage_returns(make_pooler):
    pooler = make_pooler(default_pool_size="5 \t ")
    pooler.ini_raw = pooler.ini_text().replace("\n", "\r\n")
    pooler.start()
    assert pooler.config("default_pool_size") == "5"


def test_no_newline_at_the_end(make_pooler):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "default_pool_size = 6"
    pooler.start()
    assert pooler.config("default_pool_size") == "6"


def test_empty_values(start_pooler):
    pooler = start_pooler(server_reset_query="", auth_hba_file="", stats_users="")
    assert pooler.config("server_reset_query") == ""


@pytest.mark.pgweir_only("a long connect_query hangs")
def test_long_lines(start_pooler, pg):
    """Nothing cuts a line, at 200 bytes or at 64 kB."""
    admins = ",".join("user%d" % i for i in range(9000)) + ",bob"
    query = "SELECT '" + "x" * 60000 + "'"
    pooler = start_pooler(
        databases={"p0": "connect_query='%s'" % query.replace("'", "''")}, admin_users="admin,"
        + admins, pkt_buf="4096")
    assert pooler.value("SELECT 1") == 1
    client = pooler.wire().login("bob", "pgbouncer", "bob-pw")
    assert client.query("SHOW VERSION").rows


def test_numbers(start_pooler):
    pooler = start_pooler(default_pool_size="0x10", min_pool_size="010", query_wait_timeout="1.5",
                          server_lifetime="3600.0")
    assert pooler.config("default_pool_size") == "16"
    assert pooler.config("min_pool_size") == "8"
    assert pooler.config("query_wait_timeout") == "1.5"
    assert pooler.config("server_lifetime") == "3600"


def test_words_ignore_case(start_pooler):
    pooler = start_pooler(pool_mode="TransAction", auth_type="TRUST")
    assert pooler.config("pool_mode") == "transaction"
    assert pooler.config("auth_type") == "trust"


@pytest.mark.parametrize("entry", [
    "dbname=p0 pool_size = 2", "dbname='p0'", "pool_size=1 dbname=wrong dbname=p0",
    "dbname=p0  pool_mode=SESSION", "dbname=p0 reserve_pool=3", "dbname=p0 port = '{port}'"])
def test_connect_strings(start_pooler, pg, entry):
    pooler = start_pooler(databases={"x": entry.format(port=pg.port)})
    assert pooler.value("SELECT current_database()", dbname="x") == "p0"


def test_quotes_in_connect_strings(start_pooler, pg):
    """'' is a quote; a backslash is an ordinary character."""
    pg.sql("DROP ROLE IF EXISTS quoted")
    pg.sql("CREATE ROLE quoted LOGIN")
    pooler = start_pooler(databases={"p0": "connect_query='SET myapp.text = ''a b\\c'''"})
    assert pooler.value("SHOW myapp.text") == "a b\\c"


def test_unix_socket_host(start_pooler, pg):
    pooler = start_pooler(databases={"p0": "host=%s port=%d" % (pg.socket_dir, pg.port)})
    assert pooler.value("SELECT inet_server_addr() IS NULL") is True


def test_no_host_means_the_unix_socket_dir(start_pooler, pg):
    pooler = start_pooler(server=None, databases={"p0": "port=%d" % pg.port},
                          unix_socket_dir=pg.socket_dir)
    assert pooler.value("SELECT inet_server_addr() IS NULL") is True


def test_host_name(start_pooler, pg):
    pooler = start_pooler(databases={"p0": "host=localhost port=%d" % pg.port})
    assert pooler.value("SELECT 1") == 1


# Includes

def test_include_continues_the_section(make_pooler):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "%include more.ini\nmin_pool_size = 2\n"
    pooler.write_file(os.path.join(pooler.folder, "more.ini"), "default_pool_size = 9\n")
    pooler.start()
    assert pooler.config("default_pool_size") == "9"
    assert pooler.config("min_pool_size") == "2"


def test_section_opened_in_an_include_stays(make_pooler):
    pooler = make_pooler(databases={})
    pooler.ini_raw = pooler.ini_text() + "%%include %s\np1 = host=127.0.0.1 port=%d\n" % (
        os.path.join(pooler.folder, "more.ini"), pooler.server.port)
    pooler.write_file(os.path.join(pooler.folder, "more.ini"),
                      "[databases]\np0 = host=127.0.0.1 port=%d\n" % pooler.server.port)
    pooler.start()
    assert pooler.value("SELECT 1", dbname="p0") == 1
    assert pooler.value("SELECT 1", dbname="p1") == 1


def test_include_is_read_again_at_reload(make_pooler):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "%include more.ini\n"
    more = os.path.join(pooler.folder, "more.ini")
    pooler.write_file(more, "default_pool_size = 9\n")
    pooler.start()
    pooler.write_file(more, "default_pool_size = 8\n")
    pooler.admin("RELOAD")
    assert pooler.config("default_pool_size") == "8"


@pytest.mark.parametrize("name", ["missing.ini", "pooler.ini"])
def test_bad_include(make_pooler, name):
    """A missing file, and one that includes itself for ever."""
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "%%include %s\n" % name
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and name in err


# Errors

BROKEN = {
    "unknown key": "nonsense = 1",
    "unit": "default_pool_size = 10s",
    "empty number": "default_pool_size =",
    "word for a number": "default_pool_size = many",
    "negative time": "query_timeout = -1",
    "time with a unit": "query_timeout = 5s",
    "bool": "log_connections = yes",
    "pool mode": "pool_mode = transactions",
    "auth type": "auth_type = crypt",
    "sslmode": "client_tls_sslmode = disabled",
    "not a key": "just some words",
    "unknown section": "[nonsense]\nkey = value",
    "unclosed section": "[databases",
    "connect string key": "[databases]\nx = host=127.0.0.1 nonsense=1",
    "connect string quote": "[databases]\nx = dbname='abc",
    "connect string empty value": "[databases]\nx = host=",
    "connect string word": "[databases]\nx = word",
    "port": "[databases]\nx = host=127.0.0.1 port=abc",
    "reserved name": "[databases]\npgbouncer = host=127.0.0.1",
    "long name": "[databases]\n%s = host=127.0.0.1" % ("x" * 64),
    "database pool mode": "[databases]\nx = pool_mode=nonsense",
    "user key": "[users]\nbob = nonsense=1",
    "user pool mode": "[users]\nbob = pool_mode=nonsense",
    "missing include": "%include /nonexistent.ini",
    "removed key": "drop_on_error = 1",
    "database key among settings": "pool_size = 10",
    "auth_dbname": "auth_dbname = pgbouncer",
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_at_start(make_pooler, what):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + BROKEN[what] + "\n"
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1, err
    assert "FATAL" in err or "ERROR" in err


@pytest.mark.pgweir_only("half of a broken file comes into force there")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_at_reload(start_pooler, what):
    """RELOAD says so, and nothing changes: settings, databases, users."""
    pooler = start_pooler(default_pool_size="7", databases={"p0": "", "p1": ""})
    good = pooler.ini_text()
    client = pooler.client()
    pooler.ini_raw = good.replace("default_pool_size = 7", "default_pool_size = 8").replace(
        "p1 = ", "p2 = ") + BROKEN[what] + "\n"
    pooler.write()
    with pytest.raises(wire.ServerError) as caught:
        pooler.admin("RELOAD")
    assert caught.value.sqlstate == "F0000"
    assert caught.value.message == "RELOAD failed, see logs for additional details"
    assert pooler.config("default_pool_size") == "7"
    assert {row["name"] for row in pooler.show("DATABASES")} == {"p0", "p1", "pgbouncer"}
    assert client.value("SELECT 1") == "1"
    assert pooler.value("SELECT 1", dbname="p1") == 1
    assert pooler.ini in pooler.log() or "/nonexistent.ini" in pooler.log()


@pytest.mark.pgweir_only("half of a broken file comes into force there")
@pytest.mark.parametrize("content", ["", "\0\1\2\3" * 100, "[databases]\np0 = host=127.0.0.1\n",
                                     "\ufeff[pgbouncer]\n[[[", "x" * 1000000],
                         ids=["empty", "zeros", "section missing", "brackets", "long"])
def test_senseless_file_at_reload(start_pooler, content):
    pooler = start_pooler(default_pool_size="7")
    pooler.ini_raw = content
    pooler.write()
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    assert pooler.config("default_pool_size") == "7"
    assert pooler.value("SELECT 1") == 1


@pytest.mark.pgweir_only("its defaults come into force there")
def test_missing_file_at_reload(start_pooler):
    pooler = start_pooler(default_pool_size="7")
    os.unlink(pooler.ini)
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    assert pooler.config("default_pool_size") == "7"


@pytest.mark.pgweir_only("half of a broken file comes into force there")
def test_broken_file_at_hangup(start_pooler):
    """A signal cannot be answered, so the log has the reason."""
    pooler = start_pooler(default_pool_size="7")
    pooler.settings.update(default_pool_size="8", nonsense="1")
    pooler.write()
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("got SIGHUP, re-reading config")
    pooler.wait_log("nonsense")
    assert pooler.config("default_pool_size") == "7"
    del pooler.settings["nonsense"]
    pooler.write()
    pooler.signal(signal.SIGHUP)
    wait_for(lambda: pooler.config("default_pool_size") == "8", "the good file")


@pytest.mark.pgweir_only("names neither file nor line nor the nearest name")
@pytest.mark.parametrize("wrong,near", [
    ("pool_mod = session", "pool_mode"), ("max_client_con = 10", "max_client_conn"),
    ("default_poolsize = 10", "default_pool_size"),
    ("server_reset_qeury = x", "server_reset_query")])
def test_unknown_key_names_file_line_and_nearest(make_pooler, wrong, near):
    pooler = make_pooler()
    pooler.ini_raw = pooler.ini_text() + "\n; the next line is wrong\n" + wrong + "\n"
    line = pooler.ini_raw.count("\n")
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1
    assert "%s:%d" % (pooler.ini, line) in err
    assert wrong.split()[0] in err and near in err


@pytest.mark.pgweir_only("it knows fewer settings")
def test_every_setting_is_known(start_pooler):
    """Each with its default, so that real files load."""
    ours = {"listen_addr", "listen_port", "unix_socket_dir", "logfile", "auth_type", "auth_file",
            "admin_users", "stats_users"}
    pooler = start_pooler(**{name: default for name, default, _ in SETTINGS
                             if default is not None and name not in ours})
    assert pooler.value("SELECT 1") == 1


@pytest.mark.pgweir_only("it rejects service_name")
def test_service_name_is_accepted(start_pooler):
    assert start_pooler(service_name="x", job_name="y").value("SELECT 1") == 1


# SET

@pytest.mark.parametrize("sql,key,value,tag", [
    ("SET default_pool_size = 7", "default_pool_size", "7", "SET default_pool_size=7"),
    ("SET default_pool_size=8;", "default_pool_size", "8", "SET default_pool_size=8"),
    ("set query_timeout to '1.5'", "query_timeout", "1.5", "SET query_timeout=1.5"),
    ("SET server_reset_query = 'SELECT ''x'''", "server_reset_query", "SELECT 'x'",
     "SET server_reset_query=SELECT 'x'"),
    ("SET pool_mode = statement", "pool_mode", "statement", "SET pool_mode=statement"),
    ("SET server_check_query = ''", "server_check_query", "", "SET server_check_query="),
])
def test_set(pooler, sql, key, value, tag):
    assert pooler.command_result(sql).tags == [tag]
    assert pooler.config(key) == value


@pytest.mark.parametrize("sql", [
    "SET nonsense = 1", "SET default_pool_size = many", "SET pool_mode = nonsense",
    "SET query_timeout = '-1'", "SET default_pool_size = ''", "SET auth_type = nonsense"])
def test_set_refuses(pooler, sql):
    before = pooler.show("CONFIG")
    with pytest.raises(wire.ServerError) as caught:
        pooler.admin(sql)
    assert (caught.value.severity, caught.value.sqlstate, caught.value.message) == (
        "ERROR", "08P01", "SET failed")
    assert pooler.show("CONFIG") == before


@pytest.mark.parametrize("key,value", [("listen_port", "1"), ("listen_addr", "x"),
                                       ("unix_socket_dir", "x"), ("pidfile", "x")])
def test_set_of_a_start_setting_does_nothing(pooler, key, value):
    before = pooler.config(key)
    assert pooler.command_result("SET %s = %s" % (key, value)).tags
    assert pooler.config(key) == before
    assert pooler.value("SELECT 1") == 1


def test_reload_takes_back_what_was_set(start_pooler):
    pooler = start_pooler(default_pool_size="7")
    pooler.admin("SET default_pool_size = 9")
    pooler.admin("SET query_timeout = 5")
    pooler.admin("RELOAD")
    assert pooler.config("default_pool_size") == "7"
    assert pooler.config("query_timeout") == "0"


def test_set_works_at_once(start_pooler):
    pooler = start_pooler(pool_mode="session")
    client = pooler.client()
    client.query("SELECT 1")
    pooler.wait_pool(sv_active=1)
    pooler.admin("SET pool_mode = transaction")
    client.query("SELECT 1")
    pooler.wait_pool(sv_active=0, sv_idle=1)


# Reload of databases and users

def test_reload_tag(pooler):
    assert pooler.command_result("RELOAD").tags == ["RELOAD"]
    assert "RELOAD command issued" in pooler.log()


def test_hangup_reloads(pooler):
    pooler.settings["default_pool_size"] = "9"
    pooler.write()
    pooler.signal(signal.SIGHUP)
    wait_for(lambda: pooler.config("default_pool_size") == "9", "the new setting")


def test_removed_database(pooler, pg):
    """Its clients and servers go, and nobody else's."""
    busy, idle, other = pooler.client("p1"), pooler.client("p1"), pooler.client("p2")
    busy.query("BEGIN")
    other.query("BEGIN")
    del pooler.databases["p1"]
    pooler.reload()
    busy.expect_error("database removed")
    idle.expect_error("database removed")
    wait_for(lambda: not pg.backends("datname = 'p1'"), "the servers are gone")
    assert not pooler.show("DATABASES", name="p1")
    assert not pooler.show("POOLS", database="p1")
    other.query("COMMIT")
    client = pooler.wire()
    client.startup("bob", "p1")
    client.expect_error("no such database: p1")


def test_removed_database_with_a_waiting_client(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first, waiting = pooler.client("p1"), pooler.client("p1")
    first.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 1"))
    pooler.wait_pool("p1", cl_waiting=1)
    del pooler.databases["p1"]
    pooler.reload()
    waiting.expect_error("database removed")
    first.expect_error("database removed")


def test_removed_fallback_with_a_client_in_its_login(start_pooler):
    """Its entry exists for this client only."""
    pooler = start_pooler(auth_type="md5", databases={"*": "", "p1": ""})
    client = pooler.wire()
    client.startup("bob", "p0")
    client.expect("R")
    del pooler.databases["*"]
    pooler.reload()
    client.expect_error("database removed")
    assert not pooler.show("DATABASES", name="p0")


def test_new_database(pooler):
    pooler.databases["new"] = "dbname=p3"
    pooler.reload()
    assert pooler.value("SELECT current_database()", dbname="new") == "p3"


def test_changed_database(pooler):
    """Open transactions end where they began; what follows goes to the new place."""
    busy, idle = pooler.client("p1"), pooler.client("p1")
    idle.query("SELECT 1")
    busy.query("BEGIN")
    pooler.databases["p1"] = "dbname=p2"
    pooler.reload()
    assert busy.value("SELECT current_database()") == "p1"
    assert idle.value("SELECT current_database()") == "p2"
    busy.query("COMMIT")
    assert busy.value("SELECT current_database()") == "p2"
    assert all(row["close_needed"] == 0 for row in pooler.show("SERVERS"))


def test_changed_server_user(start_pooler):
    pooler = start_pooler(pool_mode="transaction", databases={"p0": "user=alice"})
    client = pooler.client()
    assert client.value("SELECT current_user") == "alice"
    busy = pooler.client()
    busy.query("BEGIN")
    pooler.databases["p0"] = "user=carol"
    pooler.reload()
    assert pooler.value("SELECT current_user") == "carol"
    assert client.value("SELECT current_user") == "carol"
    assert busy.value("SELECT current_user") == "alice"
    busy.query("COMMIT")
    assert busy.value("SELECT current_user") == "carol"
    assert [row["user"] for row in pooler.show("POOLS", database="p0")] == ["carol"]
    assert {row["name"]: row["current_connections"] for row in pooler.show("USERS")
            if row["name"] in ("alice", "carol")} == {"alice": 0, "carol": pooler.servers(
                user="carol")}


def test_changed_password_keeps_the_servers(start_pooler):
    pooler = start_pooler(pool_mode="transaction",
                          databases={"p0": "user=md5user password=md5-pw"})
    pid = pooler.value("SELECT pg_backend_pid()")
    pooler.databases["p0"] = "user=md5user password=wrong"
    pooler.reload()
    assert pooler.value("SELECT pg_backend_pid()") == pid


def test_unchanged_reload_keeps_everything(pooler):
    client = pooler.client()
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(10):
        pooler.reload()
    assert client.value("SELECT pg_backend_pid()") == pid
    assert all(row["close_needed"] == 0 for row in pooler.show("SERVERS"))


def test_lowered_pool_size_closes_the_surplus(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="4")
    clients = [pooler.client() for _ in range(4)]
    for client in clients:
        client.query("BEGIN")
    for client in clients:
        client.query("COMMIT")
    assert pooler.servers() == 4
    pooler.settings["default_pool_size"] = "2"
    pooler.reload()
    pooler.wait_pool(sv_idle=2, sv_active=0)
    assert "closing because: too many servers in the pool" in pooler.log()


def test_raised_pool_size_serves_those_who_wait(start_pooler):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="1")
    first, waiting = pooler.client(), pooler.client()
    first.query("BEGIN")
    waiting.send_raw(wire.query("SELECT 5"))
    pooler.wait_pool(cl_waiting=1)
    pooler.settings["default_pool_size"] = "2"
    pooler.reload()
    assert waiting.result().value == "5"


def test_changed_pool_mode_of_a_database(pooler):
    client = pooler.client()
    client.query("SELECT 1")
    pooler.wait_pool(sv_active=0)
    pooler.databases["p0"] = "pool_mode=session"
    pooler.reload()
    client.query("SELECT 1")
    pooler.wait_pool(sv_active=1)
    assert pooler.pool()["pool_mode"] == "session"


def test_pause_and_disable_survive_a_reload(pooler):
    pooler.admin("PAUSE p1")
    pooler.admin("DISABLE p2")
    pooler.reload()
    assert pooler.show("DATABASES", name="p1")[0]["paused"] == 1
    assert pooler.show("DATABASES", name="p2")[0]["disabled"] == 1


# Automatic databases

def test_fallback_database(start_pooler):
    pooler = start_pooler(databases={"*": ""}, pool_mode="transaction")
    assert pooler.value("SELECT current_database()", dbname="p4") == "p4"
    assert "registered new auto-database: p4" in pooler.log() or "p4" in pooler.log()
    assert pooler.show("DATABASES", name="p4")


def test_fallback_database_with_dbname(start_pooler):
    pooler = start_pooler(databases={"*": "dbname=p0"})
    assert pooler.value("SELECT current_database()", dbname="anything") == "p0"


def test_named_entry_wins_over_the_fallback(start_pooler):
    pooler = start_pooler(databases={"*": "dbname=p0", "x": "dbname=p1"})
    assert pooler.value("SELECT current_database()", dbname="x") == "p1"


def test_fallback_refuses_long_names(start_pooler):
    pooler = start_pooler(databases={"*": "dbname=p0"})
    client = pooler.wire()
    client.startup("bob", "x" * 64)
    assert client.expect_any_error()["M"].startswith("no such database: xxx")
    assert pooler.value("SELECT 1", dbname="x" * 63) == 1


def test_automatic_databases_expire(start_pooler):
    pooler = start_pooler(databases={"*": "dbname=p0"}, autodb_idle_timeout="0.3",
                          server_idle_timeout="0.2")
    pooler.value("SELECT 1", dbname="gone")
    pooler.wait_log("dropping database 'gone' as it does not exist anymore or inactive "
                    "auto-database")
    assert not pooler.show("DATABASES", name="gone")
    assert pooler.value("SELECT 1", dbname="gone") == 1


def test_automatic_databases_for_ever(start_pooler):
    pooler = start_pooler(databases={"*": "dbname=p0"}, autodb_idle_timeout="0",
                          server_idle_timeout="0.1")
    pooler.value("SELECT 1", dbname="kept")
    wait_for(lambda: not pooler.show("SERVERS"), "nobody uses it")
    time.sleep(0.4)
    assert pooler.show("DATABASES", name="kept")


@pytest.mark.parametrize("hold,release", [("PAUSE", "RESUME"), ("DISABLE", "ENABLE")])
def test_automatic_database_is_kept_while_it_is_held(start_pooler, hold, release):
    pooler = start_pooler(databases={"*": ""}, autodb_idle_timeout="0.5",
                          server_idle_timeout="0.2")
    pooler.value("SELECT 1", dbname="p2")
    pooler.admin(hold + " p2")
    time.sleep(1)
    assert pooler.show("DATABASES", name="p2")
    pooler.admin(release + " p2")
    wait_for(lambda: not pooler.show("DATABASES", name="p2"), "it is dropped")


def test_automatic_database_of_a_command_expires(start_pooler):
    pooler = start_pooler(databases={"*": ""}, autodb_idle_timeout="0.5")
    pooler.admin("RECONNECT nothing")
    assert pooler.show("DATABASES", name="nothing")
    wait_for(lambda: not pooler.show("DATABASES", name="nothing"), "it is dropped")


# The userlist

def test_new_password_counts_from_the_next_login(start_pooler):
    pooler = start_pooler(auth_type="md5", pool_mode="transaction")
    client = pooler.client()
    pooler.userlist["bob"] = "new-pw"
    pooler.reload()
    assert client.value("SELECT 1") == "1"
    assert pooler.client(password="new-pw").value("SELECT 2") == "2"
    refused = pooler.wire()
    refused.startup("bob", "p0")
    with pytest.raises(wire.ServerError, match="password authentication failed"):
        refused.authenticate("bob-pw")


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256", "plain"])
def test_removed_user_is_refused(start_pooler, auth_type):
    pooler = start_pooler(auth_type=auth_type)
    pooler.client(user="alice")
    del pooler.userlist["alice"]
    pooler.reload()
    with pytest.raises(wire.ServerError, match="authentication failed"):
        pooler.client(user="alice", password="alice-pw")


@pytest.mark.pgweir_only("such a user is still trusted there")
def test_removed_user_is_not_trusted(start_pooler):
    pooler = start_pooler()
    del pooler.userlist["alice"]
    pooler.reload()
    client = pooler.wire()
    client.startup("alice", "p0")
    client.expect_error('"trust" authentication failed')


USERLIST_FORMS = '''; a comment
   "spaced"    "one"   anything behind it
"quo""ted" "with ""quotes"""
"twice" "first"
"twice" "second"

"tabs"\t"two"
"a" x "odd"
'''


@pytest.mark.parametrize("user,password", [
    ("spaced", "one"), ('quo"ted', 'with "quotes"'), ("twice", "second"), ("tabs", "two"),
    ("a", "odd")])
def test_userlist_grammar(make_pooler, user, password):
    pooler = make_pooler(auth_type="md5", databases={"p0": "user=bob"})
    pooler.userlist_raw = USERLIST_FORMS
    pooler.start()
    assert pooler.client(user=user, password=password).value("SELECT 1") == "1"


@pytest.mark.pgweir_only("the users behind the error are lost there")
@pytest.mark.parametrize("text", [
    'bob "x"\n', '"bob" "new-pw\n', '"bob"\n', '"bob" "new-pw"\n"%s" "x"\n' % ("x" * 128),
    '"bob" "new-pw"\n# no comment\n'])
def test_broken_userlist_at_reload(start_pooler, text):
    """The old users stay, all of them, and RELOAD fails."""
    pooler = start_pooler(auth_type="md5")
    pooler.userlist_raw = text
    pooler.write()
    with pytest.raises(wire.ServerError) as caught:
        pooler.console(password="admin-pw").query("RELOAD")
    assert caught.value.sqlstate == "F0000"
    assert pooler.client().value("SELECT 1") == "1"
    assert pooler.client(user="alice").value("SELECT 1") == "1"
    assert pooler.userlist_file in pooler.log()


@pytest.mark.pgweir_only("RELOAD says nothing there")
def test_missing_userlist_at_reload(start_pooler):
    pooler = start_pooler(auth_type="md5")
    os.unlink(pooler.userlist_file)
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    assert pooler.client().value("SELECT 1") == "1"


@pytest.mark.pgweir_only("all users are gone there")
def test_emptied_userlist_at_reload(start_pooler):
    """A file of no bytes is an accident; one with a comment is meant so."""
    pooler = start_pooler(auth_type="md5")
    pooler.write_file(pooler.userlist_file, "")
    pooler.signal(signal.SIGHUP)
    pooler.wait_log("userlist.txt is empty")
    assert pooler.client().value("SELECT 1") == "1"
    pooler.write_file(pooler.userlist_file, "; nobody\n")
    pooler.signal(signal.SIGHUP)
    wait_for(lambda: pooler.log().count("re-reading config") == 2, "the reload")
    with pytest.raises(wire.ServerError, match="authentication failed"):
        pooler.client()


@pytest.mark.pgweir_only("it waits for ever there")
def test_pipe_for_a_file_at_reload(start_pooler):
    """Neither an included pipe nor a userlist that is one stops the pooler."""
    pooler = start_pooler()
    pipe = os.path.join(pooler.folder, "pipe")
    os.mkfifo(pipe)
    pooler.ini_raw = pooler.ini_text() + "%%include %s\n" % pipe
    pooler.write()
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    pooler.ini_raw = pooler.ini_text().replace(pooler.userlist_file, pipe)
    pooler.write()
    with pytest.raises(wire.ServerError):
        pooler.admin("RELOAD")
    assert pooler.value("SELECT 1") == 1


def test_missing_userlist_at_start(make_pooler):
    """It starts and says so; the users may come with a reload."""
    pooler = make_pooler(auth_type="md5", admin_users="bob")
    pooler.write()
    text = open(pooler.userlist_file).read()
    write, pooler.write = pooler.write, lambda: os.path.exists(pooler.userlist_file) and os.unlink(
        pooler.userlist_file)
    pooler.start()
    pooler.write = write
    assert "userlist.txt" in pooler.log()
    pooler.write_file(pooler.userlist_file, text)
    pooler.signal(signal.SIGHUP)
    wait_for(lambda: pooler.log().count("re-reading config"), "the reload")
    assert pooler.client().value("SELECT 1") == "1"


def test_changed_userlist_within_a_second(start_pooler):
    """Same size, same second: only the content tells."""
    pooler = start_pooler(auth_type="md5")
    for password in ("bob-p1", "bob-p2", "bob-p3"):
        pooler.userlist["bob"] = password
        pooler.reload()
        assert pooler.client(password=password).value("SELECT 1") == "1"


def test_long_userlist(start_pooler):
    users = {"user%05d" % i: "password%d" % i for i in range(5000)}
    users.update({"bob": "bob-pw"})
    pooler = start_pooler(auth_type="md5", databases={"p0": "user=bob"}, userlist=users)
    assert pooler.client(user="user04999", password="password4999").value("SELECT 1") == "1"


# The log file

def test_reload_opens_the_log_again(pooler):
    """Log rotation moves the file away first."""
    old = pooler.log_file + ".1"
    os.rename(pooler.log_file, old)
    pooler.admin("RELOAD")
    pooler.value("SELECT 1")
    assert "login attempt: db=p0" in pooler.log()


@pytest.mark.parametrize("setting,text", [
    ("log_connections", "login attempt"), ("log_disconnections", "closing because"),
    ("log_pooler_errors", "pooler error")])
def test_log_switches(start_pooler, setting, text):
    pooler = start_pooler(**{setting: "0"})

    def make_lines():
        pooler.value("SELECT 1")
        client = pooler.wire()
        client.startup("bob", "nowhere")
        client.expect_any_error()
        client.wait_closed()
    make_lines()
    assert text not in pooler.log()
    pooler.settings[setting] = "1"
    pooler.reload()
    make_lines()
    pooler.wait_log(text)


def test_stats_line(start_pooler):
    pooler = start_pooler(stats_period="1")
    pooler.value("SELECT 1")
    pooler.wait_log("LOG stats: ", timeout=3)
    (line, *_) = [line for line in pooler.log().splitlines() if "LOG stats: " in line]
    for word in ("xacts/s", "queries/s", "in ", "out ", "xact ", "query ", "wait "):
        assert word in line


def test_stats_line_with_a_new_pool(start_pooler):
    """A pool that was made late in the period does not shorten it for all."""
    pooler = start_pooler(pool_mode="transaction", stats_period="3")
    client = pooler.client("p0")
    for _ in range(300):
        client.query("SELECT 1")
    time.sleep(2)
    pooler.value("SELECT 1", dbname="p1")
    pooler.wait_log("LOG stats: ", timeout=4)
    (line, *_) = [line for line in pooler.log().splitlines() if "LOG stats: " in line]
    assert int(line.split("LOG stats: ")[1].split()[0]) <= 101
