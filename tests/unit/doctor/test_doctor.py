"""`relu-pipeline doctor` in real projects with real faults."""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from relu_pipeline.doctor.machine import check_resources
from relu_pipeline.recipes import apply_recipe
from relu_pipeline.tracking.outbox import Outbox
from tests.params import set_param
from tests.repository import commit_all
from tests.servers import free_port
from tests.terminal import run_on_a_terminal

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "relu_pipeline.cli", "doctor"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project on the built-in data, which is no git repository."""
    folder = tmp_path / "project"
    for name in ("configs", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    apply_recipe(ROOT / "configs/demo.yaml", folder / "params.yaml")
    return folder


@pytest.fixture
def committed(project: Path) -> Path:
    commit_all(project)
    return project


def environment(**variables: str) -> dict[str, str]:
    foreign = ("RELU_DATA_MIRROR", "MLFLOW_TRACKING_URI", "DVC_ROOT", "NO_COLOR", "PYTHONIOENCODING")
    return {name: value for name, value in os.environ.items() if name not in foreign} | variables


def examine(folder: Path, *words: str, **variables: str) -> tuple[dict[str, Mapping[str, Any]], int]:
    """Return the checks by name, and the exit status."""
    command = [*COMMAND, "--json", *(words or ("--port", str(free_port())))]
    done = subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )
    checks = json.loads(done.stdout)
    failed = sum(check["level"] == "error" for check in checks)
    assert done.returncode == bool(failed)
    assert done.stderr == (f"error: {failed} of {len(checks)} checks failed\n" if failed else "")
    assert all((check["level"] == "ok") == (check["fix"] is None) for check in checks)
    return {check["name"]: check for check in checks}, done.returncode


def errors(checks: dict[str, Mapping[str, Any]]) -> set[str]:
    return {name for name, check in checks.items() if check["level"] == "error"}


def test_a_sound_project_has_no_errors(committed: Path) -> None:
    checks, status = examine(committed)
    assert (errors(checks), status) == (set(), 0)
    assert {"python", "packages", "git", "dvc", "params", "data image", "data text", "tracking", "outbox"} < set(checks)
    assert {"onnxruntime", "gpu", "train image", "port", "disk", "memory"} < set(checks)
    assert "ExecutionProvider" in checks["onnxruntime"]["message"]
    assert checks["tracking"]["message"] == "mlflow.db, which the first run creates"
    assert not (committed / "mlflow.db").exists()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=committed, capture_output=True, text=True, check=True)
    assert checks["git"]["message"] == f"commit {head.stdout[:12]}"


def test_a_store_that_is_there_is_asked(committed: Path) -> None:
    (committed / "mlflow.db").write_text("no database")
    checks, _ = examine(committed)
    assert errors(checks) == {"tracking"}
    assert "mlflow db upgrade" in checks["tracking"]["fix"]


def test_each_fault_is_found_beside_the_others(project: Path, tmp_path: Path) -> None:
    set_param(project / "params.yaml", "tasks.image", "configs/data/cifar10.yaml")
    set_param(project / "params.yaml", "tasks.text", "reviews.csv")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "SHA256SUMS").write_text(f"{'0' * 64}  cifar-10-binary.tar.gz\n")
    old = tmp_path / "old/tqdm-4.1.dist-info/METADATA"
    old.parent.mkdir(parents=True)
    old.write_text("Metadata-Version: 2.1\nName: tqdm\nVersion: 4.1\n")
    path = os.pathsep.join([str(tmp_path / "old"), str(ROOT / "src"), str(ROOT)])
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = str(occupied.getsockname()[1])
        server = f"http://user:secret@127.0.0.1:{free_port()}"
        variables = {"RELU_DATA_MIRROR": str(mirror), "MLFLOW_TRACKING_URI": server, "PYTHONPATH": path}
        checks, _ = examine(project, "--port", port, **variables)
    assert errors(checks) == {"packages", "git", "dvc", "data image", "data text", "tracking"}
    assert checks["packages"]["message"] == "tqdm 4.1 is installed, but >=4.67 is needed"
    assert "not a git checkout" in checks["git"]["message"]
    assert checks["data image"]["message"].startswith(f"{mirror}/cifar-10-binary.tar.gz: no such file")
    assert checks["data text"]["message"] == "reviews.csv: no such file or folder"
    assert "does not respond" in checks["tracking"]["message"]
    assert "secret" not in str(checks)
    assert checks["port"]["level"] == "warning"
    assert checks["port"]["message"].startswith(port)


@pytest.mark.slow
def test_no_password_of_a_database_is_printed(committed: Path) -> None:
    variables = environment(MLFLOW_TRACKING_URI=f"postgresql://user:secret@127.0.0.1:{free_port()}/mlflow")
    done = subprocess.run(COMMAND, cwd=committed, env=variables, capture_output=True, text=True, check=False)
    assert "secret" not in done.stdout + done.stderr
    assert "unset MLFLOW_TRACKING_URI" in done.stdout
    assert done.returncode == 1


def test_a_broken_params_yaml_is_named_with_its_key(committed: Path) -> None:
    set_param(committed / "params.yaml", "image.train.max_epochs", "many")
    checks, _ = examine(committed)
    assert errors(checks) == {"params"}
    assert "image.train.max_epochs" in checks["params"]["message"]
    assert "git checkout params.yaml" in checks["params"]["fix"]


def test_a_broken_dvc_yaml_is_named(committed: Path) -> None:
    (committed / "dvc.yaml").write_text("stages:\n  train: {}\n")
    checks, _ = examine(committed)
    assert errors(checks) == {"dvc"}
    assert "dvc.yaml" in checks["dvc"]["message"]


def test_a_broken_package_is_an_error_beside_the_other_checks(tmp_path: Path) -> None:
    for package in ("onnxruntime", "packaging"):
        module = tmp_path / "broken" / package / "__init__.py"
        module.parent.mkdir(parents=True)
        module.write_text("raise ImportError('libstdc++.so.6: cannot open shared object file')\n")
    path = os.pathsep.join([str(tmp_path / "broken"), str(ROOT / "src"), str(ROOT)])
    checks, _ = examine(tmp_path, PYTHONPATH=path)
    assert {"onnxruntime", "python"} < errors(checks)
    assert "libstdc++.so.6" in checks["onnxruntime"]["message"]
    assert "make setup" in checks["onnxruntime"]["fix"]
    assert {"port", "disk", "memory"} < set(checks)


def test_outside_of_a_project_it_says_so(tmp_path: Path) -> None:
    checks, _ = examine(tmp_path, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    assert errors(checks) == {"git", "project"}
    assert checks["project"]["message"] == f"{tmp_path} has no params.yaml and dvc.yaml"
    assert list(tmp_path.iterdir()) == []


class Publisher(http.server.BaseHTTPRequestHandler):
    """Offers the images alone."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.endswith(".tar.gz") else 404)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def use_published_data(project: Path, url: str) -> None:
    """Let params.yaml name CIFAR-10 and AG News, whose publisher is at `url`."""
    for task, name in (("image", "cifar10"), ("text", "ag_news")):
        description = f"configs/data/{name}.yaml"
        set_param(project / "params.yaml", f"tasks.{task}", description)
        text = re.sub(r"url: https://.*/", f"url: {url}/", (project / description).read_text())
        (project / description).write_text(text)


