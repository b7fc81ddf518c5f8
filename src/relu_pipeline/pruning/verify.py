"""Comparison of the outputs of a pruned graph with those of the original."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from relu_pipeline.artifacts import RowDifferences
from relu_pipeline.data.batches import OrderedBatches, PreparedSplit
from relu_pipeline.evaluation.predict import BATCH_SIZE, OUTPUT_NAME, cpu_session

MAX_DIFFERENCE = 1e-6  # of a probability, on the training and validation examples


def compare(before: bytes, after: bytes, splits: Iterable[PreparedSplit]) -> RowDifferences:
    """Compare all outputs of both graphs on all examples of the splits, by ONNX Runtime on the CPU."""
    largest_N, other_N, changed_N = map(np.concatenate, zip(*_by_batch(before, after, splits), strict=True))
    return RowDifferences(
        rows=len(largest_N),
        different=int((largest_N != 0).sum()),
        changed_top1=int(changed_N.sum()),
        largest=float(largest_N.max()),
        largest_other=float(other_N.max()),
    )


def _by_batch(before: bytes, after: bytes, splits: Iterable[PreparedSplit]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield by example: largest differences of the probabilities and other outputs, and whether the top-1 changed."""
    sessions = [cpu_session(model) for model in (before, after)]
    feed, names = sessions[0].get_inputs()[0].name, [output.name for output in sessions[0].get_outputs()]
    top = names.index(OUTPUT_NAME)
    for split in splits:
        batches = OrderedBatches(split, BATCH_SIZE)
        for inputs, _ in tqdm(batches, "pruned graph", unit=" batches", leave=False, disable=None):
            ours, theirs = (session.run(names, {feed: inputs.numpy()}) for session in sessions)
            differences = [_by_row(*pair) for pair in zip(ours, theirs, strict=True)]
            largest = differences.pop(top)
            other = np.max(differences, axis=0, initial=0) if differences else np.zeros_like(largest)
            yield largest, other, ours[top].argmax(axis=1) != theirs[top].argmax(axis=1)


def _by_row(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest difference of each example, `[N]`: nan in both is 0, nan in one is nan."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.where(same, 0, ours.astype(np.float64) - theirs))
    largest_N: NDArray[np.float64] = difference.max(axis=tuple(range(1, difference.ndim)), initial=0)
    return largest_N


def problem(measured: RowDifferences, test: RowDifferences) -> str | None:
    """Return why the pruned graph cannot replace the original, or None if it can."""
    problems = []
    if not measured.largest <= MAX_DIFFERENCE:
        problems.append(f"a probability differs by {measured.largest:.2e} on a measured example, over {MAX_DIFFERENCE}")
    for differences, name in ((measured, "measured"), (test, "test")):
        if differences.changed_top1:
            problems.append(f"top-1 differs on {differences.changed_top1} of {differences.rows} {name} examples")
    return "; ".join(problems) or None
