"""Files, signals and sockets of the process: half-written, stale, taken, in every order."""

import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from support import wire
from support.process import SLACK, free_port, give_away, is_running, wait_for
from support.truth import check_counters, unharmed

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1,
           signal.SIGUSR2)


def reload_fails(pooler, what):
    try:
        pooler.admin("RELOAD")
    except wire.ServerError as error:
        assert error.sqlstate == "F0000", what
        return
    raise AssertionError("RELOAD took it: " + what)


# CF01

def broken_files(good):
    """What may become of a file, by name. None: it is missing."""
    middle = good.index("auth_type")
    return {
        "unknown key": good + "no_such_setting = 1\n",
        "bad number": good.replace("default_pool_size = 7", "default_pool_size = seven"),
        "number out of range": good.replace("default_pool_size = 7",
                                            "default_pool_size = 99999999999999999999"),
        "truncated": good[:middle + 9],
        "empty": "",
        "blanks": " \n\t\n" * 100,
        "binary": bytes(range(256)) * 40,
        "zeros": b"\0" * 10_000,
        "missing": None,
        "include of itself": good + "%include pooler.ini\n",
        "include of nothing": good + "%include\n",
        "line of a megabyte": good + "no_such_setting = " + "x" * 1_000_000 + "\n",
        "comment that is none": good + "just words\n",
        "zero in a value": good.replace("default_pool_size = 7", "default_pool_size = 7\0"),
    }


def test_files_that_are_broken(start_pooler, pg):
    """All or nothing: RELOAD fails, the log names the file, and what was in force stays so."""
    pooler = start_pooler(auth_type="md5", pool_mode="transaction", default_pool_size="7")
    good = pooler.ini_text()
    client = pooler.client()
    client.query("SELECT 1")
    pooler.value("SELECT 1", user="alice")
    before = pooler.show("CONFIG")
    with unharmed(pooler, canary=None, log_bytes=1 << 20):
        for what, text in broken_files(good).items():
            marked = text.replace("p5 = ", "p9 = ") if isinstance(text, str) else text
            if marked is None:
                os.unlink(pooler.ini)
            else:
                pooler.write_file(pooler.ini, marked)
            written = len(pooler.log())
            reload_fails(pooler, what)
            news = pooler.log()[written:]
            assert os.path.basename(pooler.ini) in news, what
            assert len(news) < 20_000, what
            assert pooler.show("CONFIG") == before, what
            assert "p5" in {row["name"] for row in pooler.show("DATABASES")}, what
            assert client.value("SELECT 2") == "2"
            with pooler.client(user="alice") as other:
                assert other.value("SELECT 3") == "3", what
    pooler.reload()


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"), lambda text: text.rstrip("\n"),
    lambda text: "\ufeff" + text, lambda text: "\n\n ; words\n# words\n" + text],
    ids=["CRLF", "no end", "BOM", "comments"])
def test_files_that_are_only_odd(start_pooler, change):
    """Either they are taken whole, or nothing of them is."""
    pooler = start_pooler(default_pool_size="7", auth_type="md5")
    pooler.settings["default_pool_size"] = "8"
    pooler.ini_raw = change(pooler.ini_text())
    pooler.write()
    try:
        pooler.admin("RELOAD")
        expected = "8"
    except wire.ServerError as error:
        assert error.sqlstate == "F0000"
        expected = "7"
    assert pooler.config("default_pool_size") == expected
    assert pooler.config("auth_type") == "md5"
    assert pooler.client().value("SELECT 1") == "1"


# CF02

