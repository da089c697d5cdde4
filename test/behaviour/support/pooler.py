"""One running pooler: its files, its process, its console, and what must hold at its end."""

import os
import shutil
import signal
import subprocess
import tempfile

import psycopg

from support import wire
from support.process import (SLACK, free_port, give_away, is_running, unprivileged, wait_for)

BINARY = os.path.abspath(os.environ.get("PGWEIR", os.path.join(
    os.path.dirname(__file__), "..", "..", "..", "build", "pgweir")))

ADMIN, ADMIN_PASSWORD = "admin", "admin-pw"
STATS, STATS_PASSWORD = "stats", "stats-pw"

USERS = {"bob": "bob-pw", "alice": "alice-pw", "carol": "carol-pw", "plainuser": "plain-pw",
         "md5user": "md5-pw", "scramuser": "scram-pw"}

SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "UndefinedBehaviorSanitizer",
                   "MemorySanitizer", "ThreadSanitizer", "runtime error:", "Assertion")


def version_line():
    try:
        done = subprocess.run([BINARY, "-V"], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.splitlines()[0] if done.stdout else ""


VERSION = version_line()


def is_reference():
    """True for Debian's PgBouncer 1.18, the stand-in while these tests were written."""
    return "pgweir" not in VERSION


def environment():
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:exitcode=99")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99")
    for name in list(env):
        if name.startswith("PG") and name not in ("PGWEIR", "PGBIN"):
            del env[name]
    return env


def quote(text):
    return '"%s"' % text.replace('"', '""')


def userlist_text(users):
    return "".join("%s %s\n" % (quote(name), quote(secret)) for name, secret in users.items())


def convert(oid, value):
    """Console values by their types: int4, int8 and numeric are numbers."""
    return int(value) if value is not None and oid in (20, 23, 1700) else value


