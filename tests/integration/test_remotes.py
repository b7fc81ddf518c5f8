"""Models on their way from one clone to another, by the README's commands, a folder and S3."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TASK_NAMES
from relu_pipeline.demo import FOREIGN, TEXT, serving
from tests.documents import INSTALLED, blocks, followed
from tests.params import set_param
from tests.s3 import s3_bucket
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
AUTHOR = {f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | AUTHOR
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
RELOAD_TIMEOUT_S = 60
S3 = "s3://my-bucket/relu-pipeline"
pytestmark = pytest.mark.slow


def run(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def commands() -> tuple[str, str, str, str]:
    """Return the README's commands: name the remote, push, clone, pull; without `make`, which the tests ran before."""
    block = blocks("docs/remotes.md", "sh")[0]
    assert block.code in (ROOT / "README.md").read_text()
    name, push, clone, pull = (line.partition(" && make")[0] for line in block.commands())
    return name, push, clone, pull


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """What a user of an S3 server of their own has in the environment; the bucket is there."""
    with s3_bucket("my-bucket") as bucket:
        yield bucket.environment


@pytest.fixture
def first(finished: Path) -> Path:
    """The project with an origin of its own; committed is all but what `dvc repro` and a user's edits change."""
    origin = finished.with_name("origin.git")
    for command in (
        f"git init --quiet --bare --initial-branch main {origin} && git remote set-url origin {origin}",
        "git checkout --quiet -B main && git add --all -- . ':!dvc.lock' ':!params.yaml'",
        "git commit --quiet --allow-empty -m 'Working tree' && git push --quiet --set-upstream origin main",
    ):
        run(command, finished, ENVIRONMENT)
    return finished


def clone(first: Path, environment: Mapping[str, str]) -> Path:
    command = commands()[2].replace("ADDRESS", str(first.with_name("origin.git")))
    run(command, first.parent, environment)
    return first.with_name("copy")


def versions(project: Path) -> dict[str, str]:
    return {task: artifacts.read(project / f"models/{task}/manifest.json", Manifest).version for task in TASK_NAMES}


def served(url: str) -> dict[str, str]:
    models = requests.get(f"{url}/info", timeout=10).json()["models"]
    return {task: model["version"] for task, model in models.items()}


def wait_for(url: str, expected: dict[str, str]) -> None:
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while served(url) != expected:
        assert time.monotonic() < deadline, f"{served(url)}, not {expected}"
        time.sleep(0.2)


def test_another_clone_serves_what_was_pushed_to_s3(first: Path, s3: dict[str, str]) -> None:
    environment = ENVIRONMENT | s3
    name, push, _, pull = commands()
    run(name, first, environment)
    run(push, first, environment)
    copy = clone(first, environment)
    run(pull, copy, environment)
    with serving(copy, environment) as url:
        answer = requests.post(f"{url}/classify_text", json={"text": TEXT}, timeout=10).json()
        assert (served(url), answer["label"]) == (versions(first), "Business")
    for left in ("checkpoints", "data", "mlflow.db"):
        assert not (copy / left).exists()
    assert copy.joinpath(".dvc/config").read_text().count(S3) == 1
    files = [path for folder in (first, copy) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if s3["AWS_SECRET_ACCESS_KEY"].encode() in path.read_bytes()] == []


def test_the_commands_on_remotes(first: Path, s3: dict[str, str]) -> None:
    port = str(free_port())
    replaced = {
        "ADDRESS": str(first.with_name("origin.git")),
        "make setup": INSTALLED,
        "make serve": f"bentoml serve --host 127.0.0.1 --port {port}",
        "COMMIT": "HEAD",
    }
    services = {"make serve": f"http://127.0.0.1:{port}/readyz"}
    with followed("docs/remotes.md", first, ENVIRONMENT | s3, replaced, services):
        assert served(f"http://127.0.0.1:{port}") == versions(first)


def test_new_and_earlier_models_come_from_a_folder_and_nothing_is_rerun(first: Path) -> None:
    name, push, _, pull = commands()
    run(name.replace(S3, str(first.with_name("storage"))), first, ENVIRONMENT)
    run(push, first, ENVIRONMENT)
    earlier = versions(first)
    copy = clone(first, ENVIRONMENT)
    run("dvc pull", copy, ENVIRONMENT)
    assert "Running stage" not in run("dvc repro", copy, ENVIRONMENT)
    assert not (copy / "mlflow.db").exists()
    with serving(copy, ENVIRONMENT) as url:
        wait_for(url, earlier)
        set_param(first / "params.yaml", "export.opset", 19)
        run("dvc repro export@text", first, ENVIRONMENT)
        run(push, first, ENVIRONMENT)
        assert versions(first) != earlier
        run(f"git pull --quiet && {pull}", copy, ENVIRONMENT)
        wait_for(url, versions(first))
        run(f"git checkout --quiet HEAD~1 dvc.lock params.yaml && {pull}", copy, ENVIRONMENT)
        wait_for(url, earlier)
