"""Searches in this process, on the built-in data, with real trainings."""

import gc
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExecutionContext

from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError, TrainingError
from relu_pipeline.search import database
from relu_pipeline.search.database import find_database
from relu_pipeline.search.plan import plan_search
from relu_pipeline.search.report import SearchReport
from relu_pipeline.search.search import search
from relu_pipeline.search.study import join_study
from tests.params import set_param

pytestmark = pytest.mark.slow
RATES = {"low": 1e-5, "high": 1.0, "log": True}
# Begins the first trial of the search and is killed in it.
KILLED = """
import os, signal, time
from relu_pipeline.config import load_params
from relu_pipeline.search.database import find_database
from relu_pipeline.search.plan import plan_search
from relu_pipeline.search.study import join_study

def objective(trial):
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)

join_study(find_database(), plan_search(load_params(), "text")).optimize(objective)
"""


@pytest.fixture
def small(project: Path) -> Path:
    """A project that searches two parameters."""
    ranges = {"text.train.learning_rate": RATES, "text.train.label_smoothing": {"choices": [0.0, 0.05, 0.1]}}
    return searching(project, ranges)


def searching(project: Path, ranges: dict[str, object]) -> Path:
    set_param(project / "params.yaml", "search", ranges)
    return project


def found(project: Path) -> SearchReport:
    return artifacts.read(project / "reports/search/text.json", SearchReport)


def join() -> optuna.Study:
    return join_study(find_database(), plan_search(load_params(), "text"))


def test_a_search_starts_from_params_yaml_and_ends_with_a_command(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = search("text", 4, None)
    report = found(small)
    best = 0.0
    for trial, line in zip(report.trials, re.findall(r"trial .*", capsys.readouterr().err), strict=True):
        best = max(best, trial.final_score)
        assert line == f"trial {trial.number}: {trial.score:.4f}; best: {best:.4f}"
    assert [trial.state for trial in report.trials] == ["complete"] * 4
    assert report.trials[0].values == {"text.train.learning_rate": 1e-5, "text.train.label_smoothing": 0.05}
    assert report.shipped == 0
    assert report.trial(report.best).score == max(trial.score for trial in report.trials)
    assert report.best != 0, "its learning rate teaches nothing"
    assert text.splitlines()[-1] == report.command
    assert f"text.train.learning_rate={report.trial(report.best).values['text.train.learning_rate']}" in report.command
    assert "params.yaml" in text
    assert re.search(r"standard error of the best score is 0\.0\d+ on 400 validation examples", text)
    assert (small / "reports/search/text.png").read_bytes().startswith(b"\x89PNG")
    assert not (small / "checkpoints").exists()


def test_trials_train_in_this_process(small: Path) -> None:
    set_param(small / "params.yaml", "text.train.devices", 2)
    assert plan_search(load_params(), "text").training({}).hardware.processes == 1


def test_each_trial_is_a_child_of_one_run(small: Path) -> None:
    search("text", 3, None)
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-text-search"])
    children = runs[runs["tags.mlflow.parentRunId"].notna()]
    (parent,) = runs[runs["tags.mlflow.parentRunId"].isna()].to_dict("records")
    assert set(runs["status"]) == {"FINISHED"}
    assert set(children["tags.mlflow.runName"]) == {"trial 0", "trial 1", "trial 2"}
    assert set(children["tags.mlflow.parentRunId"]) == {parent["run_id"]}
    report = found(small)
    for trial in report.trials:
        (child,) = children[children["tags.mlflow.runName"] == f"trial {trial.number}"].to_dict("records")
        assert float(child["params.text.train.learning_rate"]) == trial.values["text.train.learning_rate"]
    assert parent["metrics.val/accuracy"] == report.trial(report.best).score
    files = mlflow.MlflowClient().list_artifacts(parent["run_id"], "search")
    assert {file.path for file in files} == {"search/text.json", "search/text.png"}


def test_the_same_seed_in_one_process_tries_the_same(small: Path) -> None:
    search("text", 4, None)
    first = found(small)
    (small / "search.db").unlink()
    search("text", 4, None)
    assert found(small) == first


def test_a_search_goes_on_where_it_stopped_and_repeats_nothing(small: Path) -> None:
    searching(small, {"text.train.learning_rate": RATES})
    search("text", 3, None)
    first = found(small).trials
    text = search("text", 6, None)
    trials = found(small).trials
    assert trials[:3] == first
    assert len(trials) == len({trial.values["text.train.learning_rate"] for trial in trials}) == 6
    runs = len(mlflow.search_runs(experiment_names=["relu-pipeline-text-search"]))
    assert search("text", 6, None) == text
    assert len(mlflow.search_runs(experiment_names=["relu-pipeline-text-search"])) == runs == 6 + 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 7),
        ("text.train.max_epochs", 2),
        ("text.model.dropout", 0.2),
        ("search", {"text.train.learning_rate": {"low": 1e-5, "high": 2.0}}),
    ],
)
def test_another_configuration_begins_another_search(small: Path, key: str, value: object) -> None:
    before = plan_search(load_params(), "text").study_name
    set_param(small / "params.yaml", "image.train.max_epochs", 3)
    set_param(small / "params.yaml", "export.int8", False)
    assert plan_search(load_params(), "text").study_name == before
    set_param(small / "params.yaml", key, value)
    assert plan_search(load_params(), "text").study_name != before


