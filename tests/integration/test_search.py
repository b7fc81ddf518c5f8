"""`relu-pipeline search` as a user runs it: in two terminals, interrupted, killed, and what its last line does."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import optuna
import pytest
from optuna.trial import TrialState

from relu_pipeline import artifacts
from relu_pipeline.demo import FOREIGN, copy_project
from relu_pipeline.recipes import apply_recipe
from relu_pipeline.search.report import SearchReport
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project with the demo's texts prepared, and a learning rate that is far too low."""
    scratch = tmp_path_factory.mktemp("search") / "project"
    copy_project(ROOT, scratch)
    params = scratch / "params.yaml"
    apply_recipe(scratch / "configs/demo.yaml", params)
    set_param(params, "tasks", {"text": "configs/data/headlines.yaml"})
    set_param(params, "text.train.learning_rate", 0.001)
    set_param(params, "text.train.embedding_learning_rate", 0.001)
    words = ["dvc", "repro", "prepare@text"]
    subprocess.run(words, cwd=scratch, env=ENVIRONMENT, check=True, capture_output=True)
    return scratch


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "relu_pipeline.cli", "search", "text", *words],
        cwd=project,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stderr is not None
    assert any(re.match(line, found) for found in process.stderr)


def the_study(project: Path) -> optuna.Study:
    storage = f"sqlite:///{project / 'search.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_two_processes_share_a_search_and_its_command_trains_the_best(project: Path) -> None:
    both = [start(project, "--trials", "8") for _ in range(2)]
    texts = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    trials = the_study(project).trials
    assert len(trials) in (8, 9)  # both may begin the last one
    assert all(trial.state.is_finished() for trial in trials)
    assert sum("params.yaml" in trial.user_attrs for trial in trials) == 1
    assert len({str(trial.params) for trial in trials}) == len(trials)
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-text-search"])
    assert sorted(runs["tags.mlflow.parentRunId"].value_counts().tolist(), reverse=True)[0] < len(trials)
    assert runs["tags.mlflow.parentRunId"].notna().sum() == len(trials)
    assert set(runs["status"]) == {"FINISHED"}
    report = artifacts.read(project / "reports/search/text.json", SearchReport)
    last = texts[0][0].splitlines()[-1]
    assert report.command in [text.splitlines()[-1] for text, _ in texts]
    assert last.startswith("dvc exp run -S text.")
    command = shlex.split(report.command)
    done = subprocess.run(command, cwd=project, env=ENVIRONMENT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run, *_) = mlflow.search_runs(experiment_names=["relu-pipeline-text"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, report.score)
    assert report.trial(report.best).score in [metric.value for metric in history]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_is_resumed_and_leaves_every_artifact(project: Path, sign: signal.Signals) -> None:
    (project / "search.db").unlink(missing_ok=True)
    set_param(project / "params.yaml", "text.train.max_epochs", 20)  # so that the signal comes before the trial's end
    before = {path: artifacts.sha256_of(path) for path in (project / "data").rglob("*") if path.is_file()}
    first = start(project, "--trials", "1000")
    try:
        wait_for(first, r"trial 1: ")
        wait_for(first, r"epoch 1/")
        first.send_signal(sign)
        first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == (130 if sign == signal.SIGINT else -signal.SIGKILL)
    states = [trial.state for trial in the_study(project).trials]
    assert states[2] == (TrialState.FAIL if sign == signal.SIGINT else TrialState.RUNNING)
    resumed = start(project, "--trials", "5")
    text, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "3 trials have begun" in errors
    assert [trial.number for trial in the_study(project).trials] == list(range(5))
    assert text.startswith("5 trials: ")
    assert {path: artifacts.sha256_of(path) for path in before} == before


def test_wrong_words_are_one_line(project: Path) -> None:
    wrong = start(project, "--timeout", "20 minutes")
    assert "'20 minutes' is not a time such as 90s, 20m or 2h" in wrong.communicate(timeout=60)[1]
    assert wrong.returncode == 2
