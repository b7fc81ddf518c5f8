"""What an image is built from, and a service that has done all that its metrics tell of."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from relu_pipeline.demo import sample_digit
from tests import servers

WINDOW = 200
REFUSED = 'relu_reloads_total{result="refused",task="text"} '


@pytest.fixture(scope="session")
def context(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after `dvc repro`, as far as an image is built from it, with files that have no place in one."""
    folder = servers.copy_project(tmp_path_factory.mktemp("context"))
    for name in ("requirements", "deploy"):
        shutil.copytree(servers.ROOT / name, folder / name)
    shutil.copy(servers.ROOT / ".dockerignore", folder)
    shutil.copytree(models, folder / "models")
    (folder / "deploy/.env").write_text("POSTGRES_PASSWORD=secret\n")
    return folder


@pytest.fixture(scope="session")
def busy_service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that has answered, refused, judged drift and refused new model files."""
    project = servers.copy_project(tmp_path_factory.mktemp("busy"), workers=1, **{"drift.window": WINDOW})
    shutil.copytree(models, project / "models")
    with servers.start(project / "models", project=project) as server:
        text = "The striker wins the cup final"
        for path, content, status in (
            ("/classify_texts", {"json": {"texts": [text] * WINDOW}}, 200),
            ("/classify_text", {"json": {"text": text}}, 200),
            ("/classify_text", {"json": {"text": ""}}, 400),
            ("/classify_image", {"files": {"image": sample_digit()}}, 200),
        ):
            assert requests.post(f"{server.url}{path}", timeout=10, **content).status_code == status
        _spoil(project / "models/text/manifest.json")
        _await_refusal(server.url)
        yield server.url


def _spoil(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    content["files"]["model.onnx"] = "0" * 64
    manifest.write_text(json.dumps(content))


def _await_refusal(url: str) -> None:
    deadline = time.monotonic() + 15
    while f"{REFUSED}1.0" not in requests.get(f"{url}/metrics", timeout=10).text:
        assert time.monotonic() < deadline, "the spoiled model was not refused within 15 s"
        time.sleep(0.2)
