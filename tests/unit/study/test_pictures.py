"""The figures of results that were written down, with different values for each seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from relu_pipeline.config import load_params
from relu_pipeline.health.probe import LayerHealth
from relu_pipeline.health.record import epoch_rows
from relu_pipeline.study import pictures
from relu_pipeline.study.cells import INITIALISATION, Cell, grid
from relu_pipeline.study.results import Results
from relu_pipeline.study.train import CellResult
from tests.figures import expect_picture

CONFIG = load_params().study.model_copy(
    update={"depths": [2, 12], "learning_rates": [0.001, 0.003, 0.01, 0.03], "seeds": 3, "width": 128}
)
HEALTH = LayerHealth(
    units=100, zero_share=0.5, dead_units=0, always_active_units=0, mean=0.5, p99=0.9, max=0.99, saturated_share=0.0
)


def result(cell: Cell) -> CellResult:
    place = list(INITIALISATION).index(cell.activation)
    worse = 0.02 * place + 0.01 * cell.seed + 0.1 * (cell.depth > 2) + 5 * cell.learning_rate
    epochs = [{"epoch": epoch, "train_loss": 1.0, "val_accuracy": 0.4 + 0.04 * epoch - worse} for epoch in range(4)]
    health = replace(HEALTH, dead_units=int(10 * worse * (1 + cell.seed)))
    layers = {f"hidden.{number}": health for number in range(cell.depth)}
    norms = {name: (0.9 - 0.1 * place) ** (cell.depth - at) for at, name in enumerate((*layers, "head"))}
    return CellResult(cell, epochs, epoch_rows(0, layers, norms))


RESULTS = Results([result(cell) for cell in grid(CONFIG)], CONFIG, [])


@pytest.mark.parametrize("name", ["overview", "accuracy", "gradients", "dead_units"])
def test_a_figure_has_a_line_for_each_activation_with_the_range_of_its_seeds(tmp_path: Path, name: str) -> None:
    draw: Callable[[Results, Path], None] = getattr(pictures, f"draw_{name}")
    draw(RESULTS, tmp_path / f"study_{name}.png")
    expect_picture(tmp_path / f"study_{name}.png")


def test_the_activations_have_their_curves_and_derivatives(tmp_path: Path) -> None:
    pictures.draw_activations(tmp_path / "study_activations.png")
    expect_picture(tmp_path / "study_activations.png")


def test_the_synthetic_training_has_its_loss_accuracy_and_gradients(tmp_path: Path) -> None:
    rows = [
        {
            "epoch": epoch,
            "train_loss": 0.7 / epoch,
            "reference_loss": 0.7 / epoch**0.5,
            "train_accuracy": 0.5 + 0.04 * epoch,
            "val_accuracy": 0.5 + 0.03 * epoch,
            "gradient_norm": 2.0 / epoch,
        }
        for epoch in range(1, 11)
    ]
    pictures.draw_synthetic(rows, tmp_path / "study_synthetic.png")
    expect_picture(tmp_path / "study_synthetic.png")
