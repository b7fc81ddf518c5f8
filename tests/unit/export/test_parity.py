"""Which differences between the network and its graph are allowed."""

import numpy as np
import pytest

from relu_pipeline.errors import ParityError
from relu_pipeline.export.parity import compare, require

TOLERANCE = 1e-4
LABELS = np.array([0, 1])


def answers(top: float) -> np.ndarray:
    """Of two rows: the first gives its class the probability `top`, the second is sure."""
    return np.array([[top, 1 - top], [0.1, 0.9]], dtype=np.float32)


@pytest.mark.parametrize(
    ("network", "graph", "near_ties", "accuracy"), [(0.7, 0.7, 0, 1.0), (0.50002, 0.49998, 1, 0.5)], ids=["same", "tie"]
)
def test_equal_answers_pass_and_classes_that_are_as_good_as_tied_may_change_places(
    network: float, graph: float, near_ties: int, accuracy: float
) -> None:
    parity = compare(answers(network), answers(graph), LABELS, TOLERANCE)
    assert (parity.different_top1, parity.near_ties, parity.onnx_accuracy) == (near_ties, near_ties, accuracy)
    require(parity, 1.0, TOLERANCE)
    require(parity, 1.0, parity.max_probability_difference)


def test_each_condition_is_named() -> None:
    message = r"top-1 differs on 1 of 2 examples; .* differs by 2\.00e-02.*accuracy 0\.5 is not"
    with pytest.raises(ParityError, match=message):
        require(compare(answers(0.51), answers(0.49), LABELS, TOLERANCE), 1.0, TOLERANCE)
    with pytest.raises(ParityError, match="differs by nan"):
        require(compare(answers(0.7), answers(0.7) * np.nan, LABELS, TOLERANCE), 1.0, TOLERANCE)


@pytest.mark.parametrize(("tolerance", "near_ties"), [(0.125, 1), (0.12, 0)])
def test_a_near_tie_is_at_most_twice_the_tolerance(tolerance: float, near_ties: int) -> None:
    parity = compare(answers(0.625), answers(0.375), LABELS, tolerance)
    assert (parity.different_top1, parity.near_ties) == (1, near_ties)
