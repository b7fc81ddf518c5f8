"""Does the network behave as on the validation split? Pure NumPy, so that the stage `drift` measures the same code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = "confidence"  # the signal beside the ReLU layers: the largest probability
# Of one judgement of all signals, where nothing but chance moves the index. It is this small because a service judges
# again and again, each time a few examples further.
FALSE_ALARM_PROBABILITY = 1e-6
# If chance alone could move the index as far as this, the examples are too few to tell. By the usual rule of thumb 0.25
# is a large shift.
MAX_CHANCE_INDEX = 1.0


@dataclass(frozen=True)
class Drift:
    """`value` is the largest index of `by_signal`; both are None until `window` rows were seen, or if they are too few.

    `threshold` is the configured one, or a higher one where chance alone could reach that. `raised_since` is a UTC time
    of ISO 8601 while `value` is above it. `too_few` says why no number of rows seen will give a value.
    """

    value: float | None
    threshold: float
    window: int
    rows_seen: int
    raised_since: str | None
    by_signal: dict[str, float] | None
    too_few: str | None


class DriftMonitor:
    """Population stability index, by signal, of the last `window` rows against the baseline's bins.

    `baseline`: by signal, a manifest's `ColumnBaseline` with `rows`, `edges` and `bin_shares`; a signal is a ReLU
    layer's zero fraction, or the confidence. The window counts as if it had one row more, spread over the bins as the
    baseline is: no bin is empty, and the baseline itself has the index 0.
    """

    def __init__(self, baseline: Mapping[str, Mapping[str, Any]], window: int, threshold: float) -> None:
        self.signals = list(baseline)
        self.window = window
        num_bins = max((len(signal["bin_shares"]) for signal in baseline.values()), default=1)
        self.edges_RE = _filled([signal["edges"] for signal in baseline.values()], num_bins - 1, np.inf)
        self.expected_RB = _filled([signal["bin_shares"] for signal in baseline.values()], num_bins, 0.0)
        baseline_rows = min((signal["rows"] for signal in baseline.values()), default=0)
        self.threshold, self.too_few = choose_threshold(threshold, baseline_rows, window, len(baseline), num_bins)
        self.recent = np.zeros((window, len(self.signals)), dtype=np.intp)  # a ring: the bins of the last rows
        self.counts_RB = np.zeros(self.expected_RB.shape)
        self.columns = np.arange(len(self.signals))
        self.rows_seen = 0
        self.raised_since: str | None = None
        self.lock = Lock()

    def add(self, values_NR: NDArray[np.float32]) -> Drift:
        """Take in the signals of answered rows, from any thread, and return the verdict after them."""
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
    """Return the threshold, and why there are too few rows to tell a shift from chance, or None if there are enough."""
    if num_signals == 0:
        return configured, None
    by_chance = chance_index(baseline_rows, window, num_signals, num_bins)
    if by_chance <= MAX_CHANCE_INDEX:
        return max(configured, by_chance), None
    return configured, (
        f"{baseline_rows} validation examples and a window of {window} are too few to tell drift from chance, "
        f"which alone could move the index to {by_chance:.1f}; use more validation data"
    )


def chance_index(baseline_rows: int, window: int, num_signals: int, num_bins: int) -> float:
    """Return what the largest index of the signals exceeds with `FALSE_ALARM_PROBABILITY` if nothing has shifted.

    The index of `n` rows against `m` is (1/n + 1/m) times chi-squared, with a degree of freedom less than bins
    (Yurdakul & Naranjo 2020, Journal of Risk Model Validation 14), if the bins have some 20 rows each. Bonferroni's
    bound over the signals; Wilson & Hilferty's quantile of chi-squared (1931, doi:10.1073/pnas.17.12.684), which so far
    out is 3 % too large for 10 bins and 15 % for two.
    """
    degrees = max(1, num_bins - 1)
    z = NormalDist().inv_cdf(1 - FALSE_ALARM_PROBABILITY / num_signals)
    spread = 2 / (9 * degrees)
    return (1 / window + 1 / baseline_rows) * degrees * (1 - spread + z * math.sqrt(spread)) ** 3


def stability_index(counts_RB: NDArray[np.float64], expected_RB: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[R]`: sum over the bins of (p - q) ln(p / q), p of the counts, q expected (Siddiqi 2006).

    At least 0; by the usual rule of thumb 0.1 is a small shift and 0.25 a large one.
    """
    found_RB = (counts_RB + expected_RB) / (counts_RB.sum(axis=1, keepdims=True) + 1)
    used_RB = expected_RB > 0  # the rest fills up the rows of layers with fewer bins
    ratio_RB = np.divide(found_RB, expected_RB, out=np.ones_like(found_RB), where=used_RB)
    index_R: NDArray[np.float64] = ((found_RB - expected_RB) * np.log(ratio_RB)).sum(axis=1)
    return index_R


def _filled(rows: list[list[float]], width: int, value: float) -> NDArray[np.float64]:
    """`[R, width]`, `value` behind the shorter rows."""
    return np.array([[*row, *[value] * (width - len(row))] for row in rows], dtype=np.float64).reshape(len(rows), width)
