"""The command line, starting and stopping the process, pidfile, sockets, log lines."""

import os
import pwd
import re
import resource
import signal
import socket
import stat
import subprocess

import pytest

from support import wire
from support.pooler import BINARY, VERSION
from support.process import free_port, is_running, unprivileged, user_name, wait_for

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[(\d+)\] "
                      r"(FATAL|ERROR|WARNING|LOG|DEBUG|NOISE) \S")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def stopped(make_pooler):
    """Files written, nothing started."""
    pooler = make_pooler()
    pooler.write()
    return pooler


# Options

@pytest.mark.pgweir_only("its version")
def test_version_line_names_pgbouncer_first():
    """Tools read the word PgBouncer and a dotted number from it."""
    assert re.match(r"^PgBouncer 1\.25\.2 \(pgweir [^ ()]+\)$", VERSION)


@pytest.mark.parametrize("option", ["-V", "--version", "--vers"])
def test_version_lists_libraries(stopped, option):
    code, out, _ = stopped.run(option)
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("PgBouncer ")
    assert any(line.startswith("libevent ") for line in lines)
    assert any(line.startswith("adns: ") for line in lines)
    assert any(line.startswith("tls: ") for line in lines)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(stopped, option):
    code, out, _ = stopped.run(option)
    assert code == 0
    for word in ("--daemon", "--quiet", "--user", "--verbose", "--version", "--help"):
        assert word in out


def test_version_wins_over_a_missing_file(stopped):
    assert stopped.run("-V", "/nonexistent")[0] == 0


def test_no_file(stopped):
    code, _, err = stopped.run("-q")
    assert code == 1
    assert "%s: no configuration file specified" % BINARY in err
    assert 'Try "%s --help" for more information.' % BINARY in err


def test_two_files(stopped):
    code, _, err = stopped.run(stopped.ini, stopped.ini)
    assert code == 1 and 'Try "%s --help" for more information.' % BINARY in err


def test_unknown_option(stopped):
    code, _, err = stopped.run("--nonsense", stopped.ini)
    assert code == 1 and "nonsense" in err
    assert 'Try "%s --help" for more information.' % BINARY in err


def test_missing_file(stopped):
    code, _, err = stopped.run("/nonexistent/pooler.ini")
    assert code == 1 and "/nonexistent/pooler.ini" in err


def test_broken_file_stops_the_start(stopped):
    stopped.settings["nonsense"] = "1"
    stopped.write()
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "nonsense" in err and "FATAL" in err


# --check

@pytest.mark.pgweir_only("no --check")
@pytest.mark.parametrize("option", ["--check", "-t"])
def test_check_accepts_a_good_file(stopped, option):
    code, out, err = stopped.run(option, stopped.ini)
    assert code == 0, out + err
    assert not os.path.exists(os.path.join(stopped.socket_dir, ".s.PGSQL.%d" % stopped.port))


@pytest.mark.pgweir_only("no --check")
@pytest.mark.parametrize("option", ["--check", "-t"])
def test_check_lists_every_error(stopped, option):
    stopped.databases["broken"] = "host=127.0.0.1 nonsense=1"
    stopped.settings.update(default_pool_size="many", pool_mod="session", auth_type="whatever")
    stopped.write()
    code, out, err = stopped.run(option, stopped.ini)
    said = out + err
    assert code == 1
    for word in ("nonsense", "default_pool_size", "pool_mod", "whatever"):
        assert word in said
    for number in (line for line, text in enumerate(stopped.ini_text().split("\n"), 1)
                   if text.startswith(("broken", "default_pool_size", "pool_mod ", "auth_type"))):
        assert "%s:%d" % (stopped.ini, number) in said


@pytest.mark.pgweir_only("no --check")
def test_check_reads_the_userlist(stopped):
    stopped.userlist_raw = '"bob" "secret"\nbob without quotes\n'
    stopped.write()
    code, out, err = stopped.run("--check", stopped.ini)
    assert code == 1 and stopped.userlist_file in out + err