class Pooler:
    """
    Writes the files; start() runs them. `settings`, `databases`, `users` and `userlist` are
    dictionaries that a test may change before reload(); None as a setting's value leaves it out.
    A database entry without a host gets that of `server`. `ini` replaces the whole file.
    """

    def __init__(self, server=None, databases=None, users=None, userlist=None, ini=None,
                 folder=None, **settings):
        self.folder = folder or tempfile.mkdtemp(prefix="pgweir-")
        os.chmod(self.folder, 0o755)
        give_away(self.folder)
        self.server = server
        self.socket_dir = self.folder
        self.host = "127.0.0.1"
        self.port = free_port()
        self.ini = os.path.join(self.folder, "pooler.ini")
        self.userlist_file = os.path.join(self.folder, "userlist.txt")
        self.log_file = os.path.join(self.folder, "pooler.log")
        self.pid_file = os.path.join(self.folder, "pooler.pid")
        self.databases = databases if databases is not None else {
            name: "" for name in ("p0", "p1", "p2", "p3", "p4", "p5")}
        self.users = users or {}
        self.userlist = dict(USERS if userlist is None else userlist)
        self.userlist_raw = None
        self.ini_raw = ini
        self.settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.socket_dir,
            "logfile": self.log_file,
            "auth_type": "trust",
            "auth_file": self.userlist_file,
            "admin_users": ADMIN,
            "stats_users": STATS,
            "server_login_retry": "0.3",
        }
        self.settings.update(settings)
        self.process = None
        self.expected_exit = None
        self.clients = []
        self.connections_made = 0
        self.stderr_file = os.path.join(self.folder, "stderr")

    # Files

    def entry(self, text):
        if "host=" in text or self.server is None:
            return text
        return "host=127.0.0.1 port=%d %s" % (self.server.port, text)

    def ini_text(self):
        if self.ini_raw is not None:
            return self.ini_raw
        lines = ["[databases]"]
        lines += ["%s = %s" % (name, self.entry(text)) for name, text in self.databases.items()]
        lines += ["[users]"]
        lines += ["%s = %s" % (name, text) for name, text in self.users.items()]
        lines += ["[pgbouncer]"]
        lines += ["%s = %s" % (name, value) for name, value in self.settings.items()
                  if value is not None]
        return "\n".join(lines) + "\n"

    def write(self):
        if self.userlist_raw is not None:
            text = self.userlist_raw
        else:
            text = userlist_text({ADMIN: ADMIN_PASSWORD, STATS: STATS_PASSWORD, **self.userlist})
        self.write_file(self.userlist_file, text)
        self.write_file(self.ini, self.ini_text())

    def write_file(self, path, text):
        """Replaces a file whole; also a size-preserving change within a second is noticed."""
        with open(path + ".new", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        give_away(path + ".new")
        os.replace(path + ".new", path)

    # Process

    def command(self, *arguments):
        return [BINARY, *(arguments or ("--quiet", self.ini))]

    def spawn(self, *arguments, **popen):
        """Starts it and does not wait."""
        options = {**unprivileged(), "cwd": self.folder, "env": environment(),
                   "stdin": subprocess.DEVNULL}
        with open(self.stderr_file, "ab") as errors:
            options.setdefault("stdout", errors)
            options.setdefault("stderr", errors)
            options.update(popen)
            self.process = subprocess.Popen(self.command(*arguments), **options)
        self.pid = self.process.pid
        return self.process

    def start(self, *arguments, **popen):
        self.write()
        self.spawn(*arguments, **popen)
        wait_for(self.is_ready, "the pooler is ready:\n" + self.output(), timeout=10, pause=0.005)
        return self

    def run(self, *arguments, **popen):
        """Runs it to its end, for command lines that do not stay: (exit code, stdout, stderr)."""
        options = {**unprivileged(), "cwd": self.folder, "env": environment(),
                   "stdin": subprocess.DEVNULL, "capture_output": True, "text": True,
                   "timeout": 20 * SLACK}
        options.update(popen)
        done = subprocess.run(self.command(*arguments), **options)
        return done.returncode, done.stdout, done.stderr

    def is_ready(self):
        if self.process.poll() is not None:
            self.expected_exit = self.process.returncode
            raise RuntimeError("exit %r at start:\n%s" % (self.process.returncode, self.output()))
        return "process up" in self.log() + self.stderr()

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self):
        """Writes the files again and sends SIGHUP; returns when it has been handled."""
        self.write()
        self.admin("RELOAD")

    def expect_exit(self, code=0, timeout=5):
        """The process ends now; at the teardown nobody misses it."""
        self.expected_exit = code
        try:
            got = self.process.wait(timeout * SLACK)
            assert got == code or is_reference(), "exit %r:\n%s" % (got, self.output())
        except subprocess.TimeoutExpired:
            raise AssertionError("still running:\n" + self.output()) from None

    def stop(self):
        """What every test ends with: checks that it lived, and that it ends well."""
        if self.process is None:
            return
        try:
            if self.expected_exit is None:
                assert self.process.poll() is None, "it died, exit %r:\n%s" % (
                    self.process.returncode, self.output())
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    self.process.send_signal(signal.SIGINT)
                self.expect_exit(0)
            self.check_output()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_output(self):
        text = self.output()
        assert "FATAL @" not in text, text
        for word in SANITIZER_WORDS:
            assert word not in text, text[-8000:]

    def log(self):
        try:
            with open(self.log_file, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stderr(self):
        try:
            with open(self.stderr_file, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def output(self):
        return (self.log() + self.stderr())[-20000:]

    def wait_log(self, text, count=1, timeout=5):
        wait_for(lambda: self.log().count(text) >= count, "in the log: %r" % text, timeout)

    def is_alive(self):
        return is_running(self.pid)

    # Clients

    def wire(self, host=None, timeout=wire.TIMEOUT):
        """A raw connection; nothing sent yet."""
        self.connections_made += 1
        client = wire.Client(host or self.host, self.port, timeout)
        self.clients.append(client)
        return client

    def client(self, database="p0", user="bob", password=None, host=None, **parameters):
        """A raw client, logged in."""
        if password is None:
            password = self.userlist.get(user, "")
        return self.wire(host).login(user, database, password, **parameters)

    def connect(self, dbname="p0", user="bob", **arguments):
        """A psycopg connection."""
        self.connections_made += 1
        arguments.setdefault("host", self.host)
        arguments.setdefault("port", self.port)
        arguments.setdefault("password", self.userlist.get(user, ""))
        arguments.setdefault("autocommit", True)
        arguments.setdefault("prepare_threshold", None)
        arguments.setdefault("sslmode", "disable")
        arguments.setdefault("gssencmode", "disable")
        arguments.setdefault("connect_timeout", 20)
        connection = psycopg.connect(dbname=dbname, user=user, **arguments)
        self.clients.append(connection)
        return connection

    def sql(self, sql, values=None, **arguments):
        """One statement through the pooler on a connection of its own."""
        with self.connect(**arguments) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, **arguments):
        return self.sql(sql, **arguments)[0][0]

    def close_clients(self):
        for client in self.clients:
            try:
                client.close()
            except Exception:
                pass
        self.clients = []

    # Console

    def console(self, user=ADMIN, password=None, host=None):
        """A raw console session, by the Unix socket unless told otherwise."""
        if password is None:
            password = {ADMIN: ADMIN_PASSWORD, STATS: STATS_PASSWORD}.get(user, "")
        if host is None:
            host = self.settings.get("unix_socket_dir") or self.host
        return self.wire(host).login(user, "pgbouncer", password)

    def command_result(self, sql):
        client = self.console()
        try:
            return client.query(sql)
        finally:
            client.close()
            self.clients.remove(client)

    def admin(self, sql):
        """A console command; its rows as dictionaries."""
        result = self.command_result(sql)
        return [{column.name: convert(column.oid, value)
                 for column, value in zip(result.columns, row)} for row in result.rows]

    def show(self, item, **where):
        """Rows of SHOW whose columns have these values."""
        return [row for row in self.admin("SHOW " + item)
                if all(row[name] == value for name, value in where.items())]

    def pool(self, database="p0", user="bob"):
        """The row of SHOW POOLS, or one of zeros."""
        rows = self.show("POOLS", database=database, user=user)
        assert len(rows) < 2
        return rows[0] if rows else dict.fromkeys(
            ("cl_active", "cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req",
             "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used",
             "sv_tested", "sv_login", "maxwait", "maxwait_us"), 0)

    def servers(self, database="p0", user="bob"):
        """The number of server connections of a pool that have logged in."""
        row = self.pool(database, user)
        return sum(row[name] for name in ("sv_active", "sv_idle", "sv_used", "sv_tested"))

    def wait_pool(self, database="p0", user="bob", timeout=5, **columns):
        """Waits until the row of SHOW POOLS has these values."""
        def matches():
            row = self.pool(database, user)
            got = {name: row[name] for name in columns}
            assert got == columns, got
            return True
        wait_for(matches, "SHOW POOLS %s/%s has %r" % (database, user, columns), timeout)

    def config(self, key):
        (row,) = self.show("CONFIG", key=key)
        return row["value"]

    def list_items(self):
        return {row["list"]: row["items"] for row in self.show("LISTS")}

    def stats(self, database="p0"):
        rows = self.show("STATS", database=database)
        return rows[0] if rows else {}
