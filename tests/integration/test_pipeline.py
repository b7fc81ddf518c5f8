"""The demo as a user runs it, through real DVC, MLflow, ONNX Runtime and BentoML, and what holds afterwards."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import mlflow
import pytest
import requests

from relu_pipeline import artifacts
from relu_pipeline.artifacts import DataReport, Manifest, Parity
from relu_pipeline.config import load_params
from relu_pipeline.demo import FOREIGN, copy_project, serving
from relu_pipeline.recipes import apply_recipe
from tests.dvc_queue import run_queue
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
pytestmark = pytest.mark.slow


def dvc(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def start_training(project: Path, task: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.train", task],
        cwd=project,
        env=ENVIRONMENT | environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def send(project: Path, uri: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "relu_pipeline.cli", "send-metrics"]
    environment = ENVIRONMENT | {"MLFLOW_TRACKING_URI": uri}
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)


class Server:
    """A real MLflow server on a store of its own, that can go away and come back."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        store = f"sqlite:///{self.folder / 'server.db'}"
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", store, "--artifacts-destination", str(self.folder / "server-artifacts")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # of GenAI: processes of 240 MB
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(360):
            try:
                if requests.get(f"{self.uri}/health", timeout=1).ok:
                    return
            except requests.RequestException:
                time.sleep(0.5)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


