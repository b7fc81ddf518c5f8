"""Duplicate examples within and across splits, and duplicates with contradicting labels."""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import SPLITS, Contradictions, Duplicates, Pair, Split
from relu_pipeline.validation.examples import Examples, Measured

MAX_PAIRS = 10  # listed in the report; all are counted

Kind = Literal["exact", "near"]
# For each example the index of an equal one, or -1: int64 `[N]`.
Partners = NDArray[np.int64]


def duplicates(examples: Examples, measured: Measured) -> Iterator[Duplicates]:
    """Yield the duplicates of each pair of splits that has any."""
    for other, split in combinations_with_replacement([s for s in SPLITS if s in examples.splits], 2):
        exact, near = (_in_split(groups, examples.splits, split, other) for groups in (measured.exact, measured.near))
        for kind, partners in _by_kind(exact, near):
            pairs = _pairs(examples, partners)
            yield Duplicates(kind=kind, split=split, other=other, count=int((partners >= 0).sum()), examples=pairs)


def contradictions(examples: Examples, measured: Measured) -> Iterator[Contradictions]:
    exact, near = (_of_other_label(groups, examples.labels) for groups in (measured.exact, measured.near))
    for kind, partners in _by_kind(exact, near):
        yield Contradictions(kind=kind, count=int((partners >= 0).sum()), examples=_pairs(examples, partners))


def _by_kind(exact: Partners, near: Partners) -> Iterator[tuple[Kind, Partners]]:
    """Yield each kind that occurs; an example with an exact duplicate does not count as a near duplicate."""
    for kind, partners in zip(get_args(Kind), (exact, np.where(exact >= 0, -1, near)), strict=True):
        if (partners >= 0).any():
            yield kind, partners


def _in_split(groups: NDArray[np.int64], splits: NDArray[np.str_], split: Split, other: Split) -> Partners:
    """Return for each example of `split` the first example of its group in `other`, if it is a different one."""
    rows = np.arange(len(groups))
    partners = np.where(splits == split, _first(groups, rows[splits == other])[groups], -1)
    return np.where(partners == rows, -1, partners)


def _of_other_label(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> Partners:
    """Return for each example the first one of its group with another label."""
    rows = np.arange(len(groups))
    first = _first(groups, rows)[groups]
    differs = labels != labels[first]
    return np.where(differs, first, _first(groups, rows[differs])[groups])


def _first(groups: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first of `rows` in each group, or -1: `[max(groups) + 1]`."""
    first = np.full(groups.max() + 1, -1)
    first[groups[rows[::-1]]] = rows[::-1]  # of repeated indices, the last assignment wins
    return first


def _pairs(examples: Examples, partners: Partners) -> list[Pair]:
    def described(row: int) -> tuple[str, str]:
        return examples.places[row], examples.names[examples.labels[row]]

    pairs = []
    for row in np.flatnonzero(partners >= 0)[:MAX_PAIRS]:
        (place, label), (other_place, other_label) = described(row), described(partners[row])
        pairs.append(Pair(place=place, label=label, other_place=other_place, other_label=other_label))
    return pairs
