"""Streaming classification metrics."""

from collections.abc import Sequence

import numpy as np

SHOWN_LABELS = 5


class Score:
    """Confusion matrix int64 `[C + 1, C]` of actual and predicted labels, and its metrics.

    The last row counts labels that the model does not have. They are mistakes: they reduce the accuracy, and the
    precision of the predicted class.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.confusion = np.zeros((len(labels) + 1, len(labels)), np.int64)
        self.unknown: list[str] = []  # the first few

    def add(self, actual: str, predicted: int) -> None:
        self.confusion[self.numbers.get(actual, -1), predicted] += 1
        if actual not in self.numbers and actual not in self.unknown and len(self.unknown) < SHOWN_LABELS:
            self.unknown.append(actual)

    @property
    def count(self) -> int:
        return int(self.confusion.sum())

    @property
    def count_unknown(self) -> int:
        return int(self.confusion[-1].sum())

    @property
    def accuracy(self) -> float:
        return float(self.confusion.trace() / self.count)

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean recall over the classes that occur."""
        right, actual, _ = self._by_class()
        return float((right[actual > 0] / actual[actual > 0]).mean())

    @property
    def f1_macro(self) -> float:
        """Return the mean F1 over the classes that occur or are predicted."""
        right, actual, predicted = self._by_class()
        either = actual + predicted > 0
        return float((2 * right[either] / (actual + predicted)[either]).mean())

    def _by_class(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        known = self.confusion[:-1]
        return known.diagonal(), known.sum(axis=1), self.confusion.sum(axis=0)
