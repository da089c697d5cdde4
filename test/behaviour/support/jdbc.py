"""PostgreSQL's JDBC driver, where there is one."""

import os
import subprocess

import pytest

JDBC = "/usr/share/java/postgresql.jar"


def _is_there():
    try:
        return os.path.exists(JDBC) and subprocess.run(["javac", "-version"],
                                                       capture_output=True).returncode == 0
    except OSError:
        return False


needs_jdbc = pytest.mark.skipif(not _is_there(), reason="needs a JDK and libpostgresql-jdbc-java")
