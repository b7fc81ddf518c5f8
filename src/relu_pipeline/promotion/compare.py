"""Paired comparison of two models on the same examples."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.evaluation.predict import cpu_session, predict_onnx

RESAMPLES = 2000
LATENCY_RUNS = 50
SEED = 0


@dataclass(frozen=True)
class Paired:
    """Paired comparison of the accuracies of candidate and champion.

    Only the candidate is right on `gained` examples, only the champion on `lost`. `interval` is the 95 % interval of
    the difference.
    """

    rows: int
    accuracy: float
    champion_accuracy: float
    gained: int
    lost: int
    p_value: float
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        return self.accuracy - self.champion_accuracy


def compare(candidate: NDArray[np.bool_], champion: NDArray[np.bool_]) -> Paired:
    """Compare two models by whether they are right on each example, bool `[N]`.

    Uses McNemar's exact test (McNemar 1947, Psychometrika 12) and a 95 % bootstrap interval over pairs (Efron 1979).
    """
    gained, lost = int((candidate & ~champion).sum()), int((champion & ~candidate).sum())
    p_value = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    differences = candidate.astype(np.float64) - champion
    low = high = float(differences.mean())
    if np.ptp(differences) > 0:  # resamples differ
        rng = generator(SEED, "bootstrap")
        found = bootstrap((differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng, batch=100)
        low, high = found.confidence_interval
    means = float(candidate.mean()), float(champion.mean())
    return Paired(len(candidate), *means, gained, lost, p_value, (float(low), float(high)))


def right(model: Path, split: PreparedSplit) -> NDArray[np.bool_]:
    """Return whether the graph is right on each example of the split, bool `[N]`."""
    right_N: NDArray[np.bool_] = predict_onnx(model, split).argmax(axis=1) == split.labels.numpy()
    return right_N


def changed_answers(model: Path, split: PreparedSplit, variants: Mapping[str, PreparedSplit]) -> dict[str, float]:
    """Return, by variant, the fraction of examples whose predicted class differs from that of the original."""
    plain = predict_onnx(model, split).argmax(axis=1)
    return {name: float((predict_onnx(model, rows).argmax(axis=1) != plain).mean()) for name, rows in variants.items()}


def latency_ratio(candidate: Path, champion: Path, row: NDArray[np.generic]) -> float:
    """Return the ratio of the median latencies of candidate and champion for one input, measured alternately."""
    sessions = [cpu_session(candidate), cpu_session(champion)]
    times: list[list[float]] = [[], []]
    for _ in range(LATENCY_RUNS):
        for session, taken in zip(sessions, times, strict=True):
            started = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: row})
            taken.append(time.perf_counter() - started)
    return float(np.median(times[0]) / np.median(times[1]))