def test_the_publisher_is_asked_for_each_file(committed: Path, publisher: str) -> None:
    use_published_data(committed, publisher)
    checks, _ = examine(committed)
    assert errors(checks) == {"data text"}
    assert checks["data image"]["message"].endswith("the publisher can be reached")
    assert checks["data text"]["message"] == f"{publisher}/train.csv: status 404 Not Found"


def test_without_a_network_data_that_are_not_downloaded_are_an_error(committed: Path) -> None:
    use_published_data(committed, f"http://127.0.0.1:{free_port()}")
    for name in ("train.csv", "test.csv"):
        download = committed / "data/downloads/ag_news" / name
        download.parent.mkdir(parents=True, exist_ok=True)
        download.touch()
    checks, _ = examine(committed)
    assert errors(checks) == {"data image"}
    assert checks["data image"]["message"].startswith("no network: ")
    assert "make demo" in checks["data image"]["fix"]


def test_what_waits_for_the_store_is_a_warning(committed: Path) -> None:
    def away(entry: Mapping[str, Any], folder: Path) -> None:
        from relu_pipeline.errors import TrackingError

        raise TrackingError("away")

    with Outbox(committed / "mlflow-outbox/earlier", away, patience_s=0) as outbox:
        outbox.put({"step": 1})
    with Outbox(committed / "mlflow-outbox/running", away, patience_s=0) as outbox:
        outbox.put({"step": 1})
        checks, _ = examine(committed)
    assert checks["outbox"]["level"] == "warning"
    assert checks["outbox"]["message"].endswith("mlflow-outbox/: 1")
    assert checks["outbox"]["fix"] == "relu-pipeline send-metrics"


def on_a_terminal(folder: Path, **variables: str) -> str:
    return run_on_a_terminal([*COMMAND, "--port", str(free_port())], folder, environment(**variables))


def test_colours_and_marks_follow_terminal_and_environment(tmp_path: Path) -> None:
    coloured = on_a_terminal(tmp_path, PYTHONIOENCODING="utf-8")
    assert "\033[32m\N{CHECK MARK}\033[0m disk" in coloured
    assert "\033[31m\N{BALLOT X}\033[0m project" in coloured
    assert "fix: " in coloured
    plain = on_a_terminal(tmp_path, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "\033" not in plain
    assert "\nok      disk" in plain
    assert "\nerror   project" in plain
    for line, below in pairwise([*plain.splitlines(), ""]):
        if line.startswith(("ok ", "warning ", "error ")):
            assert below.lstrip().startswith("fix: ") == (not line.startswith("ok ")), line


@pytest.mark.parametrize(("needed_gb", "level"), [(10**9, "error"), (0, "warning")])
def test_little_disk_space_is_a_warning_and_too_little_an_error(
    needed_gb: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relu_pipeline.doctor.machine.ADVISED_DISK_GB", 10**9)
    monkeypatch.setattr("relu_pipeline.doctor.machine.NEEDED_DISK_GB", needed_gb)
    (disk,) = (check for check in check_resources() if check.name == "disk")
    assert disk.level == level
    assert "free disk space" in disk.fix


@pytest.mark.parametrize(("advised_gb", "level"), [(10**9, "warning"), (0, "ok")])
def test_little_memory_is_a_warning(advised_gb: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relu_pipeline.doctor.machine.ADVISED_MEMORY_GB", advised_gb)
    (memory,) = (check for check in check_resources() if check.name == "memory")
    assert memory.level == level
