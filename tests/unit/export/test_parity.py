"""Which differences between the network and its graph are allowed."""

import numpy as np
import pytest

from relu_pipeline.errors import ParityError
from relu_pipeline.export.parity import compare, require

TOLERANCE = 1e-4
LABELS = np.array([0, 1])
SURE = [0.1, 0.9]


def test_the_same_answers_pass() -> None:
    answers = np.array([[0.7, 0.3], SURE], dtype=np.float32)
    parity = compare(answers, answers, LABELS, TOLERANCE)
    assert (parity.different_top1, parity.near_ties, parity.onnx_accuracy) == (0, 0, 1.0)
    require(parity, 1.0, TOLERANCE)


def test_classes_that_are_as_good_as_tied_may_change_places() -> None:
    network = np.array([[0.50002, 0.49998], SURE], dtype=np.float32)
    graph = np.array([[0.49998, 0.50002], SURE], dtype=np.float32)
    parity = compare(network, graph, LABELS, TOLERANCE)
    assert (parity.different_top1, parity.near_ties, parity.onnx_accuracy) == (1, 1, 0.5)
    require(parity, 1.0, TOLERANCE)


def test_another_class_that_is_no_near_tie_is_refused() -> None:
    network = np.array([[0.51, 0.49], SURE], dtype=np.float32)
    graph = np.array([[0.49, 0.51], SURE], dtype=np.float32)
    with pytest.raises(ParityError, match=r"top-1 differs on 1 of 2 rows.*a probability differs.*accuracy 0\.5 is not"):
        require(compare(network, graph, LABELS, TOLERANCE), 1.0, TOLERANCE)
