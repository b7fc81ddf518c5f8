"""The grid of the study."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Literal

from relu_pipeline.config import ActivationName, StudyConfig

Initialisation = Literal["he", "glorot", "small"]

# He et al. 2015 (arXiv:1502.01852) for ReLU and similar functions, Glorot & Bengio 2010 for the saturating ones.
INITIALISATION: dict[ActivationName, Initialisation] = {
    "relu": "he",
    "leaky_relu": "he",
    "prelu": "he",
    "elu": "he",
    "gelu": "he",
    "sigmoid": "glorot",
    "tanh": "glorot",
}


@dataclass(frozen=True)
class Cell:
    """Settings of one training, with `depth` hidden layers of `width` units."""

    activation: ActivationName
    initialisation: Initialisation
    depth: int
    width: int
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in self.settings.values())

    @property
    def settings(self) -> dict[str, Any]:
        return asdict(self)


def grid(config: StudyConfig) -> list[Cell]:
    """Return all cells: each activation, depth, learning rate and seed, and ReLU with too small initial weights."""
    tiny_relu: tuple[ActivationName, Initialisation] = ("relu", "small")
    whole = itertools.product(INITIALISATION.items(), config.depths, config.learning_rates)
    small = itertools.product([tiny_relu], config.depths, config.learning_rates[:1])
    return [
        Cell(activation, initialisation, depth, config.width, rate, seed)
        for (activation, initialisation), depth, rate in (*whole, *small)
        for seed in range(config.seeds)
    ]
