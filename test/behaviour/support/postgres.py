"""A throw-away PostgreSQL: temporary folder, loopback, an unprivileged user."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile

import psycopg

from support.process import free_port, give_away, unprivileged, user_name, wait_for

# The server's question is decided by the user; see HBA.
PASSWORDS = {"plainuser": "plain-pw", "md5user": "md5-pw", "scramuser": "scram-pw"}
TRUSTED = ("bob", "alice", "carol", "tlsonly", "certuser")
DATABASES = ("p0", "p1", "p2", "p3", "p4", "p5")

HBA = """
local all all trust
host all plainuser 127.0.0.1/32 password
host all md5user 127.0.0.1/32 md5
host all scramuser 127.0.0.1/32 scram-sha-256
host all rejected 127.0.0.1/32 reject
host replication replicator 127.0.0.1/32 trust
host replication all 127.0.0.1/32 reject
hostssl all tlsonly 127.0.0.1/32 trust
hostssl all certuser 127.0.0.1/32 cert
host all tlsonly,certuser 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
"""

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
port = {port}
max_connections = 300
superuser_reserved_connections = 10
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
ssl = off
max_prepared_transactions = 4
wal_level = logical
wal_keep_size = 64MB
log_min_messages = warning
timezone = 'GMT'
"""


def find_program(name):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name),
                   key=lambda path: int(path.split("/")[4]))
    path = os.environ.get("PGBIN") and os.path.join(os.environ["PGBIN"], name)
    path = path or (found[-1] if found else shutil.which(name))
    if not path:
        raise RuntimeError("%s is missing; install the package postgresql" % name)
    return path


READY = "database system is ready to accept connections"


class Postgres:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pgweir-pg-")
        os.chmod(self.folder, 0o755)
        give_away(self.folder)
        self.data = os.path.join(self.folder, "data")
        self.host = "127.0.0.1"
        self.socket_dir = self.folder
        self.port = free_port()
        self.superuser = user_name()
        self._run("initdb", "--pgdata", self.data, "--auth", "trust", "--no-sync",
                  "--encoding", "UTF8", "--no-locale", "--username", self.superuser)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as file:
            file.write(SETTINGS.format(folder=self.folder, port=self.port))
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as file:
            file.write(HBA)
        self.start()
        for name in TRUSTED:
            self.sql("CREATE ROLE %s LOGIN" % name, dbname="postgres")
        self.create_role("replicator", options="LOGIN REPLICATION")
        for name, password in PASSWORDS.items():
            self.create_role(name, password, "md5" if name == "md5user" else "scram-sha-256")
        for name in DATABASES:
            self.sql("CREATE DATABASE %s" % name, dbname="postgres")
            self.sql("GRANT ALL ON SCHEMA public TO public", dbname=name)

    def _run(self, program, *arguments):
        done = subprocess.run([find_program(program), *arguments], capture_output=True, text=True,
                              cwd=self.folder, **unprivileged())
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent",
                  "--log", os.path.join(self.folder, "log"), "start")

    def stop(self, mode="immediate"):
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent", "--mode", mode, "stop")

    def use_tls(self, certificates=None, name="server"):
        """Turns TLS on with this certificate, for new connections; without certificates: off."""
        values = {"ssl": "off"}
        if certificates:
            values = {"ssl": "on", "ssl_cert_file": certificates.file(name + ".crt"),
                      "ssl_key_file": certificates.file(name + ".key"),
                      "ssl_ca_file": certificates.file("ca.crt")}
        for setting, value in values.items():
            self.sql("ALTER SYSTEM SET %s = '%s'" % (setting, value))
        self.sql("SELECT pg_reload_conf()")
        for setting, value in values.items():
            wait_for(lambda: self.value("SHOW " + setting) == value, "PostgreSQL has read it again")

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def remove(self):
        if self.is_up():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_up(self):
        return os.path.exists(os.path.join(self.data, "postmaster.pid"))

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as file:
            return file.read()

    def connect(self, dbname="p0", user=None, **arguments):
        """A direct connection, past the pooler, by default as the superuser."""
        return psycopg.connect(host=self.socket_dir, port=self.port, dbname=dbname,
                               user=user or self.superuser, autocommit=True, **arguments)

    def sql(self, sql, values=None, dbname="p0"):
        """Runs a statement as the superuser and returns its rows."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, values=None, dbname="p0"):
        return self.sql(sql, values, dbname)[0][0]

    def create_role(self, name, password=None, encryption="scram-sha-256", options="LOGIN"):
        with self.connect("postgres") as connection:
            connection.execute("SET password_encryption = '%s'" % encryption)
            connection.execute("CREATE ROLE %s %s" % (name, options))
            if password is not None:
                connection.execute("ALTER ROLE %s PASSWORD '%s'" % (name, password))

    def stored_secret(self, role):
        return self.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,))

    def backends(self, where="true"):
        """(pid, datname, usename, state) of the clients' backends, our own apart."""
        return self.sql("SELECT pid, datname, usename, state FROM pg_stat_activity WHERE"
                        " backend_type = 'client backend' AND pid <> pg_backend_pid() AND " + where)

    def terminate(self, where="true"):
        """Ends backends as an administrator would; returns their number."""
        return len(self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                            " backend_type = 'client backend' AND pid <> pg_backend_pid() AND "
                            + where))

    def kill_backend(self, pid):
        """kill -9: the whole server recovers from it. wait_recovered() tells when."""
        self.starts_seen = self.log().count(READY)
        os.kill(pid, signal.SIGKILL)

    def wait_recovered(self):
        wait_for(lambda: self.log().count(READY) > self.starts_seen, "PostgreSQL has recovered",
                 timeout=30)
        self.wait_ready()

    def wait_ready(self):
        def answers():
            try:
                return self.value("SELECT 1", dbname="postgres") == 1
            except psycopg.Error:
                return False
        wait_for(answers, "PostgreSQL answers", timeout=20)

    def sweep(self):
        """After a test: nobody is connected."""
        if not self.is_up():
            self.start()
        self.wait_ready()
        if self.backends():
            self.terminate()
            wait_for(lambda: not self.backends(), "the backends have ended", timeout=10)