USERLISTS = {
    "empty": "",
    "cut in a name": '"admin" "admin-pw"\n"bob" "bob-pw"\n"ali',
    "cut in a password": '"admin" "admin-pw"\n"bob" "bob-',
    "cut behind a name": '"admin" "admin-pw"\n"bob"',
    "quote too many": '"admin" "admin-pw"\n"bob" "bob-pw""\n',
    "no quotes": "admin admin-pw\n",
    "zero": b'"admin" "admin-pw"\n"bob" "bob\0-pw"\n',
    "binary": bytes(range(256)) * 10,
    "huge line": '"admin" "%s"\n' % ("x" * 2_000_000),
    "missing": None,
    "folder": "a folder",
    "unreadable": "not for us",
}


def test_userlists_that_are_broken(start_pooler, pg):
    """RELOAD fails and says where; everybody who could log in still can, with the same password."""
    pooler = start_pooler(auth_type="md5", pool_mode="transaction")
    good = open(pooler.userlist_file, encoding="ascii").read()
    path = pooler.userlist_file
    for what, text in USERLISTS.items():
        os.unlink(path)
        if what == "folder":
            os.mkdir(path)
        elif text is not None:
            pooler.write_file(path, text)
        if what == "unreadable":
            os.chmod(path, 0)
            os.chown(path, 0, 0) if os.geteuid() == 0 else None
        written = len(pooler.log())
        reload_fails(pooler, what)
        assert path in pooler.log()[written:], what
        for user in ("bob", "alice", "admin"):
            client = pooler.wire()
            client.login(user, "pgbouncer" if user == "admin" else "p0", "%s-pw" % user)
            client.close()
        if what == "folder":
            os.rmdir(path)
            pooler.write_file(path, good)
        elif text is None:
            pooler.write_file(path, good)
    pooler.write_file(path, good)
    pooler.admin("RELOAD")


def test_userlist_with_a_name_twice(start_pooler):
    """The passwords of the file count, as for a change of passwords; not one of before."""
    pooler = start_pooler(auth_type="plain")
    pooler.userlist_raw = ('"admin" "admin-pw"\n"bob" "first"\n"bob" "second"\n')
    pooler.write()
    pooler.admin("RELOAD")
    accepted = set()
    for password in ("first", "second", "bob-pw"):
        try:
            pooler.client(password=password)
            accepted.add(password)
        except wire.ServerError:
            pass
    assert accepted == {"first", "second"}


# CF03

@pytest.mark.limit(120)
def test_files_that_are_written_while_they_are_read(start_pooler, pg):
    """
    Two versions, written byte by byte in place: no mixture of both comes into force. (That a file
    ends too early nobody can know, if its end is that of a line.)
    """
    pooler = start_pooler(auth_type="plain", pool_mode="transaction", log_connections="0",
                          databases={"p0": "pool_size=5", "p1": "pool_size=5"})
    texts = []
    for size in ("5", "7"):
        pooler.databases = {"p0": "pool_size=" + size, "p1": "pool_size=" + size}
        pooler.settings["server_idle_timeout"] = size + "00"
        users = {name: name + "-pw" for name in ("admin", "stats", "bob", "alice")}
        users["bob"] = "bob-%s" % size
        texts.append((pooler.ini_text(), "".join('"%s" "%s"\n' % user for user in users.items())))
    stop, failure = threading.Event(), []

    def write():
        turn = 0
        try:
            while not stop.is_set():
                turn ^= 1
                for path, text in zip((pooler.ini, pooler.userlist_file), texts[turn]):
                    with open(path, "wb", buffering=0) as file:
                        data = text.encode()
                        for place in range(0, len(data), 7):
                            file.write(data[place:place + 7])
        except OSError as error:
            failure.append(error)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for _ in range(80):
            pooler.signal(signal.SIGHUP)
            try:
                rows = {row["name"]: row["pool_size"] for row in pooler.show("DATABASES")}
                limit = pooler.config("server_idle_timeout")
            except wire.ServerError:
                continue  # cut before the line of the auth_file
            assert rows.pop("pgbouncer") and set(rows) == {"p0", "p1"}, rows
            assert len(set(rows.values())) == 1, rows
            assert limit == "600" or ("%d00" % rows["p0"]).startswith(limit), (limit, rows)
            seen.add(limit)
    finally:
        stop.set()
        writer.join()
    assert not failure and seen
    for ini, users in texts:
        pooler.write_file(pooler.ini, ini)
        pooler.write_file(pooler.userlist_file, users)
        pooler.signal(signal.SIGHUP)
        password = "bob-7" if "bob-7" in users else "bob-5"
        wait_for(lambda: logs_in(pooler, password), "the last version is in force")


