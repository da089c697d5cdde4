"""
Fixtures of the behaviour tests.

`pg` is a PostgreSQL of this worker, `start_pooler` starts poolers in front of it, `pooler` is one
with ordinary settings, `fake_server` starts scripted servers. Everything is stopped, checked and
removed at the end of each test.
"""

import shutil
import signal
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True

from support.certificates import Certificates  # noqa: E402
from support.fake_server import FakeServer, serve_number  # noqa: E402
from support.pooler import BINARY, VERSION, Pooler, is_reference  # noqa: E402
from support.postgres import Postgres  # noqa: E402
from support.process import SLACK  # noqa: E402

def pytest_report_header():
    return "pooler: %s (%s)" % (BINARY, VERSION or "DOES NOT RUN")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("pgweir_only")
        if mark and is_reference():
            item.add_marker(pytest.mark.skip(reason="differs in the stand-in: " + mark.args[0]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs is stopped; its traceback says where."""
    mark = item.get_closest_marker("limit")
    seconds = int((mark.args[0] if mark else 60) * SLACK)

    def stop(*_):
        raise TimeoutError("the test took more than %d s" % seconds)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def postgres_server():
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def pg(postgres_server):
    """The worker's PostgreSQL: up at the start of each test, nobody connected at its end."""
    yield postgres_server
    postgres_server.sweep()


@pytest.fixture(scope="session")
def certificates():
    made = Certificates()
    yield made
    made.remove()


@pytest.fixture
def tls_pg(pg, certificates):
    """The worker's PostgreSQL with TLS, which it has for this test only."""
    pg.use_tls(certificates)
    yield pg
    pg.wait_ready()
    pg.use_tls()


@pytest.fixture
def start_tls_pooler(start_pooler, certificates):
    """As start_pooler, with TLS towards clients. None takes a setting out again."""
    def start(**arguments):
        settings = {"client_tls_sslmode": "prefer", "pool_mode": "transaction",
                    "client_tls_cert_file": certificates.file("server.crt"),
                    "client_tls_key_file": certificates.file("server.key"),
                    "client_tls_ca_file": certificates.file("ca.crt")}
        return start_pooler(**{**settings, **arguments})
    return start


@pytest.fixture
def make_pooler(pg):
    """
    make_pooler(databases=..., users=..., userlist=..., setting=value, ...) writes nothing and
    starts nothing yet.
    """
    made = []

    def make(**arguments):
        arguments.setdefault("server", pg)
        made.append(Pooler(**arguments))
        return made[-1]
    yield make
    failures = []
    for pooler in reversed(made):
        try:
            pooler.stop()
        except BaseException as failure:
            failures.append(failure)
        pooler.close_clients()
        pooler.remove()
    if failures:
        raise failures[0]


@pytest.fixture
def start_pooler(make_pooler):
    """As make_pooler, and running."""
    def start(**arguments):
        return make_pooler(**arguments).start()
    return start


@pytest.fixture
def pooler(start_pooler):
    """Databases p0 to p5, everybody trusted, transaction pooling."""
    return start_pooler(pool_mode="transaction")


@pytest.fixture
def fake_server():
    """fake_server(script) starts a scripted server; the script is called for each connection."""
    servers = []

    def start(script=serve_number, port=0):
        servers.append(FakeServer(script, port))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def node_postgres(tmp_path_factory):
    """A folder with the package pg of the npm registry, where node scripts find it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip("node-postgres needs %s, which is not installed" % program)
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        ["npm", "install", "--prefix", str(folder), "--cache", str(folder / "cache"), "--no-audit",
         "--no-fund", "--no-save", "--fetch-retries=1", "--fetch-timeout=20000", "pg@8"],
        capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        pytest.skip("node-postgres cannot be fetched from the npm registry: " + done.stderr[-300:])
    return folder
