import csv
from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.config import ImageConfig, TextConfig, load_params
from relu_pipeline.errors import ConfigError
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tracking import NullRun
from relu_pipeline.training.fit import Fitted, fit, resolve_hardware, write_history


class Recorder(NullRun):
    """A run that keeps what is logged."""

    def __init__(self) -> None:
        self.steps: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.steps.append((step, dict(metrics)))


def small(task: str) -> ImageConfig | TextConfig:
    config = getattr(load_params(), task)
    train = config.train.model_copy(update={"max_epochs": 3, "batch_size": 64})
    model = config.model
    if task == "image":
        model = model.model_copy(update={"widths": [8, 16]})
    return config.model_copy(update={"train": train, "model": model})


def run(task: str, prepared: Path, out: Path, recorder: NullRun | None = None, seed: int = 1) -> Fitted:
    return fit(task, small(task), seed, prepared / task, recorder or NullRun(), out)


@pytest.mark.parametrize("task", ["image", "text"])
def test_training_learns_and_keeps_the_best_epoch(prepared: Path, tmp_path: Path, task: str) -> None:
    recorder = Recorder()
    fitted = run(task, prepared, tmp_path / "best.ckpt", recorder)
    assert fitted.val_accuracy == max(epoch["val/accuracy"] for epoch in fitted.history) > 0.5
    assert [step for step, _ in recorder.steps] == [0, 1, 2]
    assert set(recorder.steps[0][1]) == {"train/loss", "val/loss", "val/accuracy", "learning_rate", "seconds"}
    assert not load_network(tmp_path / "best.ckpt").training


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_same_seed_gives_the_same_bytes(prepared: Path, tmp_path: Path, task: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(task, prepared, tmp_path / name / "best.ckpt", seed=seed)
    first, second, other = (artifacts.sha256_of(tmp_path / name / "best.ckpt") for name in "abc")
    assert first == second != other


def test_an_epoch_is_one_line_where_there_is_no_terminal(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("text", prepared, tmp_path / "best.ckpt")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  train/loss")


def test_the_history_is_a_csv(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [{"epoch": 0, "val/accuracy": 0.5}, {"epoch": 1, "val/accuracy": 0.75}])
    with (tmp_path / "history.csv").open() as file:
        assert list(csv.DictReader(file))[1] == {"epoch": "1", "val/accuracy": "0.75"}


def test_hardware_that_is_not_there_is_a_clear_error() -> None:
    config = load_params().image.train.model_copy(update={"accelerator": "cpu", "precision": "16-mixed"})
    with pytest.raises(ConfigError, match=r"image\.train\.precision 16-mixed needs a GPU"):
        resolve_hardware("image", config)