@pytest.mark.pgweir_only("no --check")
def test_check_of_a_missing_file(stopped):
    assert stopped.run("--check", "/nonexistent.ini")[0] == 1


@pytest.mark.pgweir_only("no --check")
def test_check_beside_a_running_one(start_pooler):
    """A configuration is tested before the reload, so the sockets are in use."""
    pooler = start_pooler(pidfile=None)
    assert pooler.run("--check", pooler.ini)[0] == 0
    assert pooler.value("SELECT 1") == 1


@pytest.mark.pgweir_only("no --check")
@as_root
def test_check_as_root(stopped):
    """The administrator checks as root what runs as somebody else."""
    assert stopped.run("--check", stopped.ini, user=0, group=0)[0] == 0


# The name of the program

def test_link_named_pgbouncer(make_pooler):
    """Tools look for the process by its name."""
    pooler = make_pooler()
    link = os.path.join(pooler.folder, "pgbouncer")
    os.symlink(BINARY, link)
    pooler.command = lambda *arguments: [link, *(arguments or ("--quiet", pooler.ini))]
    pooler.start()
    with open("/proc/%d/comm" % pooler.pid) as file:
        assert file.read() == "pgbouncer\n"
    assert pooler.value("SELECT 1") == 1


def test_argv_is_kept(pooler):
    with open("/proc/%d/cmdline" % pooler.pid, "rb") as file:
        assert file.read().split(b"\0")[1:3] == [b"--quiet", pooler.ini.encode()]


# Start

def test_order_of_the_first_lines(start_pooler):
    pooler = start_pooler(pidfile="pooler.pid")
    lines = [line.split("] LOG ", 1)[1] for line in pooler.log().splitlines() if "] LOG " in line]
    wanted = ["kernel file descriptor limit", "listening on 127.0.0.1:%d" % pooler.port,
              "listening on unix:%s/.s.PGSQL.%d" % (pooler.socket_dir, pooler.port),
              "process up: PgBouncer "]
    places = [next(i for i, line in enumerate(lines) if line.startswith(want)) for want in wanted]
    assert places == sorted(places)


def test_log_line_format(pooler):
    pooler.value("SELECT 1")
    for line in pooler.log().splitlines():
        match = LOG_LINE.match(line)
        assert match, line
        assert int(match.group(1)) == pooler.pid


def test_log_lines_of_a_connection(pooler):
    """The lines that log readers match."""
    pooler.value("SELECT 1")
    pooler.wait_log("closing because: client close request")
    log = pooler.log()
    prefix = r"C-0x[0-9a-f]+: p0/bob@127\.0\.0\.1:\d+ "
    assert re.search(prefix + r"login attempt: db=p0 user=bob tls=no", log)
    assert re.search(prefix + r"closing because: client close request \(age=\d+s\)", log)
    assert re.search(r"S-0x[0-9a-f]+: p0/bob@127\.0\.0\.1:%d new connection to server "
                     r"\(from 127\.0\.0\.1:\d+\)" % pooler.server.port, log)


@pytest.mark.pgweir_only("the word is missing there")
def test_login_attempt_names_the_replication_kind(pooler):
    pooler.value("SELECT 1")
    assert "login attempt: db=p0 user=bob tls=no replication=no" in pooler.log()


def test_log_line_precedes_what_the_client_sees(pooler):
    """Scripts wait for the error and then read the log once."""
    client = pooler.wire()
    client.startup("bob", "nowhere")
    client.expect_any_error()
    assert 'pooler error: no such database: nowhere' in pooler.log()


def test_stderr_shows_the_log_unless_quiet(make_pooler):
    pooler = make_pooler()
    pooler.start(pooler.ini)
    assert "process up" in pooler.stderr()
    assert all(LOG_LINE.match(line) for line in pooler.stderr().splitlines())


