"""Report of a search: a table, JSON, a figure, and the command that trains with the best values."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Format
from relu_pipeline.config import TaskName
from relu_pipeline.figures import save_figure
from relu_pipeline.search.database import Database
from relu_pipeline.search.plan import SearchPlan
from relu_pipeline.search.space import Space, as_word, command_line, shortest_names
from relu_pipeline.search.study import SHIPPED, is_shipped

REPORTS = Path("reports/search")
SHOWN_TRIALS = 5
COLUMNS = 3  # of the figure

State = Literal["complete", "pruned", "fail", "running", "waiting"]
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class TrialReport(Format):
    """Report of a trial; `score` is that of the kept epoch, or of the last epoch if the trial did not finish."""

    number: int
    state: State
    score: float | None
    epochs: int
    values: dict[str, Any]

    @property
    def final_score(self) -> float:
        """Return the score of a finished trial."""
        assert self.score is not None
        return self.score


class SearchReport(Format):
    """Content of `reports/search/<task>.json`.

    `score` names the metric, on a validation split of `rows` examples. `best` is the number of the best trial,
    `shipped` that of the trial with the values of params.yaml, None if it did not finish.
    """

    task: TaskName
    study: str
    database: str
    score: str
    rows: int
    best: int
    shipped: int | None
    command: str
    trials: list[TrialReport]

    def trial(self, number: int) -> TrialReport:
        return next(trial for trial in self.trials if trial.number == number)

    @property
    def finished(self) -> list[TrialReport]:
        return [trial for trial in self.trials if trial.state == "complete"]


def summarise(study: optuna.Study, plan: SearchPlan, database: Database) -> SearchReport | None:
    """Return the report, or None if no trial has finished.

    Of equal scores the first trial is the best, and the one of params.yaml precedes all others.
    """
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if not complete:
        return None
    best = max(complete, key=lambda trial: (trial.value, is_shipped(trial), -trial.number))
    return SearchReport(
        task=plan.task,
        study=study.study_name,
        database=database.shown,
        score=plan.score,
        rows=plan.shipped.meta.rows["val"],
        best=best.number,
        shipped=next((trial.number for trial in complete if is_shipped(trial)), None),
        command=command_line({} if is_shipped(best) else plan.space.differences(best.params)),
        trials=[_trial(trial, plan.space) for trial in study.trials if trial.state != TrialState.WAITING],
    )


def _trial(trial: FrozenTrial, space: Space) -> TrialReport:
    last = None if trial.last_step is None else trial.intermediate_values[trial.last_step]
    begun = trial.params.keys() >= space.defaults.keys()
    return TrialReport(
        number=trial.number,
        state=STATES[trial.state],
        score=trial.value if trial.state == TrialState.COMPLETE else last,
        epochs=len(trial.intermediate_values),
        values=space.defaults if is_shipped(trial) else space.values(trial.params) if begun else {},
    )


def write_report(report: SearchReport) -> list[Path]:
    """Write JSON and figure, and return their paths."""
    content, picture = REPORTS / f"{report.task}.json", REPORTS / f"{report.task}.png"
    artifacts.write(content, report)
    draw_search(report, picture)
    return [content, picture]


def as_text(report: SearchReport) -> str:
    """Return the best trials, and the next command."""
    counts = {state: sum(trial.state == state for trial in report.trials) for state in ("complete", "pruned", "fail")}
    states = f"{counts['complete']} finished, {counts['pruned']} pruned, {counts['fail']} failed"
    lines = [f"{len(report.trials)} trials: {states}", *_table(report)]
    if report.best == report.shipped:
        return "\n".join([*lines, "no trial is better than params.yaml on the validation split"])
    return "\n".join([*lines, _luck(report), "to train, evaluate and export with the best values:", report.command])


def _luck(report: SearchReport) -> str:
    """Return the standard error of the best score, from the number of validation examples."""
    score = report.trial(report.best).final_score
    error = math.sqrt(score * (1 - score) / report.rows)
    return f"the standard error of the best score is {error:.4f} on {report.rows:,} validation examples"


def _table(report: SearchReport) -> list[str]:
    """Return the best trials and that of params.yaml as aligned lines."""
    ranked = sorted(report.finished, key=lambda trial: (trial.number != report.best, -trial.final_score, trial.number))
    shown = [trial for i, trial in enumerate(ranked) if i < SHOWN_TRIALS or trial.number == report.shipped]
    head = ["trial", report.score, *shortest_names(list(shown[0].values))]
    rows = [head, *(_row(trial) for trial in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    marks = ["", *(SHIPPED if trial.number == report.shipped else "" for trial in shown)]
    return [f"{line}  {mark}".rstrip() for line, mark in zip(lines, marks, strict=True)]


def _row(trial: TrialReport) -> list[str]:
    values = (f"{value:.4g}" if isinstance(value, float) else as_word(value) for value in trial.values.values())
    return [str(trial.number), f"{trial.final_score:.4f}", *values]


def draw_search(report: SearchReport, path: Path) -> None:
    """Plot the scores in the order of the trials, and against the values of each parameter."""
    names = list(report.finished[0].values)
    rows = -(-(1 + len(names)) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3 * rows), layout="constrained")
    first, *others = figure.subplots(rows, COLUMNS, squeeze=False).flat
    _draw_history(first, report)
    for axes, name, label in zip(others, names, shortest_names(names), strict=False):
        _draw_values(axes, report, name)
        axes.set_xlabel(label)
    for axes in (first, *others[: len(names)]):
        axes.set_ylim(*_limits(report))
        axes.grid(alpha=0.3)
    for axes in others[len(names) :]:
        axes.set_axis_off()
    figure.suptitle(f"{report.task}: {report.score}")
    save_figure(figure, path)


def _draw_history(axes: Axes, report: SearchReport) -> None:
    best = np.maximum.accumulate([trial.final_score for trial in report.finished])
    axes.step([trial.number for trial in report.finished], best, where="post", color="C0", label="best so far")
    for state, colour, marker in (("complete", "C0", "o"), ("pruned", "C7", "x")):
        scores = {
            trial.number: trial.score for trial in report.trials if trial.state == state and trial.score is not None
        }
        axes.scatter(list(scores), list(scores.values()), c=colour, marker=marker, s=18, label=state)
    if report.shipped is not None:
        axes.axhline(report.trial(report.shipped).final_score, color="C1", linestyle="--", label=SHIPPED)
    axes.set_xlabel("trial")
    axes.legend(fontsize=7, loc="lower right")


def _draw_values(axes: Axes, report: SearchReport, name: str) -> None:
    values = [trial.values[name] for trial in report.finished]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        values = [as_word(value) for value in values]
    axes.scatter(values, [trial.final_score for trial in report.finished], c="C0", s=18)
    best = report.trial(report.best)
    place = next(i for i, trial in enumerate(report.finished) if trial is best)
    axes.scatter(values[place], best.final_score, facecolors="none", edgecolors="C3", s=90, label="best")


def _limits(report: SearchReport) -> tuple[float, float]:
    """Return the limits of the score axis, from the lower quartile to the best, so that outliers do not flatten it."""
    scores = [trial.final_score for trial in report.finished]
    low, high = float(np.quantile(scores, 0.25)), max(scores)
    low = min(low, report.trial(report.shipped).final_score) if report.shipped is not None else low
    room = 0.15 * (high - low) or 0.01
    return low - room, high + room
