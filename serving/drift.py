"""Drift detection by the population stability index. The stage `drift` evaluates this code, too."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = "confidence"  # name of the signal of the largest probability
# Of one evaluation of all signals without shift. It is small because a service evaluates every few examples.
FALSE_ALARM_PROBABILITY = 1e-6
# If chance alone can reach this index, there are too few examples to detect drift. As a rule of thumb, 0.25 is a large
# shift.
MAX_CHANCE_INDEX = 1.0


@dataclass(frozen=True)
class Drift:
    """State of a drift monitor.

    `value` is the largest index of `by_signal`; both are None until `window` examples were seen, or if `too_few` says
    why there are too few validation examples for any value. `threshold` is the configured one, or a higher one if
    chance alone could reach it. `raised_since` is a UTC time in ISO 8601 while `value` is above the threshold.
    """

    value: float | None
    threshold: float
    window: int
    rows_seen: int
    raised_since: str | None
    by_signal: dict[str, float] | None
    too_few: str | None


class DriftMonitor:
    """Thread-safe monitor of the population stability index of each signal over the last `window` examples.

    `baseline` has, by signal, a manifest's `ColumnBaseline` with `rows`, `edges` and `bin_shares`; a signal is the zero
    fraction of a ReLU layer, or the confidence. One pseudo-example, distributed as the baseline, is added to the
    window, so that no bin is empty.
    """

    def __init__(self, baseline: Mapping[str, Mapping[str, Any]], window: int, threshold: float) -> None:
        self.signals = list(baseline)
        self.window = window
        num_bins = max((len(signal["bin_shares"]) for signal in baseline.values()), default=1)
        self.edges_RE = _filled([signal["edges"] for signal in baseline.values()], num_bins - 1, np.inf)
        self.expected_RB = _filled([signal["bin_shares"] for signal in baseline.values()], num_bins, 0.0)
        baseline_rows = min((signal["rows"] for signal in baseline.values()), default=0)
        self.threshold, self.too_few = choose_threshold(threshold, baseline_rows, window, len(baseline), num_bins)
        self.recent = np.zeros((window, len(self.signals)), dtype=np.intp)  # ring buffer of bins
        self.counts_RB = np.zeros(self.expected_RB.shape)
        self.columns = np.arange(len(self.signals))
        self.rows_seen = 0
        self.raised_since: str | None = None
        self.lock = Lock()

    def add(self, values_NR: NDArray[np.float32]) -> Drift:
        """Add the signals `[N, R]` of examples and return the new state."""
        bins_NR = (values_NR[:, :, None] > self.edges_RE).sum(axis=2)
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
        by_signal = None
        if self.rows_seen >= self.window and self.signals and self.too_few is None:
            found = stability_index(self.counts_RB, self.expected_RB)
            by_signal = dict(zip(self.signals, found.tolist(), strict=True))
        value = max(by_signal.values()) if by_signal else None
        if value is None or value <= self.threshold:
            self.raised_since = None
        elif self.raised_since is None:
            self.raised_since = datetime.now(UTC).isoformat(timespec="seconds")
        return Drift(value, self.threshold, self.window, self.rows_seen, self.raised_since, by_signal, self.too_few)


def choose_threshold(
    configured: float, baseline_rows: int, window: int, num_signals: int, num_bins: int
) -> tuple[float, str | None]:
    """Return the threshold, and why there are too few validation examples to detect drift, or None."""
    if num_signals == 0:
        return configured, None
    by_chance = chance_index(baseline_rows, window, num_signals, num_bins)
    if by_chance <= MAX_CHANCE_INDEX:
        return max(configured, by_chance), None
    return configured, (
        f"{baseline_rows} validation examples and a window of {window} are too few: without drift the index could "
        f"reach {by_chance:.1f} by chance; use more validation data"
    )


def chance_index(baseline_rows: int, window: int, num_signals: int, num_bins: int) -> float:
    """Return the value that the largest index exceeds with `FALSE_ALARM_PROBABILITY` if there is no shift.

    The index of n examples against m is distributed as (1/n + 1/m) times chi-squared with one degree of freedom less
    than bins (Yurdakul & Naranjo 2020, Journal of Risk Model Validation 14), if the bins have about 20 examples each.
    The probability is divided by the number of signals (Bonferroni). Wilson & Hilferty's approximation of the quantile
    (1931, doi:10.1073/pnas.17.12.684) is 3 % too large at this probability for 10 bins, and 15 % for two.
    """
    degrees = max(1, num_bins - 1)
    z = NormalDist().inv_cdf(1 - FALSE_ALARM_PROBABILITY / num_signals)
    spread = 2 / (9 * degrees)
    return (1 / window + 1 / baseline_rows) * degrees * (1 - spread + z * math.sqrt(spread)) ** 3


def stability_index(counts_RB: NDArray[np.float64], expected_RB: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the index of each signal, `[R]`: the sum over the bins of (p - q) ln(p / q) (Siddiqi 2006).

    p are the fractions of the counts, q the expected ones. As a rule of thumb, 0.1 is a small and 0.25 a large shift.
    """
    found_RB = (counts_RB + expected_RB) / (counts_RB.sum(axis=1, keepdims=True) + 1)
    used_RB = expected_RB > 0  # the rest is padding of signals with fewer bins
    ratio_RB = np.divide(found_RB, expected_RB, out=np.ones_like(found_RB), where=used_RB)
    index_R: NDArray[np.float64] = ((found_RB - expected_RB) * np.log(ratio_RB)).sum(axis=1)
    return index_R


def _filled(rows: list[list[float]], width: int, value: float) -> NDArray[np.float64]:
    """Return the rows as an array `[R, width]`, padded by `value`."""
    return np.array([[*row, *[value] * (width - len(row))] for row in rows], dtype=np.float64).reshape(len(rows), width)
