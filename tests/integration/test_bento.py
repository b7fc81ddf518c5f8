"""The Bento as users of BentoML meet it: its tag, and the commands that the stage prints and docs/deploy.md gives."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from relu_pipeline.demo import FOREIGN, TEXT
from tests.documents import blocks
from tests.servers import free_port

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
START_TIMEOUT_S = 180
pytestmark = pytest.mark.slow


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )


def pack(project: Path) -> tuple[str, str]:
    """Return the tag that the stage prints, and the command."""
    done = run("python -m pipelines.package", project)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"dist/relu_pipeline\.bento: (\S+), [\d.]+ MB; next: (.+)\n", done.stdout)
    assert found, done.stdout
    return found[1], found[2]


def documented() -> list[str]:
    (block,) = blocks("docs/deploy.md", "sh", "Bento")
    return block.commands()


def test_changed_code_is_another_bento_and_the_same_content_is_the_same(finished: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    first, command = pack(finished)
    assert pack(finished)[0] == first
    assert run(command, finished, BENTOML_HOME=home).returncode == 0
    pages = finished / "serving/pages.py"
    pages.write_text(pages.read_text() + "# another comment\n")
    second, command = pack(finished)
    assert second != first
    imported = run(command, finished, BENTOML_HOME=home)
    assert imported.returncode == 0, imported.stderr
    packed = tmp_path / "home/bentos" / second.replace(":", "/") / "src/serving/pages.py"
    assert packed.read_text() == pages.read_text()


def test_the_documented_commands_import_and_serve(finished: Path, tmp_path: Path) -> None:
    importing, serving = documented()
    assert run("python -m pipelines.package", finished).stdout.strip().endswith(importing)
    home = str(tmp_path / "home")
    imported = run(importing, finished, BENTOML_HOME=home)
    assert imported.returncode == 0, imported.stderr
    (tmp_path / "elsewhere").mkdir()
    port = free_port()
    # A shell hands its process over to the last command, which then gets the signal.
    server = subprocess.Popen(
        ["bash", "-c", f"exec {serving} --port {port}"],
        cwd=tmp_path / "elsewhere",
        env=ENVIRONMENT | {"BENTOML_HOME": home},
    )
    try:
        answer = ask(f"http://127.0.0.1:{port}", server)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    assert answer["label"] == "Business"


def ask(url: str, server: subprocess.Popen[bytes]) -> dict[str, object]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            response = requests.post(f"{url}/classify_text", json={"text": TEXT}, timeout=5)
        except requests.RequestException:
            time.sleep(0.2)
            continue
        if response.ok:
            return response.json()
    raise AssertionError("no answer")