def logs_in(pooler, password):
    try:
        return pooler.client(password=password)
    except wire.ServerError:
        return False


# CF04

def test_flood_of_reloads(start_pooler, pg):
    """SIGHUP, RELOAD and SET at once, under load: coalesced, and nobody notices."""
    users = {"user%05d" % n: "password" for n in range(20_000)}
    users.update(bob="x", alice="x")
    pooler = start_pooler(pool_mode="transaction", log_connections="0", log_disconnections="0",
                          userlist=users)
    pooler.value("SELECT 1", dbname="p1", user="alice")
    pooler.admin("RELOAD")
    pooler.admin("RELOAD")  # two generations, as while one replaces the other
    with unharmed(pooler, memory_kib=8192, log_bytes=4 << 20):
        stop = threading.Event()

        def hang_up():
            while not stop.is_set():
                pooler.signal(signal.SIGHUP)
                time.sleep(0.001)
        threads = [threading.Thread(target=hang_up) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            client, admin = pooler.client(), pooler.console()
            end, count = time.monotonic() + 2, 0
            while time.monotonic() < end:
                count += 1
                assert client.value("SELECT %d" % count) == str(count)
                assert admin.query("RELOAD").tags == ["RELOAD"]
                admin.query("SET server_idle_timeout = %d" % (100 + count))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        client.terminate()
        admin.close()
        pooler.admin("RELOAD")
        pooler.admin("RECONNECT p0")
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its servers are gone")
    assert pooler.config("server_idle_timeout") == "600"


# CF05

def test_changes_of_what_is_in_use(start_pooler, pg):
    """Open transactions end by the documented rule, everybody new sees the new configuration."""
    other_port = pg.port
    pooler = start_pooler(pool_mode="transaction", default_pool_size="2", users={"bob": ""},
                          databases={"p0": "", "p1": "", "p2": "", "p3": ""})
    clients = {name: pooler.client(name) for name in pooler.databases}
    for client in clients.values():
        client.query("BEGIN")
    waiting = pooler.client("p1")
    pooler.settings.update(default_pool_size="1")
    pooler.databases = {"p1": "dbname=p4", "p2": "pool_mode=statement",
                        "p3": "host=127.0.0.1 port=%d user=alice" % other_port, "new": "dbname=p5"}
    pooler.users = {}
    pooler.reload()
    clients["p0"].expect_error("database removed")
    for name in ("p1", "p3"):
        assert clients[name].value("SELECT current_database()") == name
        clients[name].query("COMMIT")
    # Statement pooling has come over an open transaction: the next answer in it ends it.
    clients["p2"].send_raw(wire.query("SELECT 1"))
    clients["p2"].expect_any_error()
    clients["p2"].close()
    assert waiting.value("SELECT current_database()") == "p4"
    assert clients["p1"].value("SELECT current_database()") == "p4"
    assert pooler.value("SELECT current_user::text", dbname="p3") == "alice"
    assert pooler.value("SELECT current_database()::text", dbname="new") == "p5"
    refused = pooler.wire()
    refused.startup("bob", "p0")
    refused.expect_error("no such database: p0")


def test_random_reloads_under_load(start_pooler, pg):
    """Databases come, go and change while clients work on them: answers are right or told to end."""
    pooler = start_pooler(pool_mode="transaction", log_connections="0", log_disconnections="0",
                          databases={"p0": "", "p1": ""})
    pooler.value("SELECT 1", dbname="p1", user="alice")
    draw, stop, wrong = random.Random(7), threading.Event(), []

    def work(seed):
        own = random.Random(seed)
        while not stop.is_set():
            try:
                with wire.Client(pooler.host, pooler.port) as client:
                    client.login("bob", "p0")
                    while not stop.is_set():
                        number = str(own.randrange(10 ** 9))
                        client.send_raw(wire.query("SELECT %s" % number))
                        for kind in "TDCZ":
                            got = client.expect(kind)
                            if kind == "D" and wire.parse_data_row(got.body) != [number]:
                                wrong.append(number)
            except wire.ServerError as error:
                if error.message not in ("database removed", "no such database: p0",
                                         "database configuration changed"):
                    wrong.append(error)
            except (EOFError, OSError) as error:
                wrong.append(error)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    entries = ("", "pool_size=1", "pool_size=3 pool_mode=session", "user=carol", "dbname=p2",
               "pool_mode=statement", None)
    with unharmed(pooler, memory_kib=4096, log_bytes=8 << 20):
        for thread in threads:
            thread.start()
        try:
            for _ in range(60):
                entry = draw.choice(entries)
                pooler.databases = {"p1": ""} if entry is None else {"p0": entry, "p1": ""}
                pooler.settings["default_pool_size"] = str(draw.randrange(1, 9))
                pooler.reload()
                time.sleep(0.02)
        finally:
            stop.set()
            for thread in threads:
                thread.join(20 * SLACK)
        assert wrong == []
        pooler.databases = {"p0": "", "p1": ""}
        pooler.reload()
        pooler.admin("RECONNECT p0")
        wait_for(lambda: not pooler.show("SERVERS", database="p0"), "its servers are gone")
    check_counters(pooler, pg)


# CF06

def socket_path(pooler):
    return os.path.join(pooler.socket_dir, ".s.PGSQL.%d" % pooler.port)


def test_live_instance_is_left_alone(pooler, make_pooler):
    second = make_pooler(listen_addr="", listen_port=str(pooler.port),
                         unix_socket_dir=pooler.socket_dir)
    second.write()
    before = os.stat(socket_path(pooler)).st_ino
    code, _, err = second.run(second.ini)
    assert code == 1 and "unix socket is in use" in err
    assert os.stat(socket_path(pooler)).st_ino == before
    assert pooler.client(host=pooler.socket_dir).value("SELECT 1") == "1"


def test_stale_socket_is_replaced(make_pooler, pg):
    """Of a process that was killed: this one starts, and cleans up at its end."""
    pooler = make_pooler()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(socket_path(pooler))
    pooler.start()
    assert pooler.client(host=pooler.socket_dir).value("SELECT 1") == "1"
    pooler.process.kill()
    pooler.process.wait()
    pooler.write_file(pooler.log_file, "")
    pooler.start()
    assert pooler.client(host=pooler.socket_dir).value("SELECT 2") == "2"
    pooler.close_clients()
    pooler.signal(signal.SIGTERM)
    pooler.expect_exit(0)
    assert not os.path.exists(socket_path(pooler))


@pytest.mark.parametrize("what", ["file", "link to a file", "dangling link", "folder", "FIFO"])
def test_other_file_in_place_of_the_socket(make_pooler, what):
    """Not ours to remove: exit 1, and it is as it was."""
    pooler = make_pooler()
    path, target = socket_path(pooler), os.path.join(pooler.folder, "precious")
    if what in ("file", "link to a file"):
        pooler.write_file(path if what == "file" else target, "precious")
    if "link" in what:
        os.symlink(target, path)
    elif what == "folder":
        os.mkdir(path)
    elif what == "FIFO":
        os.mkfifo(path)
    before = os.lstat(path)
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and ".s.PGSQL" in err, err
    after = os.lstat(path)
    assert (before.st_ino, before.st_mode, before.st_size) == (
        after.st_ino, after.st_mode, after.st_size)
    if what == "link to a file":
        assert open(target, encoding="ascii").read() == "precious"


def test_link_to_the_socket_of_another(pooler, make_pooler):
    """It leads to a live instance, which is somebody else's."""
    second = make_pooler(listen_addr="")
    os.symlink(socket_path(pooler), socket_path(second))
    second.write()
    assert second.run(second.ini)[0] == 1
    assert os.path.islink(socket_path(second))
    assert pooler.client(host=pooler.socket_dir).value("SELECT 1") == "1"


@pytest.mark.parametrize("length", [107, 108, 109, 200, 5000])
def test_path_that_is_too_long(make_pooler, length):
    pooler = make_pooler()
    name = "/.s.PGSQL.%d" % pooler.port
    folder = os.path.join(pooler.folder, "d" * min(200, length - len(name) - len(pooler.folder) - 1))
    if length < 1000:
        os.mkdir(folder)
        give_away(folder)
    else:
        folder = pooler.folder + "/" + "d" * (length - len(pooler.folder))
    pooler.settings["unix_socket_dir"] = pooler.socket_dir = folder
    assert length > 1000 or len(folder + name) == length
    if length <= 107:
        pooler.start()
        assert pooler.client(host=folder).parameters
        return
    pooler.write()
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and "failed to create unix socket" in err


def test_socket_of_a_successor_is_left(make_pooler, pg):
    """Somebody has put his own socket there meanwhile: the end of this one does not remove it."""
    pooler = make_pooler()
    pooler.start()
    os.unlink(socket_path(pooler))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(socket_path(pooler))
        pooler.signal(signal.SIGTERM)
        pooler.expect_exit(0)
        assert os.path.exists(socket_path(pooler))


# CF07

def with_pidfile(make_pooler, content):
    pooler = make_pooler()
    pooler.settings["pidfile"] = pooler.pid_file
    pooler.write()
    if content is not None:
        pooler.write_file(pooler.pid_file, content)
    return pooler


def test_pidfile_of_a_stranger(make_pooler):
    """The number belongs to some other process: refused with a clear word, and it lives on."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            pooler = with_pidfile(make_pooler, "%d\n" % stranger.pid)
            code, _, err = pooler.run(pooler.ini)
            assert code == 1 and "another instance running?" in err
            assert stranger.poll() is None
            assert open(pooler.pid_file, encoding="ascii").read() == "%d\n" % stranger.pid
        finally:
            stranger.kill()


@pytest.mark.parametrize("content", [
    "", "garbage\n", "-1\n", "0\n", "99999999999999999999\n", "1 2\n", "12x\n", b"\0\0\0\0",
    "\n", "1" * 100_000])
def test_pidfile_that_names_nobody(make_pooler, content):
    """Nothing is guessed, and above all nothing is killed."""
    pooler = with_pidfile(make_pooler, content)
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and "pidfile '%s'" % pooler.pid_file in err
    with open(pooler.pid_file, "rb") as file:
        assert file.read() == (content if isinstance(content, bytes) else content.encode())


def test_pidfile_of_the_dead(make_pooler, pg):
    ended = subprocess.Popen(["true"])
    ended.wait()
    pooler = with_pidfile(make_pooler, "%d\n" % ended.pid)
    pooler.start()
    assert open(pooler.pid_file, encoding="ascii").read() == "%d\n" % pooler.pid
    pooler.signal(signal.SIGTERM)
    pooler.expect_exit(0)
    assert not os.path.exists(pooler.pid_file)


def test_pidfile_of_a_successor_is_left(make_pooler, pg):
    """At the end only one's own is removed."""
    pooler = with_pidfile(make_pooler, None)
    pooler.start()
    pooler.write_file(pooler.pid_file, "1\n")
    pooler.signal(signal.SIGTERM)
    pooler.expect_exit(0)
    assert open(pooler.pid_file, encoding="ascii").read() == "1\n"


@pytest.mark.parametrize("what", ["folder", "link to a secret", "FIFO"])
def test_pidfile_that_is_something_else(make_pooler, what):
    """A FIFO must not make the start wait for a writer."""
    pooler = with_pidfile(make_pooler, None)
    secret = os.path.join(pooler.folder, "secret")
    if what == "folder":
        os.mkdir(pooler.pid_file)
    elif what == "FIFO":
        os.mkfifo(pooler.pid_file)
        give_away(pooler.pid_file)
    else:
        pooler.write_file(secret, "kept")
        os.symlink(secret, pooler.pid_file)
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and pooler.pid_file in err
    if what == "link to a secret":
        assert open(secret, encoding="ascii").read() == "kept"


# CF08

def in_transaction(pooler):
    client = pooler.client()
    client.query("BEGIN")
    return client


def pause(pooler):
    in_transaction(pooler)
    pooler.signal(signal.SIGUSR1)
    pooler.wait_log("got SIGUSR1")


def shut(pooler):
    in_transaction(pooler)
    pooler.signal(signal.SIGTERM)
    pooler.wait_log("got SIGTERM")


STATES = {"idle": lambda pooler: None, "load": in_transaction, "paused": pause,
          "shutting down": shut}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_each_signal_twice_in_each_state(start_pooler, state, number):
    """It lives on or ends with 0, as asked; never by the signal."""
    pooler = start_pooler(pool_mode="transaction")
    STATES[state](pooler)
    ends = number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    for _ in range(2):
        if pooler.process.poll() is None:
            pooler.signal(number)
            time.sleep(0.02)
    if ends:
        pooler.expect_exit(0)
        assert not os.path.exists(socket_path(pooler))
    else:
        pooler.wait_log("got " + number.name)
        assert pooler.show("VERSION")
    assert "core" not in os.listdir(pooler.folder)


def test_signals_at_random(start_pooler, pg):
    """Those that do not end it, in any order, while clients work."""
    pooler = start_pooler(pool_mode="transaction", log_connections="0")
    client = pooler.client()
    draw = random.Random(11)
    for n in range(60):
        pooler.signal(draw.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)))
        if n % 10 == 9:
            pooler.signal(signal.SIGUSR2)
            # Two signals of a kind may become one, and a pause may come after a resume.
            wait_for(lambda: resumed(pooler), "it is not paused")
            assert client.value("SELECT %d" % n) == str(n)
    check_counters(pooler, pg)


