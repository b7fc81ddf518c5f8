"""A trial in this process, without a search."""

import optuna

from relu_pipeline.search.interruption import Interruption
from relu_pipeline.search.plan import SearchPlan
from relu_pipeline.search.study import SHIPPED
from relu_pipeline.search.trial import Objective
from relu_pipeline.tracking.run import NullRun


def test_a_trial_reports_each_epoch_and_returns_the_score_of_one_of_them(plan: SearchPlan) -> None:
    study, interruption = optuna.create_study(direction="maximize"), Interruption()
    study.enqueue_trial(plan.space.encoded_defaults(), user_attrs={SHIPPED: True})
    with interruption.deferred():
        score = Objective(plan, NullRun(), interruption)(study.ask())
    reported = study.trials[0].intermediate_values
    assert list(reported) == [0, 1, 2]
    assert score in reported.values()
