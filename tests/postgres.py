"""A real PostgreSQL server for tests."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.servers import free_port

DEBIAN = "/usr/lib/postgresql"  # its programs are in VERSION/bin, which is not on the PATH
LOG = "server.log"
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class Cluster:
    """A running server. `folder`: all that it writes, with its log."""

    port: int
    password: str
    folder: Path

    @property
    def uri(self) -> str:
        return f"postgresql://relu:{self.password}@127.0.0.1:{self.port}/postgres"


@contextmanager
def postgres() -> Iterator[Cluster]:
    """Run a new, empty server on a free port of the loopback interface, until the block ends.

    Where PostgreSQL is not installed the test is skipped, or fails if CI is set.
    """
    programs = _programs()
    # PostgreSQL refuses root.
    account = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with TemporaryDirectory(prefix="postgres-") as scratch:
        shutil.chown(scratch, account.get("user", os.geteuid()))
        cluster, secret = Cluster(free_port(), secrets.token_hex(), Path(scratch) / "data"), Path(scratch) / "password"
        secret.write_text(cluster.password)
        secret.chmod(0o644)  # in a folder that this account alone may enter
        words = ["-D", cluster.folder, "-U", "relu", "--auth", "scram-sha-256", "--pwfile", secret, "--no-sync"]
        subprocess.run([programs / "initdb", *words], cwd="/", check=True, capture_output=True, **account)
        secret.unlink()
        words = ["-D", cluster.folder, "-p", str(cluster.port)]
        for setting in ("listen_addresses=127.0.0.1", "unix_socket_directories=", "log_statement=all"):
            words += ["-c", setting]
        with (cluster.folder / LOG).open("wb") as log:
            server = subprocess.Popen([programs / "postgres", *words], cwd="/", stdout=log, stderr=log, **account)
        try:
            _await_ready(programs, server, cluster)
            yield cluster
        finally:
            server.send_signal(signal.SIGINT)  # which does not wait for clients
            server.wait(STOP_TIMEOUT_S)


def _programs() -> Path:
    found = [
        Path(path).resolve().parent for path in [shutil.which("initdb"), *Path(DEBIAN).glob("*/bin/initdb")] if path
    ]
    if not found:
        reason = "PostgreSQL is not installed: `apt-get install postgresql`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found[-1]


def _await_ready(programs: Path, server: subprocess.Popen[bytes], cluster: Cluster) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    command = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(cluster.port)]
    while subprocess.run(command, check=False).returncode:
        assert server.poll() is None, (cluster.folder / LOG).read_text()
        assert time.monotonic() < deadline, (cluster.folder / LOG).read_text()
        time.sleep(0.1)
