"""Benchmark of the activation functions: forward and backward pass over a million values."""

import time

import numpy as np
import torch

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.health.record import Row

VALUES = 1_000_000
ROUNDS = 51


def measure_cost() -> list[Row]:
    """Return a row per function: the median time, and the quartiles of its ratio to ReLU's time.

    The functions run alternately, so that the load of the machine affects all alike.
    """
    x = torch.randn(VALUES, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ones = torch.ones(VALUES)
    rounds = [[_milliseconds(activation.module(), x, ones) for activation in CATALOGUE.values()] for _ in range(ROUNDS)]
    ms_RA = np.array(rounds)
    ratios_RA = ms_RA / ms_RA[:, [list(CATALOGUE).index("relu")]]
    columns = (np.median(ms_RA, axis=0), *np.quantile(ratios_RA, (0.25, 0.5, 0.75), axis=0))
    names = ("median_ms", "lower_quartile", "median", "upper_quartile")
    figures = zip(CATALOGUE, *(column.tolist() for column in columns), strict=True)
    return [{"activation": name, **dict(zip(names, values, strict=True))} for name, *values in figures]


def _milliseconds(module: torch.nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> float:
    x.grad = None  # accumulating into it would add to the time
    started = time.perf_counter()
    module(x).backward(gradient)
    return 1000 * (time.perf_counter() - started)