def stages_run(result: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", result.stdout)


def contents(project: Path) -> dict[str, str]:
    made = (
        path
        for folder in ("data", "checkpoints", "models", "reports", "dist")
        for path in (project / folder).rglob("*")
    )
    # An unfinished training's own state is not an artifact.
    return {str(path): artifacts.sha256_of(path) for path in made if path.is_file() and "training" not in path.parts}


def test_git_sees_nothing_but_the_lock_file_and_the_demos_own_changes(project: Path) -> None:
    def status(folder: Path) -> set[str]:
        words = ["git", "status", "--porcelain"]
        return set(subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines())

    made = status(project) - {" M params.yaml", "?? dvc.lock", "?? serve.log"}
    assert {line[3:] for line in made} <= {line[3:] for line in status(ROOT)}


def test_a_second_repro_runs_nothing(project: Path) -> None:
    result = dvc(project, "repro")
    assert result.returncode == 0, result.stderr
    assert stages_run(result) == []


def test_every_artifact_of_the_contract_is_there(project: Path) -> None:
    for task in ("image", "text"):
        manifest = artifacts.read(project / f"models/{task}/manifest.json", Manifest)
        parity = artifacts.read(project / f"reports/{task}/parity.json", Parity)
        metrics = json.loads((project / f"reports/{task}/metrics.json").read_text())
        assert {"accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "loss"} <= set(metrics)
        assert manifest.version.startswith("demo-")
        assert parity.onnx_accuracy == pytest.approx(metrics["accuracy"], abs=1e-6)
        assert parity.onnx_accuracy > 0.9
        for name, digest in manifest.files.items():
            assert artifacts.sha256_of(project / f"models/{task}/{name}") == digest
        report = artifacts.read(project / f"reports/{task}/{artifacts.DATA_REPORT}", DataReport)
        assert report.source.labels == manifest.labels
        names = ("data.md", "data.png", "relu_health.csv", "relu_health.png", "drift.csv", "drift.png", "pruning.json")
        for name in names:
            assert (project / f"reports/{task}/{name}").is_file()
    assert (project / "dist/relu_pipeline.bento").is_file()


def test_metrics_and_plots_show_what_dvcs_users_expect(project: Path) -> None:
    metrics = json.loads(dvc(project, "metrics", "show", "--json").stdout)[""]["data"]
    assert metrics[str(Path("reports/image/metrics.json"))]["data"]["accuracy"] > 0.9
    assert max(map(len, dvc(project, "metrics", "show").stdout.splitlines())) <= 120
    plots = dvc(project, "plots", "show")
    assert plots.returncode == 0, plots.stderr
    page = (project / "dvc_plots/index.html").read_text()
    for name in ("accuracy by epoch", "dead units by layer, image", "confusion, image", "mistakes.png"):
        assert name in page


def test_one_run_a_model_holds_training_and_test_figures(project: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True)
    for task in ("image", "text"):
        (found,) = mlflow.search_runs(experiment_names=[f"relu-pipeline-{task}"], output_format="list")
        assert found.info.status == "FINISHED"
        metrics = {"val/accuracy", "learning_rate", "test/accuracy", "drift_auroc/unshifted"}
        assert metrics | {"parity/onnx_accuracy"} <= set(found.data.metrics)
        assert len(found.data.metrics) <= 50
        assert found.data.tags["mlflow.source.git.commit"].removesuffix("-dirty") == commit.stdout.strip()
        assert "dvc" in found.data.tags["mlflow.note.content"]
        assert found.data.params["seed"] == "42"
        assert f"{task}.train.learning_rate" in found.data.params
        assert not {"image.model.mlp.activation", "image.model.resnet18.stem"} & set(found.data.params)
        assert {"evaluate.calibration_bins", "drift.window", "export.opset"} <= set(found.data.params)
        assert {used.tags[0].value for used in found.inputs.dataset_inputs} == {"training", "validation", "testing"}
        version = mlflow.MlflowClient().get_model_version_by_alias(f"relu-pipeline-{task}", "candidate")
        assert version.run_id == found.info.run_id
        data_report = {file.path for file in mlflow.MlflowClient().list_artifacts(found.info.run_id, "data")}
        assert data_report == {"data/data.json", "data/data.md", "data/data.png"}


def test_the_study_is_one_run_with_a_child_for_each_training(project: Path) -> None:
    result = dvc(project, "repro", "study/dvc.yaml")
    assert result.returncode == 0, result.stderr
    assert "| confirmed |" in (project / "reports/study/study.md").read_text()
    assert "overview.png" in dvc(project, "plots", "show", "--json").stdout
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-study"])
    children = runs[runs["tags.mlflow.parentRunId"].notna()]
    assert len(children) == len(runs) - 1
    assert set(children["params.activation"]) == {"relu", "leaky_relu", "prelu", "elu", "gelu", "sigmoid", "tanh"}
    assert children["metrics.val/accuracy"].between(0, 1).all()
    assert set(runs["status"]) == {"FINISHED"}


@pytest.mark.parametrize("task", ["image", "text"])
def test_one_task_alone_runs_is_packed_and_served(tmp_path: Path, task: str) -> None:
    project = tmp_path / "project"
    copy_project(ROOT, project)
    apply_recipe(project / "configs/demo.yaml", project / "params.yaml")
    set_param(project / "params.yaml", "tasks", {task: load_params(project / "params.yaml").tasks[task]})
    result = dvc(project, "repro")
    assert result.returncode == 0, result.stderr
    stages = ("download", "validate", "prepare", "train", "evaluate", "drift", "export")
    assert set(stages_run(result)) == {*(f"{stage}@{task}" for stage in stages), "package"}
    assert [path.name for path in (project / "models").iterdir()] == [task]
    with tarfile.open(project / artifacts.BENTO) as bento:
        assert {name.split("/models/")[1].split("/")[0] for name in bento.getnames() if "/models/" in name} == {task}
    for words in (("metrics", "show"), ("plots", "show")):
        assert dvc(project, *words).returncode == 0
    with serving(project, ENVIRONMENT) as url:
        assert list(requests.get(f"{url}/info", timeout=10).json()["models"]) == [task]


def test_models_of_a_task_that_is_no_longer_named_are_not_packed(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    set_param(project / "params.yaml", "tasks", {"text": load_params(project / "params.yaml").tasks["text"]})
    packed = dvc(project, "repro")
    with tarfile.open(project / artifacts.BENTO) as bento:
        names = bento.getnames()
    (project / "params.yaml").write_text(params)
    again = dvc(project, "repro")
    assert (stages_run(packed), stages_run(again)) == (["package"], [])
    assert not any("models/image" in name for name in names)


def test_bad_input_is_one_line_and_leaves_every_artifact(project: Path) -> None:
    before = contents(project)
    params = (project / "params.yaml").read_text()
    for key, value, message in (
        ("text.train.learning_rat", 1.0, "text.train.learning_rat: unknown key"),
        ("text.train.batch_size", "many", "text.train.batch_size"),
        ("text.prepare.val_fraction", 7.0, "text.prepare.val_fraction"),
    ):
        set_param(project / "params.yaml", key, value)
        result = dvc(project, "repro")
        (project / "params.yaml").write_text(params)
        errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert result.returncode != 0
        assert len(errors) == 1
        assert message in errors[0]
        assert "`dvc checkout` restores" in errors[0]
    assert dvc(project, "checkout").returncode == 0
    assert contents(project) == before


def test_bad_data_stop_before_preparation_and_the_report_says_why(project: Path) -> None:
    before, params = contents(project), (project / "params.yaml").read_text()
    set_param(project / "params.yaml", "validation.max_shared", 0.001)
    result = dvc(project, "repro")
    (project / "params.yaml").write_text(params)
    assert result.returncode != 0
    assert stages_run(result) == ["validate@image", "validate@text"]
    assert "error: 32 of 400 (8 %) test examples are also in train" in result.stderr
    assert "raise validation.max_shared (0.001)" in (project / "reports/text/data.md").read_text()
    again = dvc(project, "repro")
    assert stages_run(again) == []  # DVC's run cache has them
    assert contents(project) == before


def test_without_a_tracking_server_all_stages_succeed_and_what_they_log_waits(project: Path, server: "Server") -> None:
    before = contents(project)
    server.stop()
    for stage in ("train", "evaluate", "drift", "export"):
        words = ("repro", "--force", "--single-item", f"{stage}@text")
        result = dvc(project, *words, MLFLOW_TRACKING_URI=server.uri)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        assert "does not respond" in result.stderr
    assert {path: digest for path, digest in contents(project).items() if before[path] != digest}.keys() <= {
        str(project / "reports/text/history.csv")  # with its seconds
    }
    server.start()
    sent = send(project, server.uri)
    assert sent.returncode == 0, sent.stderr
    (run,) = mlflow.MlflowClient(server.uri).search_runs(["1"])
    assert (run.info.status, run.data.tags["task"]) == ("FINISHED", "text")
    assert {"val/accuracy", "test/accuracy", "drift_auroc/unshifted", "int8/accuracy"} <= set(run.data.metrics)
    assert mlflow.MlflowClient(server.uri).get_model_version_by_alias("relu-pipeline-text", "candidate").version


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_is_cut_off_leaves_every_artifact(project: Path, sign: signal.Signals) -> None:
    before = contents(project)
    params = (project / "params.yaml").read_text()
    set_param(project / "params.yaml", "text.train.max_epochs", 1000)
    training = start_training(project, "text")
    try:
        assert training.stderr is not None
        assert any(line.startswith("epoch 2/") for line in training.stderr)
        training.send_signal(sign)
        training.communicate(timeout=60)
    finally:
        training.kill()
        (project / "params.yaml").write_text(params)
    assert training.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[sign]
    assert contents(project) == before
    subprocess.run(
        [sys.executable, "-m", "relu_pipeline.cli", "send-metrics"], cwd=project, env=ENVIRONMENT, check=True
    )
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    last = mlflow.search_runs(experiment_names=["relu-pipeline-text"], output_format="list", max_results=1)[0]
    assert last.info.status == "KILLED"


def test_a_changed_evaluation_reruns_no_training(project: Path) -> None:
    module = project / "src/relu_pipeline/evaluation/pictures.py"
    module.write_text(module.read_text() + "\n")
    result = dvc(project, "repro")
    assert result.returncode == 0, result.stderr
    assert stages_run(result) == ["evaluate@image", "evaluate@text"]


def test_a_setting_of_the_service_evaluates_nothing_again(project: Path) -> None:
    settings = project / "configs/serving.yaml"
    before = settings.read_text()
    ran = []
    for key, value in (("limits.batch_items", 100), ("drift.window", 300)):
        set_param(settings, key, value)
        result = dvc(project, "repro")
        assert result.returncode == 0, result.stderr
        ran.append(set(stages_run(result)))
        settings.write_text(before)
    shown = {"export@image", "export@text"}  # in the model cards
    assert ran == [{"package"}, {"drift@image", "drift@text", *shown, "package"}]
    assert stages_run(dvc(project, "repro")) == []


def test_a_changed_text_parameter_reruns_text_stages_only(project: Path) -> None:
    images = {path: digest for path, digest in contents(project).items() if "/image/" in path}
    result = dvc(project, "exp", "run", "-S", "text.train.max_epochs=2")
    assert result.returncode == 0, result.stderr
    assert set(stages_run(result)) == {"train@text", "evaluate@text", "drift@text", "export@text", "package"}
    assert {path: digest for path, digest in contents(project).items() if "/image/" in path} == images


def test_a_parameter_there_and_back_costs_nothing(project: Path) -> None:
    before = contents(project)
    dvc(project, "repro")
    for epochs, trained in ((4, ["train@text"]), (2, [])):
        result = dvc(project, "exp", "run", "-S", f"text.train.max_epochs={epochs}", "-S", "health.max_growth=11")
        assert result.returncode == 0, result.stderr
        assert [stage for stage in stages_run(result) if stage.startswith("train")] == trained
        later = {"evaluate@text", "drift@text", "export@text", "package"} if trained else set()
        assert set(stages_run(result)) - {"train@text"} == later
    assert {path for path, digest in contents(project).items() if before[path] != digest} == set()


def test_the_queued_code_of_an_experiment_is_the_code_that_runs(project: Path) -> None:
    module = project / "src/relu_pipeline/evaluation/pictures.py"
    source = module.read_text()
    module.write_text(source + "\nprint('the queued code ran')\n")
    queued = dvc(project, "exp", "run", "--queue", "--name", "queued-code")
    module.write_text(source)
    assert queued.returncode == 0, queued.stderr
    run_queue(project, ENVIRONMENT)
    logs = dvc(project, "queue", "logs", "queued-code")
    assert "the queued code ran" in logs.stdout + logs.stderr


def test_a_training_that_is_killed_at_random_moments_ends_with_the_same_bytes(project: Path) -> None:
    expected = artifacts.sha256_of(project / "checkpoints/image/best.ckpt")
    for epoch in (1, 2, 4):
        training = start_training(project, "image")
        try:
            assert training.stderr is not None
            assert any(line.startswith(f"epoch {epoch}/") for line in training.stderr)
            time.sleep(random.uniform(0, 0.2))
        finally:
            training.kill()
            training.communicate()
    resumed = start_training(project, "image")
    lines = resumed.communicate(timeout=120)[1].splitlines()
    assert resumed.returncode == 0
    assert not any(line.startswith("epoch 1/") for line in lines)
    assert artifacts.sha256_of(project / "checkpoints/image/best.ckpt") == expected
    assert len((project / "reports/image/history.csv").read_text().splitlines()) == 1 + 6
    assert not (project / "checkpoints/image/training").exists()


def test_a_tracking_server_that_goes_away_loses_nothing(project: Path, server: Server) -> None:
    set_param(project / "params.yaml", "image.train.max_epochs", 12)
    training = start_training(project, "image", MLFLOW_TRACKING_URI=server.uri)
    assert training.stderr is not None
    assert any(line.startswith("epoch 2/") for line in training.stderr)
    server.stop()
    errors = training.communicate(timeout=180)[1]
    assert training.returncode == 0
    assert "`relu-pipeline send-metrics`" in errors
    server.start()
    assert send(project, server.uri).returncode == 0
    assert not list((project / "mlflow-outbox").glob("*/"))
    (run,) = mlflow.MlflowClient(server.uri).search_runs(["1"])
    assert run.info.status == "FINISHED"
    history = mlflow.MlflowClient(server.uri).get_metric_history(run.info.run_id, "val/accuracy")
    assert [metric.step for metric in history] == list(range(12))
