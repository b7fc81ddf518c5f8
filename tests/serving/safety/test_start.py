"""The service starts only with the models that its manifests name, and listens only where it was told to."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.servers import ROOT, Server, copy_project, free_port, serve_command, service_environment, start
from tests.serving.safety.conftest import ELSEWHERE

pytestmark = pytest.mark.pipeline


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "file", "named"),
    [
        (flip_a_byte, "image/model.onnx", "image/model.onnx: sha256 is"),
        (shorten, "text/tokenizer.json", "text/tokenizer.json: sha256 is"),
    ],
)
def test_a_file_that_is_not_the_manifests_ends_the_command(
    models: Path, tmp_path: Path, harm: Callable[[Path], None], file: str, named: str
) -> None:
    """At once, with one line of what, where and what to do; nobody tries again and again."""
    shutil.copytree(models, tmp_path / "models")
    harm(tmp_path / "models" / file)
    port = free_port()
    began = time.monotonic()
    ended = subprocess.run(
        serve_command(port),
        cwd=ROOT,
        env=service_environment(tmp_path / "models"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert time.monotonic() - began < 10
    assert ended.returncode not in (0, None)
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert named in line
    assert "dvc repro" in line
    assert "Traceback" not in ended.stderr
    assert not [connection for connection in psutil.net_connections("tcp") if connection.laddr[1] == port]


def test_a_worker_that_dies_while_the_files_are_wrong_waits_for_right_ones(models: Path, tmp_path: Path) -> None:
    served = Path(shutil.copytree(models, tmp_path / "models"))
    graph = served / "image/model.onnx"
    right = graph.read_bytes()
    with start(served, project=copy_project(tmp_path / "project", workers=2)) as server:
        await_log(server, "Completed async startup hook", times=2)
        flip_a_byte(graph)
        server.workers()[0].kill()
        await_log(server, "a worker waits for a model")
        replaced = server.workers()
        assert requests.post(f"{server.url}/classify_text", json={"text": "goal"}, timeout=10).ok
        graph.write_bytes(right)
        await_log(server, "Completed async startup hook", times=3)
        assert server.workers() == replaced, "it was started again and again"


def await_log(server: Server, words: str, times: int = 1) -> None:
    until = time.monotonic() + 30
    while server.log.read_text().count(words) < times:
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.1)


def test_it_listens_on_loopback_alone(server: Server) -> None:
    assert {ip for ip, _ in addresses(server)} == {"127.0.0.1"}
    assert server.port in {port for _, port in addresses(server)}


def test_it_listens_elsewhere_when_told(guarded: Server) -> None:
    assert {ip for ip, port in addresses(guarded) if port == guarded.port} == {ELSEWHERE}


def addresses(server: Server) -> set[tuple[str, int]]:
    processes = [psutil.Process(server.process.pid), *server.workers()]
    connections = [connection for process in processes for connection in process.net_connections("inet")]
    return {tuple(connection.laddr) for connection in connections if connection.status == psutil.CONN_LISTEN}
