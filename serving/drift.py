"""Has what the ReLUs do moved away from the validation split? Pure NumPy, so that `evaluate` measures the same code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drift:
    """`value` is the largest index of `by_layer`; both are None until `window` rows were seen.

    `raised_since` is a UTC time of ISO 8601 while `value` is above `threshold`.
    """

    value: float | None
    threshold: float
    window: int
    rows_seen: int
    raised_since: str | None
    by_layer: dict[str, float] | None


class DriftMonitor:
    """Population stability index, by layer, of the last `window` rows against the baseline's bins.

    `baseline`: a manifest's `relu_baseline`, with `edges` and `bin_shares` by layer. The window counts as if it had one
    row more, spread over the bins as the baseline is: no bin is empty, and the baseline itself has the index 0.
    """

    def __init__(self, baseline: Mapping[str, Mapping[str, Any]], window: int, threshold: float) -> None:
        self.layers = list(baseline)
        self.window = window
        self.threshold = threshold
        num_bins = max((len(layer["bin_shares"]) for layer in baseline.values()), default=1)
        self.edges_RE = _filled([layer["edges"] for layer in baseline.values()], num_bins - 1, np.inf)
        self.expected_RB = _filled([layer["bin_shares"] for layer in baseline.values()], num_bins, 0.0)
        self.recent = np.zeros((window, len(self.layers)), dtype=np.intp)  # a ring: the bins of the last rows
        self.counts_RB = np.zeros(self.expected_RB.shape)
        self.columns = np.arange(len(self.layers))
        self.rows_seen = 0
        self.raised_since: str | None = None
        self.lock = Lock()

    def add(self, shares_NR: NDArray[np.float32]) -> Drift:
        """Take in the rows of an answer, of any thread, and give the verdict after them."""
        bins_NR = (shares_NR[:, :, None] > self.edges_RE).sum(axis=2)
        with self.lock:
            for start in range(0, len(bins_NR), self.window):
                self._replace_oldest(bins_NR[start : start + self.window])
            return self._judge()

    def read(self) -> Drift:
        with self.lock:
            return self._judge()

    def _replace_oldest(self, bins_NR: NDArray[np.intp]) -> None:
        places = np.arange(self.rows_seen, self.rows_seen + len(bins_NR)) % self.window
        leaving_NR = self.recent[places[self.rows_seen + np.arange(len(places)) >= self.window]]
        np.subtract.at(self.counts_RB, (self.columns, leaving_NR), 1)
        np.add.at(self.counts_RB, (self.columns, bins_NR), 1)
        self.recent[places] = bins_NR
        self.rows_seen += len(bins_NR)

    def _judge(self) -> Drift:
        by_layer = None
        if self.rows_seen >= self.window and self.layers:
            found = stability_index(self.counts_RB, self.expected_RB)
            by_layer = dict(zip(self.layers, found.tolist(), strict=True))
        value = max(by_layer.values()) if by_layer else None
        if value is None or value <= self.threshold:
            self.raised_since = None
        elif self.raised_since is None:
            self.raised_since = datetime.now(UTC).isoformat(timespec="seconds")
        return Drift(value, self.threshold, self.window, self.rows_seen, self.raised_since, by_layer)


def stability_index(counts_RB: NDArray[np.float64], expected_RB: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[R]`: sum over the bins of (p - q) ln(p / q), p of the counts, q expected (Siddiqi 2006).

    At least 0; by the usual rule of thumb 0.1 is a small shift and 0.25 a large one.
    """
    found_RB = (counts_RB + expected_RB) / (counts_RB.sum(axis=1, keepdims=True) + 1)
    used_RB = expected_RB > 0  # the rest fills up the rows of layers with fewer bins
    ratio_RB = np.divide(found_RB, expected_RB, out=np.ones_like(found_RB), where=used_RB)
    return ((found_RB - expected_RB) * np.log(ratio_RB)).sum(axis=1)


def _filled(rows: list[list[float]], width: int, value: float) -> NDArray[np.float64]:
    """`[R, width]`, `value` behind the shorter rows."""
    return np.array([[*row, *[value] * (width - len(row))] for row in rows], dtype=np.float64).reshape(len(rows), width)
