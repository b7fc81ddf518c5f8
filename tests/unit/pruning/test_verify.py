import pytest

from relu_pipeline.artifacts import RowDifferences
from relu_pipeline.pruning.verify import problem


def differences(largest: float) -> RowDifferences:
    return RowDifferences(rows=9, different=1, changed_top1=0, largest=largest, largest_other=0.0)


@pytest.mark.parametrize(("largest", "refused"), [(0.0, False), (1e-6, False), (1.01e-6, True), (float("nan"), True)])
def test_a_probability_of_a_measured_example_changes_by_a_millionth_at_most(largest: float, refused: bool) -> None:
    assert (problem(differences(largest), differences(0.0)) is not None) == refused
    assert problem(differences(0.0), differences(largest)) is None