def test_quiet_says_nothing(pooler):
    pooler.value("SELECT 1")
    assert pooler.stderr() == ""


@pytest.mark.parametrize("count,seen", [(0, False), (1, True)])
def test_verbose(make_pooler, count, seen):
    pooler = make_pooler()
    pooler.start("-q", *["-v"] * count, pooler.ini)
    assert pooler.config("verbose") == str(count)
    pooler.value("SELECT 1")
    assert ("] DEBUG " in pooler.log()) == seen


def test_unwritable_logfile(stopped):
    stopped.settings["logfile"] = "/nonexistent/pooler.log"
    stopped.write()
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "FATAL Cannot open logfile: '/nonexistent/pooler.log'" in err


@pytest.mark.pgweir_only("the limit is not raised")
def test_descriptor_limit_is_raised(make_pooler):
    pooler = make_pooler(max_client_conn="1000")

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    pooler.start(preexec_fn=limit)
    with open("/proc/%d/limits" % pooler.pid) as file:
        (line,) = (line for line in file if line.startswith("Max open files"))
    assert line.split()[3:5] == ["4096", "4096"]
    assert re.search(r"kernel file descriptor limit: \d+ \(hard: 4096\); max_client_conn: 1000, "
                     r"max expected fd use: \d+", pooler.log())


@pytest.mark.pgweir_only("not said there")
def test_a_low_descriptor_limit_is_told(make_pooler):
    """So that nobody finds out at the 150th client."""
    pooler = make_pooler(max_client_conn="1000")
    pooler.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)))
    assert any("WARNING" in line and "max_client_conn" in line
               for line in pooler.log().splitlines())
    assert pooler.value("SELECT 1") == 1


def test_relative_paths(make_pooler):
    """They start at the working directory, as the test programs of PgBouncer's users expect."""
    pooler = make_pooler(logfile="pooler.log", auth_file="userlist.txt", pidfile="pooler.pid",
                         auth_type="md5")
    pooler.start("--quiet", "pooler.ini")
    assert pooler.value("SELECT 1") == 1
    with open(pooler.pid_file) as file:
        assert file.read() == "%d\n" % pooler.pid


# Listening

@pytest.mark.pgweir_only("it starts with what is left")
def test_all_tcp_addresses_in_use(stopped):
    with socket.create_server(("127.0.0.1", stopped.port)):
        code, _, err = stopped.run(stopped.ini)
    assert code == 1
    assert "failed to listen on any address in listen_addr list: 127.0.0.1" in err


def test_one_tcp_address_in_use_is_a_warning(make_pooler):
    pooler = make_pooler(listen_addr="127.0.0.1, 127.0.0.2")
    with socket.create_server(("127.0.0.2", pooler.port)):
        pooler.start()
    assert re.search(r"WARNING .*127\.0\.0\.2", pooler.log())
    assert pooler.value("SELECT 1") == 1


def test_several_tcp_addresses(start_pooler):
    pooler = start_pooler(listen_addr="127.0.0.1,127.0.0.3")
    assert pooler.value("SELECT 1", host="127.0.0.3") == 1


def test_nowhere_to_listen(stopped):
    stopped.settings.update(listen_addr="", unix_socket_dir="")
    stopped.write()
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "nowhere to listen on" in err


def test_unix_socket_only(make_pooler):
    pooler = make_pooler(listen_addr="")
    pooler.host = pooler.socket_dir
    pooler.start()
    assert pooler.value("SELECT 1") == 1


def test_unix_socket_in_use(pooler):
    """A second one does not take the socket from the first."""
    pooler.settings["listen_port"] = pooler.port
    code, _, err = pooler.run(pooler.ini)
    assert code == 1 and "unix socket is in use, cannot continue" in err
    assert pooler.value("SELECT 1", host=pooler.socket_dir) == 1


