"""Scores of predicted classes, computed by torchmetrics, for both training and evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_recall


def classification_scores(predicted: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Return `accuracy`, `balanced_accuracy` and `f1_macro` of predicted classes int64 `[N]` for labels int64 `[N]`.

    Balanced accuracy is the mean recall of the classes that occur in `labels`. Macro F1 is the mean over the classes
    that occur in `labels` or in `predicted`; a class that occurs only in `predicted` has an F1 of 0. The definitions
    are those of scikit-learn's `balanced_accuracy_score` and `f1_score`.
    """
    with _counting_by_bincount():
        recall_C = multiclass_recall(predicted, labels, num_classes, average="none")
        return {
            "accuracy": multiclass_accuracy(predicted, labels, num_classes, average="micro"),
            "balanced_accuracy": recall_C[torch.bincount(labels, minlength=num_classes) > 0].mean(),
            "f1_macro": multiclass_f1_score(predicted, labels, num_classes, average="macro"),
        }


@contextmanager
def _counting_by_bincount() -> Iterator[None]:
    """Disable PyTorch's deterministic mode, in which torchmetrics allocates N * C^2 numbers to count N examples.

    Integer counts do not depend on the order of summation.
    """
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
