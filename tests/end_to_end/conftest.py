"""Servers of a test's own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import free_port
from tests.needs import POSTGRES


@pytest.fixture
def postgres(tmp_path):
    """The address of a PostgreSQL server of this test's own, on loopback."""
    place = Path(f"/tmp/gatebench-postgres-{os.getpid()}")  # noqa: S108 (a socket's path must be short)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    user = {"user": "postgres"} if os.geteuid() == 0 else {}  # the server refuses to run as root
    if user:
        shutil.chown(place, "postgres")
    data, port = place / "data", free_port()
    run = {"check": True, "capture_output": True, "cwd": place, **user}
    subprocess.run([POSTGRES / "initdb", "-D", data, "-U", "gatebench", "--auth=trust"], **run)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
    subprocess.run([POSTGRES / "pg_ctl", "-D", data, "-w", "-l", place / "log", "-o", options, "start"], **run)
    yield f"postgresql+psycopg2://gatebench@127.0.0.1:{port}/postgres"
    subprocess.run([POSTGRES / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
    shutil.rmtree(place, ignore_errors=True)