def test_unix_socket_lock_file(stopped):
    with open("%s/.s.PGSQL.%d.lock" % (stopped.socket_dir, stopped.port), "w") as file:
        file.write("1\n")
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "unix port %d is in use" % stopped.port in err


def test_stale_unix_socket_is_replaced(make_pooler):
    pooler = make_pooler()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("%s/.s.PGSQL.%d" % (pooler.socket_dir, pooler.port))
    pooler.start()
    assert pooler.value("SELECT 1", host=pooler.socket_dir) == 1


@pytest.mark.pgweir_only("it starts with what is left")
def test_missing_socket_folder(stopped):
    stopped.settings["unix_socket_dir"] = "/nonexistent"
    stopped.write()
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "FATAL" in err


def test_unix_socket_mode(start_pooler):
    pooler = start_pooler(unix_socket_mode="0750")
    path = "%s/.s.PGSQL.%d" % (pooler.socket_dir, pooler.port)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
    assert pooler.config("unix_socket_mode") in ("488", "0750")


@pytest.mark.pgweir_only("an unknown group is found later there")
def test_unix_socket_group_unknown(stopped):
    stopped.settings["unix_socket_group"] = "no-such-group"
    stopped.write()
    code, _, err = stopped.run(stopped.ini)
    assert code == 1 and "no-such-group" in err


def test_unix_socket_is_removed_at_exit(pooler):
    path = "%s/.s.PGSQL.%d" % (pooler.socket_dir, pooler.port)
    assert os.path.exists(path)
    pooler.signal(signal.SIGTERM)
    pooler.expect_exit(0)
    assert not os.path.exists(path)


def test_abstract_unix_socket(make_pooler):
    pooler = make_pooler()
    pooler.settings["unix_socket_dir"] = "@pgweir-%d" % pooler.port
    pooler.write()
    pooler.console = lambda **_: pooler.wire().login("admin", "pgbouncer", "admin-pw")
    pooler.start()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0pgweir-%d/.s.PGSQL.%d" % (pooler.port, pooler.port))
        sock.sendall(wire.special_packet(wire.SSL_REQUEST))
        assert sock.recv(1) == b"N"


# Daemon and pidfile

@pytest.fixture
def daemon(make_pooler):
    """Started with -d; the process is ended by its number."""
    pooler = make_pooler(pidfile="pooler.pid")
    pooler.settings["pidfile"] = pooler.pid_file
    pooler.write()
    code, out, err = pooler.run("-d", pooler.ini)
    assert code == 0, out + err
    wait_for(lambda: os.path.exists(pooler.pid_file) and "process up" in pooler.log(), "pidfile")
    with open(pooler.pid_file) as file:
        pooler.pid = int(file.read())
    yield pooler
    if is_running(pooler.pid):
        os.kill(pooler.pid, signal.SIGQUIT)
        wait_for(lambda: not is_running(pooler.pid), "the daemon ends")
    pooler.check_output()


def test_daemon_serves(daemon):
    assert daemon.value("SELECT 1") == 1
    assert os.getsid(daemon.pid) != os.getsid(0)
    for fd in (0, 1, 2):
        assert os.readlink("/proc/%d/fd/%d" % (daemon.pid, fd)) == "/dev/null"
    assert os.readlink("/proc/%d/cwd" % daemon.pid) == daemon.folder


def test_daemon_removes_its_pidfile(daemon):
    assert stat.S_IMODE(os.stat(daemon.pid_file).st_mode) == 0o644
    os.kill(daemon.pid, signal.SIGTERM)
    wait_for(lambda: not is_running(daemon.pid), "the daemon ends")
    assert not os.path.exists(daemon.pid_file)


def test_daemon_needs_a_pidfile(stopped):
    code, _, err = stopped.run("-d", stopped.ini)
    assert code == 1 and "daemon needs pidfile configured" in err


