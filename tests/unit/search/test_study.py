import mlflow
import pytest
from optuna.trial import TrialState

from relu_pipeline.errors import TrainingError
from relu_pipeline.search.database import find_database
from relu_pipeline.search.plan import SearchPlan
from relu_pipeline.search.search import search
from relu_pipeline.search.study import join_study
from tests.unit.search.conftest import POOR_RATE, RATE


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_the_first_trial_has_the_values_of_params_yaml_and_each_process_then_draws_others(plan: SearchPlan) -> None:
    one, other = (join_study(find_database(), plan) for _ in range(2))
    values = [plan.space.suggest(study.ask()) for study in (one, one, other)]
    assert values[0] == {RATE: POOR_RATE}
    assert len({value[RATE] for value in values}) == 3


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_the_values_of_params_yaml_are_tried_again_if_their_trial_failed(plan: SearchPlan) -> None:
    first = join_study(find_database(), plan)
    first.tell(first.ask(), state=TrialState.FAIL)
    again = join_study(find_database(), plan)
    assert plan.space.suggest(again.ask()) == {RATE: POOR_RATE}


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_search_without_time_for_a_trial_is_an_error_and_its_run_has_the_parameters(plan: SearchPlan) -> None:
    with pytest.raises(TrainingError, match="no trial has finished"):
        search("text", 1, timeout_s=0.0)
    (run,) = mlflow.search_runs(experiment_names=["relu-pipeline-text-search"], output_format="list")
    assert run.data.params["search"] == plan.study_name
    assert run.data.params["seed"] == str(plan.shipped.seed)
    assert run.data.params[RATE] == str(POOR_RATE)
