"""Comparison of the predictions of an ONNX graph with those of the network it was exported from."""

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import Parity
from relu_pipeline.errors import ParityError


def compare(
    torch_answers: NDArray[np.float32], onnx_answers: NDArray[np.float32], labels: NDArray[np.int64], tolerance: float
) -> Parity:
    """Compare two arrays of probabilities `[N, C]` for N examples with true labels `[N]`.

    A different top-1 is a near tie if torch's two probabilities differ by no more than twice `tolerance`.
    """
    torch_top, onnx_top = torch_answers.argmax(axis=1), onnx_answers.argmax(axis=1)
    rows = np.flatnonzero(torch_top != onnx_top)
    margins = torch_answers[rows, torch_top[rows]] - torch_answers[rows, onnx_top[rows]]
    return Parity(
        rows=len(labels),
        different_top1=len(rows),
        near_ties=int((margins <= 2 * tolerance).sum()),
        max_probability_difference=float(np.abs(torch_answers - onnx_answers).max()),
        torch_accuracy=float((torch_top == labels).mean()),
        onnx_accuracy=float((onnx_top == labels).mean()),
    )


def require(parity: Parity, test_accuracy: float, max_probability_difference: float) -> None:
    """Raise ParityError if the graph cannot replace the network."""
    if found := problem(parity, test_accuracy, max_probability_difference):
        raise ParityError(f"the ONNX graph differs from the network: {found}; try another export.opset")


def problem(parity: Parity, test_accuracy: float, max_probability_difference: float) -> str | None:
    """Return why the graph cannot replace the network, or None if it can."""
    problems = []
    if different := parity.different_top1 - parity.near_ties:
        problems.append(f"top-1 differs on {different} of {parity.rows} examples")
    if not parity.max_probability_difference <= max_probability_difference:
        problems.append(
            f"a probability differs by {parity.max_probability_difference:.2e}, "
            f"export.max_probability_difference is {max_probability_difference:.2e}"
        )
    # Half an example of tolerance for the rounding in metrics.json.
    if abs(parity.onnx_accuracy - test_accuracy) > (parity.near_ties + 0.5) / parity.rows:
        problems.append(f"ONNX accuracy {parity.onnx_accuracy} is not metrics.json's {test_accuracy}")
    return "; ".join(problems) or None
