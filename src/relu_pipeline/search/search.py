"""The command `relu-pipeline search`."""

import sys

import optuna
from optuna.exceptions import StorageInternalError
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from relu_pipeline.config import TaskName, flatten, load_params
from relu_pipeline.errors import TrainingError
from relu_pipeline.provenance import git_commit
from relu_pipeline.search.database import Database, find_database
from relu_pipeline.search.interruption import Interruption
from relu_pipeline.search.plan import SearchPlan, plan_search
from relu_pipeline.search.report import as_text, summarise, write_report
from relu_pipeline.search.study import begun, join_study
from relu_pipeline.search.trial import FAILURES, Objective
from relu_pipeline.tracking.mlflow_run import start_run
from relu_pipeline.tracking.run import Run

BEGUN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def search(task: TaskName, trials: int, timeout_s: float | None) -> str:
    """Run trials until the study has `trials`, including those of other processes, or `timeout_s` has passed.

    Writes `reports/search/` and returns the report as text. Raises ConfigError for invalid ranges, TrackingError if the
    database cannot be used, TrainingError if no trial has finished. KeyboardInterrupt is raised after the report.
    """
    plan, database = plan_search(load_params(), task), find_database()
    study = join_study(database, plan)
    print(f"search {study.study_name} in {database.shown}: {begun(study)} trials have begun", file=sys.stderr)
    if begun(study) < trials:
        with start_run(f"{task}-search", git_commit(), stage=f"search@{task}") as run:
            shipped = {"seed": plan.shipped.seed, task: plan.config.model_dump()}
            run.log_params(flatten({"search": study.study_name} | shipped))
            _optimise(study, plan, database, run, trials, timeout_s)
    report = summarise(study, plan, database)
    if report is None:
        raise TrainingError("no trial has finished; see the lines above, or wait for the other processes of the search")
    return as_text(report)


def _optimise(
    study: optuna.Study, plan: SearchPlan, database: Database, run: Run, trials: int, timeout_s: float | None
) -> None:
    interruption, interrupted = Interruption(), False
    try:
        with interruption.deferred():
            study.optimize(
                Objective(plan, run, interruption),
                timeout=timeout_s,
                catch=FAILURES,
                callbacks=[_print_score, interruption.between_trials, MaxTrialsCallback(trials, BEGUN)],
                gc_after_trial=True,  # a Trainer and its callbacks refer to each other
            )
    except KeyboardInterrupt:
        print("interrupted; run the same command to continue this search", file=sys.stderr)
        interrupted = True
    except (StorageInternalError, SQLAlchemyError) as error:
        raise database.unusable(error) from error
    with database.locked():  # other processes write the same files
        if report := summarise(study, plan, database):
            run.log_metrics({plan.score: report.trial(report.best).final_score, "trials": len(report.trials)})
            run.log_files(write_report(report), "search")
    if interrupted:
        raise KeyboardInterrupt


def _print_score(study: optuna.Study, trial: FrozenTrial) -> None:
    """Print the result of a trial, unless it failed: `Objective` has printed the reason."""
    if trial.state == TrialState.COMPLETE:
        print(f"trial {trial.number}: {trial.value:.4f}; best: {study.best_value:.4f}", file=sys.stderr, flush=True)
    elif trial.state == TrialState.PRUNED:
        print(f"trial {trial.number}: pruned in epoch {(trial.last_step or 0) + 1}", file=sys.stderr, flush=True)
