"""The service starts only with the files that its manifests name and a usable key, and listens only where it should."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.servers import ROOT, Server, copy_project, free_port, serve_command, service_environment, start
from tests.serving.safety.conftest import ELSEWHERE

pytestmark = pytest.mark.slow


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
def test_an_altered_file_ends_the_command(
    models: Path, tmp_path: Path, harm: Callable[[Path], None], file: str, named: str
) -> None:
    shutil.copytree(models, tmp_path / "models")
    harm(tmp_path / "models" / file)
    line = error_of_command(tmp_path / "models", {})
    assert named in line
    assert "dvc repro" in line


def test_a_folder_without_models_ends_the_command(tmp_path: Path) -> None:
    line = error_of_command(tmp_path, {})
    assert str(tmp_path) in line
    assert "dvc repro" in line


def test_a_wrong_setting_ends_the_command(models: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project", deadline_x=3, **{"limits.batch_items": 0})
    line = error_of_command(models, {}, project)
    assert "configs/serving.yaml: " in line
    assert "limits.batch_items: Input should be greater than 0" in line
    assert "deadline_x: Extra inputs are not permitted" in line


@pytest.mark.parametrize("key", ["", " ", "\n"])
def test_an_empty_key_ends_the_command(models: Path, key: str) -> None:
    """It would otherwise be a service that anyone may use, or one that nobody can."""
    assert "RELU_API_KEY is empty" in error_of_command(models, {"RELU_API_KEY": key})


def error_of_command(models: Path, environment: Mapping[str, str], project: Path = ROOT) -> str:
    """Return the one line with which `bentoml serve` ends at once."""
    port = free_port()
    began = time.monotonic()
    with subprocess.Popen(
        serve_command(port),
        cwd=project,
        env=service_environment(models) | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as ended:
        try:
            _, written = ended.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):  # as it should be
                os.killpg(ended.pid, signal.SIGKILL)  # its workers would outlive it
    assert time.monotonic() - began < 10
    assert ended.returncode not in (0, None)
    (line,) = [line for line in written.splitlines() if line.startswith("error:")]
    assert "Traceback" not in written
    assert not [connection for connection in psutil.net_connections("tcp") if connection.laddr[1] == port]
    return line


def test_a_worker_that_is_replaced_while_the_files_are_wrong_waits_for_right_ones(models: Path, tmp_path: Path) -> None:
    served = Path(shutil.copytree(models, tmp_path / "models"))
    graph = served / "image/model.onnx"
    right = graph.read_bytes()
    with start(served, project=copy_project(tmp_path / "project", workers=2)) as server:
        await_log(server, "Completed async startup hook", times=2)
        flip_a_byte(graph)
        server.workers()[0].kill()
        await_log(server, "the worker waits for a valid model")
        replaced = server.workers()
        assert requests.post(f"{server.url}/classify_text", json={"text": "goal"}, timeout=10).ok
        graph.write_bytes(right)
        await_log(server, "Completed async startup hook", times=3)
        assert server.workers() == replaced, "it was started again and again"


def await_log(server: Server, words: str, times: int = 1) -> None:
    until = time.monotonic() + 45  # BentoML looks for dead workers every ten seconds
    while server.log.read_text().count(words) < times:
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.1)


def test_it_listens_on_the_loopback_interface_alone(server: Server) -> None:
    assert {ip for ip, _ in addresses(server)} == {"127.0.0.1"}
    assert server.port in {port for _, port in addresses(server)}


def test_it_listens_on_the_host_of_its_command_line(guarded: Server) -> None:
    assert {ip for ip, port in addresses(guarded) if port == guarded.port} == {ELSEWHERE}


def addresses(server: Server) -> set[tuple[str, int]]:
    processes = [psutil.Process(server.process.pid), *server.workers()]
    connections = [connection for process in processes for connection in process.net_connections("inet")]
    return {tuple(connection.laddr) for connection in connections if connection.status == psutil.CONN_LISTEN}
