"""Optuna's study of a search, shared by its processes."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import fail_stale_trials
from optuna.trial import BaseTrial, TrialState

from relu_pipeline.data.randomness import generator
from relu_pipeline.search.database import Database
from relu_pipeline.search.plan import SearchPlan

SHIPPED = "params.yaml"  # attribute of the trial with the values of params.yaml
JOINED = "joined"  # attribute of the study: number of processes that have joined it


def join_study(database: Database, plan: SearchPlan) -> optuna.Study:
    """Open or create the study of `plan`, with the values of params.yaml as its first trial. Raises TrackingError.

    The sampler's seed depends on the training's seed and the number of processes that joined before, so that another
    process, or the same command after an interruption, does not suggest the same values.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # warnings have a stack trace for each failed trial
    shipped = plan.shipped
    pruner = MedianPruner(n_warmup_steps=shipped.config.train.max_epochs // 3)
    with database.locked():
        study = optuna.create_study(
            study_name=plan.study_name,
            storage=database.open(),
            pruner=pruner,
            direction="maximize",
            load_if_exists=True,
        )
        joined = study.user_attrs.get(JOINED, 0)
        study.set_user_attr(JOINED, joined + 1)
        study.sampler = TPESampler(seed=int(generator(shipped.seed, "search", joined).integers(2**32)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        if not any(is_shipped(trial) and trial.state != TrialState.FAIL for trial in study.trials):
            study.enqueue_trial(plan.space.encoded_defaults(), user_attrs={SHIPPED: True})
    return study


def is_shipped(trial: BaseTrial) -> bool:
    return SHIPPED in trial.user_attrs


def begun(study: optuna.Study) -> int:
    """Return the number of trials that have begun."""
    return sum(trial.state != TrialState.WAITING for trial in study.trials)
