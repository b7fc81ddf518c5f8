"""Activation functions and their derivatives, element by element, in the dtype of `x` (float32 or float64).

A derivative at a kink is the one from the left, as in PyTorch: ReLU's at 0 is 0. NaN gives NaN. No input warns.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.config import ActivationName

Function = Callable[[NDArray], NDArray]

LEAKY_SLOPE = 0.01
PRELU_SLOPE = 0.25  # where training begins (He et al. 2015, arXiv:1502.01852)
VANISHED = 40.0  # beyond this the normal density is 0

_erfc = np.vectorize(math.erfc, otypes=[float])


def relu(x: NDArray) -> NDArray:
    """`max(0, x)`."""
    return np.maximum(x, 0)


def relu_derivative(x: NDArray) -> NDArray:
    return _piecewise(x, np.zeros_like(x), np.ones_like(x))


def relu6(x: NDArray) -> NDArray:
    """`min(max(0, x), 6)` (Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10)."""
    return np.clip(x, 0, 6)


def relu6_derivative(x: NDArray) -> NDArray:
    """0 at both kinks, as in PyTorch."""
    return np.where(x < 6, relu_derivative(x), _piecewise(x, np.zeros_like(x), np.zeros_like(x)))


def leaky_relu(x: NDArray, slope: float = LEAKY_SLOPE) -> NDArray:
    """`x` above 0, `slope * x` below (Maas et al. 2013)."""
    return _piecewise(x, x.dtype.type(slope) * x, x)


def leaky_relu_derivative(x: NDArray, slope: float = LEAKY_SLOPE) -> NDArray:
    return _piecewise(x, np.full_like(x, slope), np.ones_like(x))


def prelu(x: NDArray, slope: float = PRELU_SLOPE) -> NDArray:
    """Leaky ReLU whose slope is learnt."""
    return leaky_relu(x, slope)


def prelu_derivative(x: NDArray, slope: float = PRELU_SLOPE) -> NDArray:
    """By `x`; `prelu_slope_derivative` is by the slope."""
    return leaky_relu_derivative(x, slope)


def prelu_slope_derivative(x: NDArray) -> NDArray:
    return np.minimum(x, 0)


def elu(x: NDArray) -> NDArray:
    """`x` above 0, `exp(x) - 1` below (Clevert et al. 2015, arXiv:1511.07289)."""
    return _piecewise(x, np.expm1(np.minimum(x, 0)), x)


def elu_derivative(x: NDArray) -> NDArray:
    return _piecewise(x, np.exp(np.minimum(x, 0)), np.ones_like(x))


def sigmoid(x: NDArray) -> NDArray:
    """`1 / (1 + exp(-x))`."""
    tail = np.exp(-np.abs(x))
    return np.where(x < 0, tail, 1) / (1 + tail)


def sigmoid_derivative(x: NDArray) -> NDArray:
    tail = np.exp(-np.abs(x))
    return tail / (1 + tail) ** 2


def tanh(x: NDArray) -> NDArray:
    return np.tanh(x)


def tanh_derivative(x: NDArray) -> NDArray:
    return 1 - np.tanh(x) ** 2


def gelu(x: NDArray) -> NDArray:
    """`x` times the normal distribution function of `x` (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    return np.maximum(x, -VANISHED) * _normal_cdf(x)


def gelu_derivative(x: NDArray) -> NDArray:
    near = np.clip(x, -VANISHED, VANISHED)
    return _normal_cdf(x) + near * np.exp(-(near**2) / 2) / x.dtype.type(math.sqrt(2 * math.pi))


def silu(x: NDArray) -> NDArray:
    """`x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118)."""
    tail = np.exp(-np.abs(x))
    # Bounded, as infinity times 0 is no number.
    below = np.clip(x, -_exponent_range(x), 0) * tail
    return np.where(x < 0, below, x) / (1 + tail)


def silu_derivative(x: NDArray) -> NDArray:
    near = np.clip(x, -_exponent_range(x), _exponent_range(x))
    return sigmoid(x) + near * sigmoid_derivative(near)


def _exponent_range(x: NDArray) -> np.floating:
    """Where `exp(-x)` is about to be 0."""
    return -np.log(np.finfo(x.dtype).tiny)


def _piecewise(x: NDArray, below: NDArray, above: NDArray) -> NDArray:
    return np.where(np.isnan(x), x, np.where(x > 0, above, below))


def _normal_cdf(x: NDArray) -> NDArray:
    return (0.5 * _erfc(-x.astype(np.float64) / math.sqrt(2))).astype(x.dtype)


# Each function with its derivative.
FUNCTIONS: dict[ActivationName, tuple[Function, Function]] = {
    "relu": (relu, relu_derivative),
    "relu6": (relu6, relu6_derivative),
    "leaky_relu": (leaky_relu, leaky_relu_derivative),
    "prelu": (prelu, prelu_derivative),
    "elu": (elu, elu_derivative),
    "gelu": (gelu, gelu_derivative),
    "silu": (silu, silu_derivative),
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (tanh, tanh_derivative),
}
