"""`relu-pipeline ask`, `predict` and `swap` with a running service."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from relu_pipeline.demo import sample_digit
from serving.model import read_verified
from tests.servers import Server, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the models, because the tests swap one."""
    return Path(shutil.copytree(models, tmp_path_factory.mktemp("served") / "models"))


@pytest.fixture(scope="module")
def server(served: Path) -> Iterator[Server]:
    with start(served, {"RELU_API_KEY": "secret"}) as running:
        yield running


def command(*words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relu_pipeline.cli", *words],
        env=os.environ | {"RELU_API_KEY": "secret"} | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_ask_shows_the_answer_to_each_image(server: Server, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(sample_digit())
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = command("ask", "image", str(tmp_path / "digit.png"), str(tmp_path / "broken.png"), "--url", server.url)
    assert found.returncode == 0, found.stderr
    assert "digit.png: " in found.stdout
    assert "broken.png: The file is not a readable PNG, JPEG or WebP image." in found.stdout
    assert "model: relu-pipeline-image demo-" in found.stdout


def test_ask_shows_the_answer_to_each_text(server: Server) -> None:
    found = command("ask", "text", "The striker wins the cup final", "--url", f"{server.url}/")
    assert found.returncode == 0, found.stderr
    assert "The striker wins the cup final: Sports" in found.stdout


def test_predict_gives_the_answers_of_the_service(server: Server, served: Path, tmp_path: Path) -> None:
    texts = ["The striker wins the cup final", "Oil prices fall", " Élections 🎉\n", "?!"]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    headers = {"Authorization": "Bearer secret"}
    precision = requests.get(f"{server.url}/info", headers=headers, timeout=10).json()["precision"]["text"]
    words = ("--models", str(served), "--precision", precision, "--out", str(tmp_path / "out.csv"))
    found = command("predict", "text", str(tmp_path / "texts.jsonl"), *words)
    assert found.returncode == 0, found.stderr
    answer = requests.post(f"{server.url}/classify_texts", json={"texts": texts}, headers=headers, timeout=10).json()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, entry in zip(rows, answer["predictions"], strict=True):
        assert row["label"] == entry["label"]
        assert float(row["probability"]) == pytest.approx(entry["probability"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (("image", "missing.png"), {}, "missing.png: No such file or directory"),
        (("text", "", " "), {}, "The text is empty"),
        (("text", "a"), {"RELU_API_KEY": "wrong"}, "Authorization: Bearer KEY"),
        (("text", "a", "--url", "http://127.0.0.1:9"), {}, "make serve"),
    ],
)
def test_ask_ends_with_one_line_where_it_cannot_answer(
    server: Server, words: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    found = command("ask", words[0], "--url", server.url, *words[1:], environment=environment)
    assert found.returncode == 1
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.fixture
def other(models: Path, tmp_path: Path) -> Path:
    """The text model of another export: with other labels and another version."""
    folder = Path(shutil.copytree(models / "text", tmp_path / "other"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"version": "demo-1", "labels": [f"new {label}" for label in manifest["labels"]]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def version_of(models: Path) -> str:
    return json.loads((models / "text/manifest.json").read_text())["version"]


def versions(server: Server) -> set[str]:
    """Return the versions that answer: of many requests, so that each worker gets some."""
    answers = [
        requests.post(
            f"{server.url}/classify_text",
            json={"text": "The striker wins"},
            headers={"Authorization": "Bearer secret"},
            timeout=10,
        ).json()
        for _ in range(40)
    ]
    assert all(answer["label"].startswith("new ") == (answer["model"]["version"] == "demo-1") for answer in answers)
    return {answer["model"]["version"] for answer in answers}


def test_swap_puts_a_model_into_a_running_service(server: Server, served: Path, other: Path, models: Path) -> None:
    assert versions(server) == {version_of(models)}
    found = command("swap", "text", str(other), "--models", str(served))
    assert found.returncode == 0, found.stderr
    assert "version demo-1" in found.stdout
    end = time.monotonic() + 15
    while versions(server) != {"demo-1"}:
        assert time.monotonic() < end
        time.sleep(0.2)
    command("swap", "text", str(models / "text"), "--models", str(served))


SWAP_FOR_EVER = """
import sys
from itertools import cycle
from pathlib import Path
from relu_pipeline.swap import swap
for source in cycle(sys.argv[2:]):
    print(swap("text", Path(source), Path(sys.argv[1])), flush=True)
"""


def test_a_swap_that_is_killed_leaves_one_of_the_two_models_whole(models: Path, other: Path, tmp_path: Path) -> None:
    target = tmp_path / "models/text"
    shutil.copytree(models / "text", target)
    for number in range(8):
        words = [sys.executable, "-c", SWAP_FOR_EVER, *map(str, (target, other, models / "text"))]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline().startswith("demo-")
            time.sleep(0.013 * number)
            process.kill()
        manifest, _ = read_verified(target)
        assert manifest["version"] in (version_of(models), "demo-1")
    command("swap", "text", str(other), "--models", str(target.parent))
    assert [path.name for path in target.parent.iterdir()] == ["text"]


def test_swap_changes_nothing_where_a_file_is_not_what_the_manifest_says(served: Path, other: Path) -> None:
    before = (served / "text/manifest.json").read_bytes()
    (other / "model.onnx").write_bytes(b"altered")
    found = command("swap", "text", str(other), "--models", str(served))
    assert found.returncode == 1
    assert "model.onnx: sha256 is" in found.stderr
    found = command("swap", "image", str(other), "--models", str(served))
    assert "of the task text; name a folder with a model of the task image" in found.stderr
    assert (served / "text/manifest.json").read_bytes() == before