def test_values_that_cannot_be_trained_with_fail_their_trial_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searching(project, {"text.train.learning_rate": {"choices": [1e30, 1e31, 1e32]}})
    assert "no trial is better than params.yaml" in search("text", 6, None)
    states = [trial.state for trial in found(project).trials]
    assert states[0] == "complete"
    assert states.count("fail") >= 2
    assert capsys.readouterr().err.count("failed: the loss is nan") == states.count("fail")
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-text-search"])
    assert (runs["status"] == "FAILED").sum() == states.count("fail")


def test_no_finished_trial_is_a_clear_error(project: Path) -> None:
    set_param(project / "params.yaml", "text.train.learning_rate", 1e30)
    searching(project, {"text.train.learning_rate": {"low": 1e30, "high": 1e31}})
    with pytest.raises(TrainingError, match="no trial has finished"):
        search("text", 2, None)


def test_a_trial_that_falls_behind_is_pruned_but_not_that_of_params_yaml(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = join()
    asked = study.ask()
    plan_search(load_params(), "text").space.suggest(asked)
    study.tell(asked, state=TrialState.FAIL)
    perfect = {"value": 1.0, "intermediate_values": {0: 1.0, 1: 1.0, 2: 1.0}}
    for _ in range(5):
        study.add_trial(create_trial(params=asked.params, distributions=asked.distributions, **perfect))
    search("text", 9, None)
    shipped, *others = found(small).trials[6:]
    assert (shipped.state, shipped.epochs) == ("complete", 3)
    assert {(trial.state, trial.epochs) for trial in others} == {("pruned", 2)}
    assert capsys.readouterr().err.count(": pruned in epoch 2\n") == len(others)
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-text-search"])
    assert set(runs["status"]) == {"FINISHED"}
    assert (runs["params.pruned"] == "True").sum() == len(others) == 2


def test_a_trial_whose_process_was_killed_is_failed_and_tried_once_more(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [trial.state for trial in join().trials] == [TrialState.RUNNING]
    monkeypatch.setattr(database, "SILENCE_S", 1)
    time.sleep(2)
    search("text", 3, None)
    report = found(small)
    assert [trial.state for trial in report.trials] == ["fail", "complete", "complete"]
    assert report.shipped == 1


def test_no_trial_begins_after_the_timeout(small: Path) -> None:
    search("text", 100, 1)
    assert 1 <= len(found(small).trials) < 20


class CtrlC:
    """Sends SIGINT while it is deleted, which only garbage collection does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def on_sigint() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("on_sigint")
def test_ctrl_c_between_two_trials_ends_the_search(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gc.disable()
    try:
        CtrlC()
        with pytest.raises(KeyboardInterrupt):
            search("text", 3, None)
    finally:
        gc.enable()
    assert "interrupted; run the same command to continue this search" in capsys.readouterr().err
    assert [trial.state for trial in found(small).trials] == ["complete"]


@pytest.mark.usefixtures("on_sigint")
def test_ctrl_c_while_a_trial_uses_the_database_ends_the_search(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []

    def interrupt(cursor: sqlite3.Cursor, statement: str, parameters: Any, context: ExecutionContext) -> None:
        """Send SIGINT in the second query after the score of the first epoch was written."""
        if statements or statement.startswith("INSERT INTO trial_intermediate_values"):
            statements.append(statement)
        if len(statements) == 3:
            cursor.execute(statement, parameters)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(database, "TIMEOUT_S", 1)
    event.listen(Engine, "do_execute", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            search("text", 3, None)
    finally:
        event.remove(Engine, "do_execute", interrupt)
    assert [trial.state for trial in join().trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_wrong_range_stops_before_anything_is_written(project: Path) -> None:
    searching(project, {"text.train.learning_rat": RATES})
    with pytest.raises(ConfigError, match=r"text\.train\.learning_rat: unknown parameter; valid here: text\.model"):
        search("text", 3, None)
    assert not (project / "search.db").exists()
    assert not (project / "mlflow.db").exists()
