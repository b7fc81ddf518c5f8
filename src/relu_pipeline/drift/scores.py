"""Scores of how unusual an example is, from the network's outputs for it. They are fitted to the validation split.

A score takes the outputs for N examples and returns `[N]`, with larger values for less usual examples.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from relu_pipeline.health.zero_shares import Answers, confidence

Score = Callable[[Answers], NDArray[np.float64]]

PRIOR_ROWS = 10  # weight of the overall mean in the mean of each class, which may have few examples or none


def max_softmax_score(answers: Answers) -> NDArray[np.float64]:
    """Return the max-softmax baseline of Hendrycks & Gimpel 2017, arXiv:1610.02136."""
    return 1 - confidence(answers.probabilities).astype(np.float64)


def zero_share_score(val: Answers) -> Score:
    """Return a score by the squared Mahalanobis distance of the zero fractions.

    On shifted copies of the validation split, it detected shifts better than z scores.
    """
    mean = val.zero_shares.mean(axis=0, dtype=np.float64)
    precision, _ = _precision(val.zero_shares - mean)
    return lambda answers: _squared_distance(answers.zero_shares - mean, precision)


def combined_score(val: Answers) -> Score:
    """Return a score by Fisher's method: the negative logarithm of the product of two tail probabilities (Fisher 1932).

    The first is of the zero fractions: that of the squared Mahalanobis distance to the mean of the predicted class (Lee
    et al. 2018, arXiv:1807.03888), assumed to be chi-squared. The second is of the confidence: the fraction of the
    validation examples that are at least as uncertain. An empirical fraction would not suit the distance, as it would
    be the same for all examples beyond those of the validation split.
    """
    means_CR = _class_means(val)
    precision, degrees = _precision(val.zero_shares - means_CR[_predicted(val)])
    val_scores = np.sort(max_softmax_score(val))

    def score(answers: Answers) -> NDArray[np.float64]:
        distances = _squared_distance(answers.zero_shares - means_CR[_predicted(answers)], precision)
        as_uncertain = len(val_scores) - np.searchsorted(val_scores, max_softmax_score(answers))
        return -_log_chi_squared_tail(distances, degrees) - np.log((as_uncertain + 1) / (len(val_scores) + 1))

    return score


def _predicted(answers: Answers) -> NDArray[np.int64]:
    predicted_N: NDArray[np.int64] = answers.probabilities.argmax(axis=1)
    return predicted_N


def _class_means(val: Answers) -> NDArray[np.float64]:
    """Return the mean zero fractions by predicted class, `[C, R]`."""
    one_hot_NC = np.eye(val.probabilities.shape[1])[_predicted(val)]
    prior_R = PRIOR_ROWS * val.zero_shares.mean(axis=0, dtype=np.float64)
    rows_C1 = one_hot_NC.sum(axis=0)[:, None]
    means_CR: NDArray[np.float64] = (one_hot_NC.T @ val.zero_shares + prior_R) / (rows_C1 + PRIOR_ROWS)
    return means_CR


def _precision(centred_NR: NDArray[np.float64]) -> tuple[NDArray[np.floating], int]:
    """Return the pseudo-inverse of the covariance, and its rank, as the fraction of a layer may be constant."""
    covariance = centred_NR.T @ centred_NR / len(centred_NR)
    return np.linalg.pinv(covariance, hermitian=True), int(np.linalg.matrix_rank(covariance, hermitian=True))


def _squared_distance(centred_NR: NDArray[np.float64], precision: NDArray[np.floating]) -> NDArray[np.float64]:
    distance_N: NDArray[np.float64] = np.einsum("ni,ij,nj->n", centred_NR, precision, centred_NR)
    return distance_N


def _log_chi_squared_tail(values: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Return the log of the upper tail of the chi-squared distribution; it is finite for extreme values, too.

    It uses the normal approximation of the cube root: Wilson & Hilferty 1931, doi:10.1073/pnas.17.12.684.
    """
    if degrees == 0:
        return np.zeros_like(values)
    spread = 2 / (9 * degrees)
    z = (np.cbrt(values / degrees) - (1 - spread)) / np.sqrt(spread)
    tail: NDArray[np.float64] = torch.special.log_ndtr(torch.from_numpy(-z)).numpy()
    return tail
