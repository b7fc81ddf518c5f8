"""Figures out of probabilities float `[N, C]` and true labels int `[N]`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from relu_pipeline.artifacts import Metrics

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """By bin of the top probability: its mean, the share of right answers, and the number of rows."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""
        return float(np.sum(self.count * np.abs(self.confidence - self.accuracy)) / np.sum(self.count))


def measure(probabilities: Probabilities, labels: Labels, names: list[str], calibration_bins: int) -> Metrics:
    classes = np.arange(len(names))
    predicted = probabilities.argmax(axis=1)
    by_class = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    precision, recall, f1, support = (np.asarray(column, dtype=float) for column in by_class)
    return Metrics(
        accuracy=float((predicted == labels).mean()),
        f1_macro=float(f1.mean()),
        precision_macro=float(precision.mean()),
        recall_macro=float(recall.mean()),
        loss=cross_entropy(probabilities, labels),
        calibration_error=reliability(probabilities, labels, calibration_bins).calibration_error,
        per_class={
            name: {"precision": precision[i], "recall": recall[i], "f1": f1[i], "rows": support[i]}
            for i, name in enumerate(names)
        },
    )


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean, in nats; a probability that underflowed to 0 counts as the smallest float."""
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true_class, np.finfo(np.float32).tiny)).mean())


def reliability(probabilities: Probabilities, labels: Labels, num_bins: int) -> Reliability:
    """Equal-width bins of the top probability; an empty bin has confidence and accuracy 0."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.clip((confidence * num_bins).astype(int), 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    divisor = np.maximum(count, 1)
    return Reliability(
        confidence=np.bincount(bins, confidence, minlength=num_bins) / divisor,
        accuracy=np.bincount(bins, correct, minlength=num_bins) / divisor,
        count=count,
    )


def confusion_counts(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """`[C, C]`: row = true class, column = predicted class."""
    num_classes = probabilities.shape[1]
    cells = labels * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def confident_mistakes(probabilities: Probabilities, labels: Labels, count: int) -> NDArray[np.int64]:
    """Rows answered wrongly, the highest probability first; at most `count`."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order][:count]
