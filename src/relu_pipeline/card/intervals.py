"""95 % confidence intervals of the test metrics, with respect to the sampling of the test examples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from relu_pipeline.data.randomness import generator

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0


class Interval(NamedTuple):
    low: float
    high: float


def accuracy_interval(correct: int, examples: int) -> Interval:
    """Return the score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    found = binomtest(correct, examples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def macro_intervals(counts_CC: NDArray[np.int64]) -> dict[str, Interval]:
    """Return percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13) of `macro_scores`.

    The scores depend only on the confusion matrix. A bootstrap resample of the examples is therefore drawn as one
    confusion matrix from a multinomial distribution.
    """
    rng = generator(SEED, "confidence intervals")
    cells = np.nonzero(counts_CC)
    examples, counts_K = counts_CC.sum(), counts_CC[cells]
    draws = []
    for _ in range(RESAMPLES):
        resampled_CC = np.zeros_like(counts_CC)
        resampled_CC[cells] = rng.multinomial(examples, counts_K / examples)
        draws.append(macro_scores(resampled_CC))
    tail = (1 - CONFIDENCE) / 2
    return {
        name: Interval(*np.quantile([draw[name] for draw in draws], (tail, 1 - tail)).tolist()) for name in draws[0]
    }


def macro_scores(counts_CC: NDArray[np.int64]) -> dict[str, float]:
    """Return the macro means of `Metrics` for a confusion matrix: row = true class, column = predicted class.

    The means are over the same classes as in `evaluation.metrics.measure`.
    """
    right_C, true_C, predicted_C = counts_CC.diagonal(), counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    recall_C = right_C / np.maximum(true_C, 1)
    by_class = {
        "f1_macro": 2 * right_C / np.maximum(true_C + predicted_C, 1),
        "precision_macro": right_C / np.maximum(predicted_C, 1),
    }
    occurs_C = true_C + predicted_C > 0
    balanced = {"balanced_accuracy": float(recall_C[true_C > 0].mean())}
    return balanced | {name: float(values_C[occurs_C].mean()) for name, values_C in by_class.items()}
