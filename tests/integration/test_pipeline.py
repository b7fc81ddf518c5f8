"""The demo as a user runs it, through real DVC, MLflow, ONNX Runtime and BentoML, and what holds afterwards."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Parity, RunInfo
from relu_pipeline.demo import FOREIGN, run_demo
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project in which the demo has run."""
    scratch = tmp_path_factory.mktemp("demo") / "project"
    run_demo(ROOT, scratch)
    return scratch


def dvc(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def stages_run(result: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", result.stdout)


def contents(project: Path) -> dict[str, str]:
    made = (path for folder in ("data", "models", "reports", "dist") for path in (project / folder).rglob("*"))
    return {str(path): artifacts.sha256_of(path) for path in made if path.is_file()}


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
        assert {"accuracy", "f1_macro", "precision_macro", "recall_macro", "loss"} <= set(metrics)
        assert manifest.version.startswith("demo-")
        assert parity.onnx_accuracy == metrics["accuracy"] > 0.9
        for name, digest in manifest.files.items():
            assert artifacts.sha256_of(project / f"models/{task}/{name}") == digest
    assert (project / "dist/relu_pipeline.bento").is_file()


def test_metrics_and_plots_show_what_dvcs_users_expect(project: Path) -> None:
    metrics = json.loads(dvc(project, "metrics", "show", "--json").stdout)[""]["data"]
    assert metrics[str(Path("reports/image/metrics.json"))]["data"]["accuracy"] > 0.9
    plots = dvc(project, "plots", "show")
    assert plots.returncode == 0, plots.stderr
    page = (project / "dvc_plots/index.html").read_text()
    for name in ("accuracy by epoch", "confusion, image", "mistakes.png"):
        assert name in page


def test_one_run_a_model_holds_training_and_test_figures(project: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    for task in ("image", "text"):
        run = artifacts.read(project / f"models/{task}/run.json", RunInfo)
        found = mlflow.get_run(run.run_id)
        assert found.info.status == "FINISHED"
        assert {"val/accuracy", "learning_rate", "test/accuracy", "parity/onnx_accuracy"} <= set(found.data.metrics)
        assert found.data.tags["mlflow.source.git.commit"] == run.git_commit
        version = mlflow.MlflowClient().get_model_version_by_alias(f"relu-pipeline-{task}", "candidate")
        assert version.run_id == run.run_id


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
    assert contents(project) == before


def test_no_tracking_server_is_one_line_and_leaves_every_artifact(project: Path) -> None:
    before = contents(project)
    result = dvc(project, "repro", "--force", "--single-item", "train@text", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.returncode != 0
    assert "error: the MLflow server http://127.0.0.1:9 does not answer" in result.stderr
    assert contents(project) == before


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_is_cut_off_leaves_every_artifact(project: Path, sign: signal.Signals) -> None:
    before = contents(project)
    params = (project / "params.yaml").read_text()
    set_param(project / "params.yaml", "text.train.max_epochs", 1000)
    training = subprocess.Popen(
        [sys.executable, "-m", "pipelines.train", "text"],
        cwd=project,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert training.stderr is not None
        assert any(line.startswith("epoch 2/") for line in training.stderr)
        training.send_signal(sign)
        training.communicate(timeout=60)
    finally:
        training.kill()
        (project / "params.yaml").write_text(params)
    assert training.returncode != 0
    assert contents(project) == before


def test_a_changed_evaluation_reruns_no_training(project: Path) -> None:
    module = project / "src/relu_pipeline/evaluation/pictures.py"
    module.write_text(module.read_text() + "\n")
    result = dvc(project, "repro")
    assert result.returncode == 0, result.stderr
    assert stages_run(result) == ["evaluate@image", "evaluate@text"]


def test_a_changed_text_parameter_reruns_text_stages_only(project: Path) -> None:
    images = {path: digest for path, digest in contents(project).items() if "/image/" in path}
    result = dvc(project, "exp", "run", "-S", "text.train.max_epochs=2")
    assert result.returncode == 0, result.stderr
    assert stages_run(result) == ["train@text", "evaluate@text", "export@text", "package"]
    assert {path: digest for path, digest in contents(project).items() if "/image/" in path} == images
