import numpy as np
import pytest
from onnx import helper

from relu_pipeline.artifacts import RowDifferences
from relu_pipeline.pruning.verify import compare, problem
from tests.unit.pruning.networks import CLASSES, SIDE, SPLITS, hand_built


def differences(largest: float) -> RowDifferences:
    return RowDifferences(rows=9, different=1, changed_top1=0, largest=largest, largest_other=0.0)


@pytest.mark.parametrize(("largest", "refused"), [(0.0, False), (1e-6, False), (1.01e-6, True), (float("nan"), True)])
def test_a_probability_of_a_measured_example_changes_by_a_millionth_at_most(largest: float, refused: bool) -> None:
    assert (problem(differences(largest), differences(0.0)) is not None) == refused
    assert problem(differences(0.0), differences(largest)) is None


def always(probabilities: list[float]) -> bytes:
    """A graph with these probabilities for every image."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "head", "bias"], ["probabilities"]),
    ]
    head = np.zeros((3 * SIDE * SIDE, CLASSES), dtype=np.float32)
    constants = {"head": head, "bias": np.array(probabilities, dtype=np.float32)}
    return hand_built(nodes, constants, {"probabilities": ["N", CLASSES]}).SerializeToString()


@pytest.mark.parametrize("second", [0.125, 0.375])
def test_a_probability_that_grows_differs_as_one_that_shrinks(second: float) -> None:
    found = compare(always([0.5, 0.25, 0.25, 0.0]), always([0.5, second, 0.25, 0.0]), [SPLITS["val"]])
    assert found == RowDifferences(rows=20, different=20, changed_top1=0, largest=0.125, largest_other=0.0)
