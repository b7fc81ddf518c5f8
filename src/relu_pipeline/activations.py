"""The activation functions that a network may be built with. Their maths is in `reference/functions.py`."""

import math
from dataclasses import dataclass

from torch import nn

from relu_pipeline.config import ActivationName


@dataclass(frozen=True)
class Activation:
    """`lower` and `upper` bound the outputs; `at_0` is the output for the input 0."""

    module: type[nn.Module]
    lower: float = -math.inf
    upper: float = math.inf
    at_0: float = 0.0

    @property
    def gives_zeros(self) -> bool:
        """Exactly 0, for all inputs below 0."""
        return self.lower == 0 == self.at_0

    @property
    def saturates(self) -> bool:
        """At both ends; the zeros of ReLU6 are counted as zeros."""
        return math.isfinite(self.lower) and math.isfinite(self.upper) and not self.gives_zeros


CATALOGUE: dict[ActivationName, Activation] = {
    "relu": Activation(nn.ReLU, lower=0.0),
    "relu6": Activation(nn.ReLU6, 0.0, 6.0),
    "leaky_relu": Activation(nn.LeakyReLU),
    "prelu": Activation(nn.PReLU),
    "elu": Activation(nn.ELU, lower=-1.0),
    "gelu": Activation(nn.GELU, lower=-0.17),
    "silu": Activation(nn.SiLU, lower=-0.279),
    "sigmoid": Activation(nn.Sigmoid, 0.0, 1.0, at_0=0.5),
    "tanh": Activation(nn.Tanh, -1.0, 1.0),
}
