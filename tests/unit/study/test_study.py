"""A small study from end to end, and what its trainings promise."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Pruning
from relu_pipeline.config import StudyConfig, load_params
from relu_pipeline.errors import TrainingError
from relu_pipeline.study.cells import Cell, grid
from relu_pipeline.study.claims import CLAIMS
from relu_pipeline.study.study import load_splits, study, train_cells
from relu_pipeline.study.synthetic import EPOCHS, analyse
from relu_pipeline.study.train import build, train_cell
from relu_pipeline.tracking.run import NullRun

CONFIG: StudyConfig = load_params().study.model_copy(
    update={
        "rows": 200,
        "val_rows": 100,
        "epochs": 2,
        "width": 16,
        "depths": [1, 3],
        "learning_rates": [0.001, 0.1],
        "seeds": 1,
        "pruned_width": 64,
    }
)
CELL = Cell("relu", "he", depth=2, width=16, learning_rate=0.01, seed=0)


class Family(NullRun):
    """A run that keeps its children's names and parameters, and the files."""

    def __init__(self) -> None:
        self.children: dict[str, Family] = {}
        self.params: dict[str, object] = {}
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []

    @contextmanager
    def child(self, name: str) -> Iterator["Family"]:
        self.children[name] = Family()
        yield self.children[name]

    def log_params(self, params: dict[str, object]) -> None:
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics |= metrics

    def log_files(self, files: list[Path], folder: str) -> None:
        self.files += [file.name for file in files if file.is_file()]


@pytest.fixture(scope="module")
def made(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Family]:
    out, run = tmp_path_factory.mktemp("reports") / "study", Family()
    threads = torch.get_num_threads()
    study(prepared / "image", CONFIG, run, out)
    torch.set_num_threads(threads)
    return out, run


def test_a_run_has_a_child_for_each_cell_with_its_parameters_and_figures(made: tuple[Path, Family]) -> None:
    _, run = made
    assert list(run.children) == [cell.name for cell in grid(CONFIG)]
    for cell in grid(CONFIG):
        child = run.children[cell.name]
        assert child.params == cell.settings
        assert {"train/loss", "val/accuracy", "dead_share"} <= set(child.metrics)


def test_tables_figures_and_a_page_are_written_and_logged(made: tuple[Path, Family]) -> None:
    out, run = made
    assert sorted(path.name for path in out.iterdir()) == run.files
    with (out / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(grid(CONFIG)) * CONFIG.epochs
    assert all(Image.open(path).size[0] > 700 for path in out.glob("*.png"))
    page = (out / "study.md").read_text()
    assert page.count("| confirmed |") + page.count("| **not confirmed** |") == len(CLAIMS)
    for link in ("overview.png", "synthetic.png", "accuracy.png", "gradients.png", "dead_units.png", "activations.png"):
        assert f"({link})" in page
        assert (out / link).is_file()
    with (out / "synthetic.csv").open() as file:
        first, *_, last = csv.DictReader(file)
    losses = f"{float(first['train_loss']):.3f} to {float(last['train_loss']):.4f}"
    assert f"training loss {losses}, validation accuracy" in page
    report = artifacts.read(out / artifacts.PRUNING, Pruning)
    assert f"{report.removed} of" in page or "nothing was removed" in page or "not pruned" in page


def test_the_real_test_split_is_not_read(prepared: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "image"
    hidden.mkdir()
    for path in (prepared / "image").iterdir():
        if not path.name.startswith("test"):
            (hidden / path.name).symlink_to(path)
    splits = load_splits(hidden, CONFIG)
    assert [len(split) for split in splits.values()][:2] == [200, 100]
    assert splits["train"].images_BHWC.shape[1:] == (16, 16, 3)
    assert len(splits["test"]) > 0


def test_a_cell_is_the_same_wherever_it_is_trained(prepared: Path) -> None:
    splits = load_splits(prepared / "image", CONFIG)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _, here = train_cell(CELL, CONFIG, splits["train"], splits["val"])
    torch.set_num_threads(threads)
    there = list(train_cells([CELL, replace(CELL, seed=1), CELL], CONFIG, splits))
    assert there[0] == there[2] == here
    assert there[1].epochs != here.epochs


def test_a_training_that_diverges_names_the_parameter_and_leaves_the_earlier_study(
    prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "study.md").write_text("earlier")
    far_too_high = CONFIG.model_copy(update={"learning_rates": [0.001, 1e30]})
    threads = torch.get_num_threads()
    with pytest.raises(TrainingError, match=r"relu-he-1-16-1e\+30-0; lower study\.learning_rates"):
        study(prepared / "image", far_too_high, NullRun(), tmp_path)
    torch.set_num_threads(threads)
    assert [path.name for path in tmp_path.iterdir()] == ["study.md"]


def test_activations_begin_with_the_same_weights(prepared: Path) -> None:
    train = load_splits(prepared / "image", CONFIG)["train"]
    relu, elu = (build(replace(CELL, activation=name), train) for name in ("relu", "elu"))
    assert torch.equal(relu.hidden[0].weight, elu.hidden[0].weight)
    assert torch.equal(relu.head.weight, elu.head.weight)


def test_the_performance_analysis_has_loss_accuracy_and_gradient_norm_of_each_epoch() -> None:
    rows = analyse(seed=0)
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    assert rows[-1]["train_loss"] < 0.1 * rows[0]["train_loss"]
    assert rows[-1]["reference_loss"] < 0.5 * rows[0]["reference_loss"]
    # As in docs/study/study.md, but for the rounding of other processors.
    assert rows[0]["val_accuracy"] == pytest.approx(0.765, abs=0.02)
    assert rows[-1]["val_accuracy"] == pytest.approx(0.89, abs=0.02)
    assert all(row["gradient_norm"] > 0 for row in rows)
    assert rows == analyse(seed=0)


@pytest.mark.parametrize(
    ("initialisation", "std"), [("he", (2 / 768) ** 0.5), ("glorot", (2 / (768 + 256)) ** 0.5), ("small", 0.01)]
)
def test_weights_begin_with_the_spread_of_their_initialisation(prepared: Path, initialisation: str, std: float) -> None:
    train = load_splits(prepared / "image", CONFIG)["train"]  # of 16 * 16 * 3 = 768 numbers
    layer = build(replace(CELL, initialisation=initialisation, width=256), train).hidden[0]
    assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
    assert not layer.bias.any()
