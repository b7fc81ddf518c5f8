"""Validation and test splits. They do not depend on the training seed."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.data.randomness import generator
from relu_pipeline.errors import DataError

SPLIT_SEED = 0


def stratified_split(
    labels: NDArray[np.int64], fraction: float, purpose: str = "split"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices that remain and those that are held out, stratified by class.

    A class of two or more examples has at least one in each part. Raises DataError if there is no such class.
    """
    rng = generator(SPLIT_SEED, purpose)
    by_class = (rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels))
    held_back = np.sort(np.concatenate([rows[: _count(len(rows), fraction)] for rows in by_class]))
    if not len(held_back):
        raise DataError(
            "no class has two different examples, so none can be held out for validation or test; add examples"
        )
    return np.setdiff1d(np.arange(len(labels)), held_back), held_back


def split_off_test(
    labels: Sequence[str], contents: Sequence[Hashable], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices of training and test, stratified by class; equal contents are in the same split."""
    group = groups_of_equal(contents)
    _, representatives = np.unique(group, return_index=True)
    classes = np.unique(labels, return_inverse=True)[1]
    _, test_groups = stratified_split(classes[representatives], fraction, "test")
    in_test = np.isin(group, test_groups)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def groups_of_equal(contents: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a group number, from 0, for each of the contents; equal contents have the same number."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(content, len(numbers)) for content in contents], dtype=np.int64)


def _count(size: int, fraction: float) -> int:
    return min(max(1, round(size * fraction)), size - 1)
