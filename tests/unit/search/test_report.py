"""Reports of searches whose trials have given scores, without a training."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from relu_pipeline.search.database import find_database
from relu_pipeline.search.plan import SearchPlan
from relu_pipeline.search.report import SearchReport, TrialReport, as_text, draw_search, summarise, write_report
from relu_pipeline.search.study import SHIPPED
from tests.figures import expect_picture
from tests.unit.search.conftest import POOR_RATE, RATE


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def add(study: optuna.Study, plan: SearchPlan, rate: float, scores: list[float], state: TrialState) -> None:
    """Add a trial with these scores of its epochs, of which a complete one keeps the best."""
    study.enqueue_trial({RATE: rate}, user_attrs={SHIPPED: True} if rate == POOR_RATE else {})
    trial = study.ask()
    plan.space.suggest(trial)
    for epoch, score in enumerate(scores):
        trial.report(score, epoch)
    study.tell(trial, max(scores) if state == TrialState.COMPLETE else None, state=state)


def summary(study: optuna.Study, plan: SearchPlan) -> SearchReport:
    report = summarise(study, plan, find_database())
    assert report is not None
    return report


def test_a_trial_has_the_score_of_its_best_epoch_or_of_its_last_if_it_did_not_finish(
    study: optuna.Study, plan: SearchPlan
) -> None:
    add(study, plan, POOR_RATE, [0.4, 0.6, 0.5], TrialState.COMPLETE)
    add(study, plan, 0.1, [0.3, 0.2], TrialState.PRUNED)
    add(study, plan, 0.2, [0.3, 0.1], TrialState.FAIL)
    add(study, plan, 0.3, [], TrialState.FAIL)
    found = [(trial.state, trial.score, trial.epochs, trial.values) for trial in summary(study, plan).trials]
    assert found == [
        ("complete", 0.6, 3, {RATE: POOR_RATE}),
        ("pruned", 0.2, 2, {RATE: 0.1}),
        ("fail", 0.1, 2, {RATE: 0.2}),
        ("fail", None, 0, {RATE: 0.3}),
    ]


def test_nothing_is_reported_before_a_trial_has_finished(study: optuna.Study, plan: SearchPlan) -> None:
    add(study, plan, POOR_RATE, [0.4], TrialState.FAIL)
    assert summarise(study, plan, find_database()) is None


def test_of_equal_scores_those_of_params_yaml_are_best_and_then_the_first(
    study: optuna.Study, plan: SearchPlan
) -> None:
    for rate in (0.1, 0.2):
        add(study, plan, rate, [0.5], TrialState.COMPLETE)
    assert (summary(study, plan).best, summary(study, plan).shipped) == (0, None)
    add(study, plan, POOR_RATE, [0.5], TrialState.COMPLETE)
    report = summary(study, plan)
    assert (report.best, report.shipped, report.command) == (2, 2, "dvc exp run")
    assert as_text(report).endswith("no trial is better than params.yaml on the validation split")


def test_the_text_shows_the_five_best_trials_and_that_of_params_yaml(study: optuna.Study, plan: SearchPlan) -> None:
    scores = {POOR_RATE: 0.1, 0.1: 0.8, 0.2: 0.7, 0.3: 0.6, 0.4: 0.5, 0.5: 0.4, 0.6: 0.3, 0.7: 0.2}
    for rate, score in scores.items():
        add(study, plan, rate, [score], TrialState.COMPLETE)
    add(study, plan, 0.8, [0.2], TrialState.PRUNED)
    report = summary(study, plan)
    assert as_text(report).splitlines() == [
        "9 trials: 8 finished, 1 pruned, 0 failed",
        "trial  val/accuracy  learning_rate",
        "    1        0.8000            0.1",
        "    2        0.7000            0.2",
        "    3        0.6000            0.3",
        "    4        0.5000            0.4",
        "    5        0.4000            0.5",
        "    0        0.1000          1e-05  params.yaml",
        "the standard error of the best score is 0.0200 on 400 validation examples",
        "to train, evaluate and export with the best values:",
        f"dvc exp run -S {RATE}=0.1",
    ]
    assert [path.name for path in write_report(report)] == ["text.json", "text.png"]


def values(number: int) -> Iterator[tuple[str, Any]]:
    yield RATE, 0.1 * (1 + number)
    yield "image.model.activation", ("relu", "gelu")[number % 2]
    yield "text.bag", True


@pytest.mark.parametrize("count", [2, 3])
def test_the_figure_has_the_trials_in_order_and_the_values_of_each_parameter(tmp_path: Path, count: int) -> None:
    scores = [0.5, 0.8, 0.2, 0.7, 0.82, 0.3, None, 0.9]
    trials = [
        TrialReport(
            number=number,
            state="fail" if score is None else "pruned" if number in (2, 7) else "complete",
            score=score,
            epochs=3,
            values=dict(islice(values(number), count)),
        )
        for number, score in enumerate(scores)
    ]
    report = SearchReport(
        task="image",
        study="a",
        database="b",
        score="val/accuracy",
        rows=400,
        best=4,
        shipped=0,
        command="dvc exp run",
        trials=trials,
    )
    draw_search(report, tmp_path / f"search_{count}.png")
    expect_picture(tmp_path / f"search_{count}.png")
