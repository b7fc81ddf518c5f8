"""Activation functions: reference implementations in NumPy, and the matching PyTorch modules.

To add one, write its function and its derivative and add an entry to CATALOGUE. The tests compare PyTorch and ONNX
Runtime with every entry. params.yaml refers to activations by their names in CATALOGUE.

Functions and derivatives are applied element-wise, in the dtype of `x` (float32 or float64). At a point without a
derivative, the left derivative is returned, as in PyTorch: that of ReLU at 0 is 0. NaN inputs return NaN. No input
causes a NumPy warning.
"""

import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.floating]
Function = Callable[[Floats], Floats]

LEAKY_SLOPE = 0.01
PRELU_SLOPE = 0.25  # initial value (He et al. 2015, arXiv:1502.01852)
VANISHED = 40.0  # beyond it, the normal density underflows to 0

_erfc = np.vectorize(math.erfc, otypes=[float])


def relu(x: Floats) -> Floats:
    """Return `max(0, x)`."""
    y: Floats = np.maximum(x, 0)
    return y


def relu_derivative(x: Floats) -> Floats:
    return _piecewise(x, np.zeros_like(x), np.ones_like(x))


def relu6(x: Floats) -> Floats:
    """Return `min(max(0, x), 6)` (Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10)."""
    y: Floats = np.clip(x, 0, 6)
    return y


def relu6_derivative(x: Floats) -> Floats:
    """Return the derivative of `relu6`; at 0 and at 6 it is 0, as in PyTorch."""
    return np.where(x < 6, relu_derivative(x), _piecewise(x, np.zeros_like(x), np.zeros_like(x)))


def leaky_relu(x: Floats, slope: float = LEAKY_SLOPE) -> Floats:
    """Return `x` above 0 and `slope * x` below (Maas et al. 2013)."""
    return _piecewise(x, x.dtype.type(slope) * x, x)


def leaky_relu_derivative(x: Floats, slope: float = LEAKY_SLOPE) -> Floats:
    return _piecewise(x, np.full_like(x, slope), np.ones_like(x))


def prelu(x: Floats, slope: float = PRELU_SLOPE) -> Floats:
    """Return the leaky ReLU of `x`; in a network, the slope is learned."""
    return leaky_relu(x, slope)


def prelu_derivative(x: Floats, slope: float = PRELU_SLOPE) -> Floats:
    """Return the derivative with respect to `x`; `prelu_slope_derivative` is with respect to the slope."""
    return leaky_relu_derivative(x, slope)


def prelu_slope_derivative(x: Floats) -> Floats:
    y: Floats = np.minimum(x, 0)
    return y


def elu(x: Floats) -> Floats:
    """Return `x` above 0 and `exp(x) - 1` below (Clevert et al. 2015, arXiv:1511.07289)."""
    return _piecewise(x, np.expm1(np.minimum(x, 0)), x)


def elu_derivative(x: Floats) -> Floats:
    return _piecewise(x, np.exp(np.minimum(x, 0)), np.ones_like(x))


def sigmoid(x: Floats) -> Floats:
    """Return `1 / (1 + exp(-x))`."""
    tail = np.exp(-np.abs(x))
    y: Floats = np.where(x < 0, tail, 1) / (1 + tail)
    return y


def sigmoid_derivative(x: Floats) -> Floats:
    tail = np.exp(-np.abs(x))
    y: Floats = tail / (1 + tail) ** 2
    return y


def tanh(x: Floats) -> Floats:
    y: Floats = np.tanh(x)
    return y


def tanh_derivative(x: Floats) -> Floats:
    y: Floats = 1 - np.tanh(x) ** 2
    return y


def gelu(x: Floats) -> Floats:
    """Return `x` times the standard normal CDF of `x` (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    y: Floats = np.maximum(x, -VANISHED) * _normal_cdf(x)
    return y


def gelu_derivative(x: Floats) -> Floats:
    near = np.clip(x, -VANISHED, VANISHED)
    y: Floats = _normal_cdf(x) + near * np.exp(-(near**2) / 2) / x.dtype.type(math.sqrt(2 * math.pi))
    return y


def silu(x: Floats) -> Floats:
    """Return `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118)."""
    tail = np.exp(-np.abs(x))
    # Clipped: infinity times 0 would be NaN.
    below = np.clip(x, -_exponent_range(x), 0) * tail
    y: Floats = np.where(x < 0, below, x) / (1 + tail)
    return y


def silu_derivative(x: Floats) -> Floats:
    near = np.clip(x, -_exponent_range(x), _exponent_range(x))
    y: Floats = sigmoid(x) + near * sigmoid_derivative(near)
    return y


def _exponent_range(x: Floats) -> np.floating:
    """Return the largest `x` for which `exp(-x)` is a normal number of its dtype."""
    bound: np.floating = -np.log(np.finfo(x.dtype).tiny)
    return bound


def _piecewise(x: Floats, below: Floats, above: Floats) -> Floats:
    return np.where(np.isnan(x), x, np.where(x > 0, above, below))


def _normal_cdf(x: Floats) -> Floats:
    y: Floats = (0.5 * _erfc(-x.astype(np.float64) / math.sqrt(2))).astype(x.dtype)
    return y


@dataclass(frozen=True)
class Activation:
    """Activation function with its derivative and its PyTorch class.

    `lower` and `upper` bound the outputs; `at_0` is the output for the input 0.
    """

    torch_class: str
    function: Function
    derivative: Function
    lower: float = -math.inf
    upper: float = math.inf
    at_0: float = 0.0

    @cached_property
    def module(self) -> "type[nn.Module]":
        """Return the PyTorch class. It is imported on first use, as the functions need only NumPy."""
        module: type[nn.Module] = pkgutil.resolve_name(self.torch_class)
        return module

    @property
    def gives_zeros(self) -> bool:
        """Return whether the output is exactly 0 for all inputs below 0."""
        return self.lower == 0 == self.at_0

    @property
    def saturates(self) -> bool:
        """Return whether the function saturates at both ends; ReLU6 does not count, as its zeros are counted apart."""
        return math.isfinite(self.lower) and math.isfinite(self.upper) and not self.gives_zeros


CATALOGUE = {
    "relu": Activation("torch.nn:ReLU", relu, relu_derivative, lower=0.0),
    "relu6": Activation("torch.nn:ReLU6", relu6, relu6_derivative, 0.0, 6.0),
    "leaky_relu": Activation("torch.nn:LeakyReLU", leaky_relu, leaky_relu_derivative),
    "prelu": Activation("torch.nn:PReLU", prelu, prelu_derivative),
    "elu": Activation("torch.nn:ELU", elu, elu_derivative, lower=-1.0),
    "gelu": Activation("torch.nn:GELU", gelu, gelu_derivative, lower=-0.17),
    "silu": Activation("torch.nn:SiLU", silu, silu_derivative, lower=-0.279),
    "sigmoid": Activation("torch.nn:Sigmoid", sigmoid, sigmoid_derivative, 0.0, 1.0, at_0=0.5),
    "tanh": Activation("torch.nn:Tanh", tanh, tanh_derivative, -1.0, 1.0),
}
