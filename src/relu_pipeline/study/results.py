"""Results of the study, aggregated over the seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from relu_pipeline.config import ActivationName, StudyConfig
from relu_pipeline.health.record import Row
from relu_pipeline.study.cells import INITIALISATION, Initialisation
from relu_pipeline.study.train import CellResult


@dataclass(frozen=True)
class Spread:
    """Values of a measure, one for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return mean(self.values)

    def above(self, other: "Spread | float") -> bool:
        """Return whether all values are above all values of the other side."""
        return min(self.values) > (other if isinstance(other, int | float) else max(other.values))

    def __format__(self, spec: str) -> str:
        """Return the mean and, in parentheses, minimum and maximum."""
        low, high = min(self.values), max(self.values)
        return f"{self.mean:{spec}} ({low:{spec}} to {high:{spec}})"


class Results:
    """Results of all cells, selected by activation, depth and learning rate.

    `shallow` and `deep` are the first and last depth, `normal` and `high` the first and last learning rate.
    """

    def __init__(self, cells: Sequence[CellResult], config: StudyConfig, cost: Sequence[Row]) -> None:
        self.cells = list(cells)
        self.shallow, self.deep = config.depths[0], config.depths[-1]
        self.normal, self.high = config.learning_rates[0], config.learning_rates[-1]
        self.learning_rates = config.learning_rates
        self.cost = {row["activation"]: row for row in cost}

    def of(
        self,
        activation: ActivationName,
        depth: int,
        learning_rate: float,
        initialisation: Initialisation | None = None,
    ) -> list[CellResult]:
        """Return a result for each seed; by default with the activation's own initialisation."""
        wanted = (activation, initialisation or INITIALISATION[activation], depth, learning_rate)
        return [
            result
            for result in self.cells
            if (result.cell.activation, result.cell.initialisation, result.cell.depth, result.cell.learning_rate)
            == wanted
        ]

    def spread(self, measure: Callable[[CellResult], float], results: Sequence[CellResult]) -> Spread:
        return Spread(tuple(measure(result) for result in results))

    def accuracy(
        self,
        activation: ActivationName,
        depth: int,
        learning_rate: float,
        initialisation: Initialisation | None = None,
    ) -> Spread:
        """Return the validation accuracy in percent."""
        results = self.of(activation, depth, learning_rate, initialisation)
        return self.spread(lambda result: 100 * result.accuracy, results)

    def dead(self, activation: ActivationName, depth: int, learning_rate: float) -> Spread:
        """Return the percentage of units whose input is above 0 for no validation example."""
        return self.spread(lambda result: 100 * result.dead_share, self.of(activation, depth, learning_rate))

    def gradient_ratio(self, activation: ActivationName, initialisation: Initialisation | None = None) -> Spread:
        """Return the gradient norm of the first layer divided by that of the head, in epoch 0 of the deep network."""
        results = self.of(activation, self.deep, self.normal, initialisation)
        return self.spread(lambda result: result.gradient_norms[0] / result.gradient_norms[-1], results)
