"""A trial: the training of the stage `train`, in a temporary folder."""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from relu_pipeline import artifacts
from relu_pipeline.errors import ConfigError, TrainingError, in_one_line
from relu_pipeline.search.interruption import Interruption
from relu_pipeline.search.plan import SearchPlan
from relu_pipeline.search.study import is_shipped
from relu_pipeline.tracking.run import Run
from relu_pipeline.training.callbacks import EpochHook
from relu_pipeline.training.fit import fit
from relu_pipeline.training.resume import open_state

FAILURES = (ConfigError, TrainingError, MemoryError)  # these fail a trial, and the search continues


@dataclass(frozen=True)
class Objective:
    """Optuna's objective: the validation score of the kept epoch. Each trial is logged as a child of `run`.

    Called in `interruption.deferred`.
    """

    plan: SearchPlan
    run: Run
    interruption: Interruption

    def __call__(self, trial: optuna.Trial) -> float:
        """Train, and return the score. Raises TrialPruned, or one of FAILURES if the training fails."""
        space = self.plan.space
        suggested = space.suggest(trial)
        values = space.defaults if is_shipped(trial) else suggested
        with self.run.child(f"trial {trial.number}") as child:
            child.log_params(values)
            try:
                score = self._train(trial, {} if is_shipped(trial) else values, child)
            except optuna.TrialPruned:
                child.log_params({"pruned": True})  # caught here, so that the run is finished, not failed
                score = None
            except FAILURES as error:
                print(f"trial {trial.number} failed: {in_one_line(str(error.__cause__ or error))}", file=sys.stderr)
                raise
        if score is None:
            raise optuna.TrialPruned
        return score

    def _train(self, trial: optuna.Trial, values: dict[str, Any], run: Run) -> float:
        training = self.plan.training(values)
        with tempfile.TemporaryDirectory() as scratch:
            state = open_state(Path(scratch) / "training", training.key)
            state.begin(run.key)
            checkpoint, hook = Path(scratch) / artifacts.CHECKPOINT, self._epoch_hook(trial)
            with self.interruption.immediate():
                fitted = fit(training, run, state, checkpoint, hook)
        return fitted.kept[self.plan.score]

    def _epoch_hook(self, trial: optuna.Trial) -> EpochHook:
        def report(metrics: Mapping[str, float]) -> None:
            with self.interruption.deferred():
                trial.report(metrics[self.plan.score], int(metrics["epoch"]))
                pruned = trial.should_prune() and not is_shipped(trial)
            if pruned:
                raise optuna.TrialPruned

        return report