def resumed(pooler):
    pooler.signal(signal.SIGUSR2)
    return {row["key"]: row["value"] for row in pooler.show("STATE")}["paused"] == "no"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT],
                         ids=lambda number: number.name)
def test_stopped_while_it_starts(make_pooler, number):
    """At any moment of the start: a clean end, or that of a process that had not begun to serve."""
    users = {"user%05d" % n: "password" for n in range(20_000)}
    users["bob"] = "x"
    for pause_seconds in (0, 0.005, 0.01, 0.02, 0.04, 0.08):
        pooler = make_pooler(userlist=users)
        pooler.write()
        pooler.spawn()
        time.sleep(pause_seconds)
        pooler.signal(number)
        code = pooler.process.wait(10 * SLACK)
        pooler.expected_exit = code
        served = "process up" in pooler.log()
        assert code == 0 if served else code in (0, -number), pooler.output()
        wait_for(lambda: not is_running(pooler.pid), "it is gone")
        if code == 0:
            assert not os.path.exists(socket_path(pooler))


def test_signals_that_come_with_the_reload(start_pooler, pg):
    """HUP and TERM at once: the reload may be done or not, the end is clean."""
    for _ in range(5):
        pooler = start_pooler(listen_port=str(free_port()), pool_mode="transaction")
        pooler.signal(signal.SIGSTOP)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
            pooler.signal(number)
        pooler.signal(signal.SIGCONT)
        pooler.expect_exit(0)
