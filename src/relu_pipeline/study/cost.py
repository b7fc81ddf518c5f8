"""What each activation function costs: forward and backward over a million values, on this machine."""

import time
from statistics import median

import torch

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.health.record import Row

VALUES = 1_000_000
ROUNDS = 15


def measure_cost() -> list[Row]:
    """Medians over rounds in which the functions take turns, in milliseconds."""
    x = torch.randn(VALUES, generator=torch.Generator().manual_seed(0)).requires_grad_()
    times: dict[str, list[float]] = {name: [] for name in CATALOGUE}
    for _ in range(ROUNDS):
        for name, activation in CATALOGUE.items():
            times[name].append(_milliseconds(activation.module(), x))
    return [
        {"activation": name, "median_ms": median(ms), "min_ms": min(ms), "max_ms": max(ms)}
        for name, ms in times.items()
    ]


def _milliseconds(module: torch.nn.Module, x: torch.Tensor) -> float:
    started = time.perf_counter()
    module(x).sum().backward()
    return 1000 * (time.perf_counter() - started)