def test_daemon_reports_configuration_errors(stopped):
    stopped.settings.update(pidfile=stopped.pid_file, nonsense="1")
    stopped.write()
    assert stopped.run("-d", stopped.ini)[0] == 1


@pytest.mark.pgweir_only("older text")
def test_pidfile_of_a_running_process(daemon):
    daemon.settings.update(listen_port=free_port())
    daemon.write_file(daemon.ini, daemon.ini_text())
    code, _, err = daemon.run(daemon.ini)
    assert code == 1
    assert "pidfile '%s' exists, another instance running?" % daemon.pid_file in err


@pytest.mark.pgweir_only("older text")
@pytest.mark.parametrize("content", ["", "garbage\n"])
def test_unreadable_pidfile(stopped, content):
    stopped.settings["pidfile"] = stopped.pid_file
    stopped.write()
    stopped.write_file(stopped.pid_file, content)
    code, _, err = stopped.run(stopped.ini)
    assert code == 1
    assert "pidfile '%s' exists, another instance running?" % stopped.pid_file in err


def test_stale_pidfile_is_replaced(make_pooler):
    ended = subprocess.Popen(["true"])
    ended.wait()
    pooler = make_pooler()
    pooler.settings["pidfile"] = pooler.pid_file
    pooler.write_file(pooler.pid_file, "%d\n" % ended.pid)
    pooler.start()
    assert "stale pidfile, removing" in pooler.log()
    with open(pooler.pid_file) as file:
        assert file.read() == "%d\n" % pooler.pid


# Users

@as_root
def test_root_is_refused(stopped):
    code, _, err = stopped.run(stopped.ini, user=0, group=0)
    assert code == 1 and "should not run as root" in err


@as_root
@pytest.mark.parametrize("how", ["-u", "--user=", "user="])
def test_user_is_switched(make_pooler, how):
    name = user_name()
    entry = pwd.getpwnam(name)
    pooler = make_pooler(user=name if how == "user=" else None)
    options = {"-u": ["-u", name], "--user=": ["--user=" + name], "user=": []}[how]
    pooler.start("--quiet", *options, pooler.ini, user=0, group=0)
    with open("/proc/%d/status" % pooler.pid) as file:
        status = file.read()
    assert re.search(r"^Uid:\s+%d\s+%d\s+%d\s" % ((entry.pw_uid,) * 3), status, re.M)
    assert re.search(r"^Gid:\s+%d\s+%d\s+%d\s" % ((entry.pw_gid,) * 3), status, re.M)
    groups = re.search(r"^Groups:(.*)$", status, re.M).group(1).split()
    assert "0" not in groups
    assert pooler.value("SELECT 1") == 1


@as_root
def test_unknown_user(stopped):
    code, _, err = stopped.run("-u", "no-such-user", stopped.ini, user=0, group=0)
    assert code == 1 and "no-such-user" in err


def test_runs_as_an_ordinary_user(pooler):
    wanted = unprivileged().get("user", os.geteuid())
    assert os.stat("/proc/%d" % pooler.pid).st_uid == wanted


# Core dumps

def test_core_dumps_are_forbidden(make_pooler):
    """Whatever limit it was started with; prlimit lifts the soft limit for who wants to debug."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    pooler = make_pooler()
    witness = subprocess.Popen(["sleep", "60"], cwd=pooler.folder, **unprivileged(),
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited))
    witness.send_signal(signal.SIGABRT)
    witness.wait()
    cores = os.listdir(pooler.folder)
    pooler.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited))
    with open("/proc/%d/limits" % pooler.pid) as file:
        assert re.search(r"^Max core file size +[01] +unlimited ", file.read(), re.M)
    before = set(os.listdir(pooler.folder))
    pooler.signal(signal.SIGABRT)
    pooler.expect_exit(-signal.SIGABRT)
    assert not set(os.listdir(pooler.folder)) - before
    if not cores:
        pytest.skip("the limit is set; this machine writes no core files that could be missed")
