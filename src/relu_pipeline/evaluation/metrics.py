"""Metrics of probabilities float `[N, C]` for true labels int64 `[N]`, computed by torchmetrics."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification as scores

from relu_pipeline.artifacts import Metrics
from relu_pipeline.scores import classification_scores

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: for each bin of confidence the mean confidence, the accuracy and the number of examples."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]


def measure(probabilities: Probabilities, labels: Labels, calibration_bins: int) -> Metrics:
    """Return the metrics of a split.

    As in scikit-learn, macro averages are over the classes that occur in `labels` or are predicted; balanced accuracy
    is over those in `labels`.
    """
    num_classes = probabilities.shape[1]
    predicted, true = torch.from_numpy(probabilities.argmax(axis=1)), torch.from_numpy(labels)
    found = classification_scores(predicted, true, num_classes)
    return Metrics(
        accuracy=_to_float(found["accuracy"]),
        balanced_accuracy=_to_float(found["balanced_accuracy"]),
        f1_macro=_to_float(found["f1_macro"]),
        precision_macro=_to_float(scores.multiclass_precision(predicted, true, num_classes, average="macro")),
        loss=cross_entropy(probabilities, labels),
        calibration_error=calibration_error(probabilities, labels, calibration_bins),
    )


def measure_by_class(probabilities: Probabilities, labels: Labels) -> list[dict[str, float]]:
    """Return precision, recall, F1 and the number of examples of each class; undefined scores are 0."""
    num_classes = probabilities.shape[1]
    predicted, true = torch.from_numpy(probabilities.argmax(axis=1)), torch.from_numpy(labels)
    columns = {
        "precision": scores.multiclass_precision(predicted, true, num_classes, average="none").tolist(),
        "recall": scores.multiclass_recall(predicted, true, num_classes, average="none").tolist(),
        "f1": scores.multiclass_f1_score(predicted, true, num_classes, average="none").tolist(),
        "rows": np.bincount(labels, minlength=num_classes).tolist(),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _to_float(value: Tensor) -> float:
    """Return the value without digits beyond the precision of float32."""
    return round(value.item(), 7)


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean cross-entropy in nats; probabilities of 0 are replaced by the smallest normal float32."""
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true_class, np.finfo(np.float32).tiny)).mean())


def calibration_error(probabilities: Probabilities, labels: Labels, num_bins: int) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv:1706.04599) over equal-width bins."""
    rows = torch.from_numpy(probabilities), torch.from_numpy(labels)
    return _to_float(scores.multiclass_calibration_error(*rows, probabilities.shape[1], num_bins, norm="l1"))


def reliability(probabilities: Probabilities, labels: Labels, num_bins: int) -> Reliability:
    """Return the bins of `calibration_error` for a figure; an empty bin has confidence and accuracy 0."""
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
    """Return the confusion matrix `[C, C]`: rows are true classes, columns are predicted classes."""
    predicted, true = torch.from_numpy(probabilities.argmax(axis=1)), torch.from_numpy(labels)
    return scores.multiclass_confusion_matrix(predicted, true, probabilities.shape[1]).numpy()


def confident_mistakes(probabilities: Probabilities, labels: Labels, count: int) -> NDArray[np.int64]:
    """Return the indices of wrong predictions in order of decreasing confidence, at most `count`."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order][:count]
