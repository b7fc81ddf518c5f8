import itertools
import logging
import re
import shutil
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

from relu_pipeline import artifacts
from relu_pipeline.config import ImageConfig, TextConfig, load_params
from relu_pipeline.data.batches import ShuffledBatches
from relu_pipeline.errors import ConfigError, TrainingError
from relu_pipeline.evaluation.metrics import cross_entropy
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from relu_pipeline.training.callbacks import EpochSeed, kept_epoch
from relu_pipeline.training.fit import join
from relu_pipeline.training.hardware import resolve_hardware
from relu_pipeline.training.plan import plan
from relu_pipeline.training.report import write_report
from relu_pipeline.training.resume import await_state, open_state
from tests.training import train_at_once


class Recorder(NullRun):
    """A run that keeps what is logged."""

    def __init__(self) -> None:
        self.steps: dict[int | None, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.steps.setdefault(step, {}).update(metrics)


def small(task: str) -> ImageConfig | TextConfig:
    config = getattr(load_params(), task)
    train = config.train.model_copy(update={"max_epochs": 3, "batch_size": 64})
    model = config.model
    if task == "image":
        train = train.model_copy(update={"label_smoothing": 0.2})
        narrow = model.residual_cnn.model_copy(update={"widths": [8, 16]})
        model = model.model_copy(update={"residual_cnn": narrow})
    return config.model_copy(update={"train": train, "model": model})


@pytest.mark.parametrize("name", ["plain_cnn", "mlp", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_every_image_network_trains_by_its_name(prepared: Path, tmp_path: Path, name: str) -> None:
    config = small("image")
    changes = {"learning_rate": 0.02, "max_epochs": 2}
    model = config.model.model_copy(update={"name": name})
    config = config.model_copy(update={"train": config.train.model_copy(update=changes), "model": model})
    fitted = train_at_once("image", config, prepared / "image", tmp_path)
    assert fitted.kept["val/accuracy"] > 0.2
    assert type(load_network(tmp_path / "best.ckpt")).__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("task", ["image", "text"])
def test_training_learns_and_keeps_the_best_epoch(prepared: Path, tmp_path: Path, task: str) -> None:
    recorder = Recorder()
    fitted = train_at_once(task, small(task), prepared / task, tmp_path, recorder)
    val = TASKS[task].load(prepared / task, "val")
    answers = predict(load_network(tmp_path / "best.ckpt"), val).argmax(axis=1)
    # Half precision in training may answer a row or two otherwise than full precision does.
    assert (answers == val.labels.numpy()).mean() == pytest.approx(fitted.kept["val/accuracy"], abs=0.02)
    assert fitted.kept["val/accuracy"] > 0.3  # of ten classes, or four
    assert not load_network(tmp_path / "best.ckpt").training
    loss = cross_entropy(predict(load_network(tmp_path / "best.ckpt"), val), val.labels.numpy())
    assert loss == pytest.approx(fitted.calibration.val_loss_after, rel=1e-4)
    assert loss < fitted.calibration.val_loss_before
    assert list(recorder.steps) == [0, 1, 2]
    logged = {name for name in recorder.steps[0] if not name.startswith("health/")}
    scores = {"val/accuracy", "val/balanced_accuracy", "val/f1_macro"}
    assert logged == {"train/loss", "val/loss", "learning_rate", "seconds"} | scores


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_same_seed_gives_the_same_bytes(prepared: Path, tmp_path: Path, task: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_at_once(task, small(task), prepared / task, tmp_path / name, seed=seed)
    first, second, other = (artifacts.sha256_of(tmp_path / name / "best.ckpt") for name in "abc")
    assert first == second != other


@pytest.mark.parametrize("task", ["image", "text"])
def test_memory_or_files_give_the_same_bytes(prepared: Path, tmp_path: Path, task: str) -> None:
    digests = set()
    for in_memory in (True, False, "auto"):
        train_at_once(task, with_train(task, in_memory=in_memory), prepared / task, tmp_path / str(in_memory))
        digests.add(artifacts.sha256_of(tmp_path / str(in_memory) / "best.ckpt"))
    assert len(digests) == 1


def test_processes_draw_different_dropout_that_follows_from_the_seed(prepared: Path) -> None:
    task, drawn = TASKS["image"], []
    train = task.load(prepared / "image", "train")
    batches = ShuffledBatches(task.augment(train, load_params().image.train, 0), 64, 0)
    for seed, epoch, rank in ((0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)):
        trainer = SimpleNamespace(global_rank=rank, current_epoch=epoch, train_dataloader=batches)
        EpochSeed(seed).on_train_epoch_start(trainer, L.LightningModule())
        drawn.append(tuple(torch.rand(3).tolist()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


class Interrupt(NullRun):
    """Stops the training where the metrics of an epoch are logged, which is before its state is saved."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step == self.epoch:
            raise InterruptedError


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("task", ["image", "text"])
def test_an_interrupted_training_ends_with_the_same_bytes_in_another_folder_too(
    prepared: Path, tmp_path: Path, task: str, epoch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train_at_once(task, small(task), prepared / task, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train_at_once(task, small(task), prepared / task, tmp_path / "cut", Interrupt(epoch))
    (tmp_path / "cut").rename(tmp_path / "moved")  # as in a container that mounts it elsewhere
    recorder = Recorder()
    resumed = train_at_once(task, small(task), prepared / task, tmp_path / "moved", recorder)
    assert list(recorder.steps) == list(range(epoch, 3))
    assert capsys.readouterr().err.count("resumed after epoch") == bool(epoch)
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    assert resumed.health == whole.health
    first, second = (artifacts.sha256_of(tmp_path / name / "best.ckpt") for name in ("whole", "moved"))
    assert first == second


def test_who_follows_a_training_sees_each_epoch_and_can_end_it(prepared: Path, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    fitted = train_at_once("text", small("text"), prepared / "text", tmp_path / "whole", on_epoch=seen.append)
    assert seen == fitted.history

    def stop(metrics: dict[str, float]) -> None:
        if metrics["epoch"] == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_at_once("text", small("text"), prepared / "text", tmp_path / "cut", on_epoch=stop)
    assert not (tmp_path / "cut/best.ckpt").exists()


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]


def test_a_finished_training_that_is_asked_again_trains_no_more(prepared: Path, tmp_path: Path) -> None:
    first = train_at_once("text", small("text"), prepared / "text", tmp_path)
    recorder = Recorder()
    assert train_at_once("text", small("text"), prepared / "text", tmp_path, recorder) == first
    assert recorder.steps == {}


def test_another_configuration_does_not_go_on_from_it(prepared: Path, tmp_path: Path) -> None:
    train_at_once("text", small("text"), prepared / "text", tmp_path)
    assert (tmp_path / "training/last.ckpt").exists()
    plan_of_another = plan(TASKS["text"], small("text"), load_params().health, 7, prepared / "text")
    assert open_state(tmp_path / "training", plan_of_another.key).run_key is None
    assert not (tmp_path / "training").exists()


def from_weights(weights: Path) -> ImageConfig:
    config = small("image")
    timm = config.model.timm.model_copy(update={"weights": str(weights)})
    return config.model_copy(update={"model": config.model.model_copy(update={"name": "timm", "timm": timm})})


def test_another_file_of_weights_means_another_training(prepared: Path, tmp_path: Path) -> None:
    def key() -> str:
        config = from_weights(tmp_path / "weights.pth")
        return plan(TASKS["image"], config, load_params().health, 0, prepared / "image").key

    keys = []
    for content in (b"some", b"some", b"others"):
        (tmp_path / "weights.pth").write_bytes(content)
        keys.append(key())
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(ConfigError, match=r"weights\.pth: no such file; image\.model"):
        key()


def with_train(task: str, **changes: object) -> ImageConfig | TextConfig:
    config = small(task)
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def test_a_loss_that_is_not_finite_names_the_layer_and_keeps_the_earlier_checkpoint(
    prepared: Path, tmp_path: Path
) -> None:
    train_at_once("image", small("image"), prepared / "image", tmp_path)
    before = artifacts.sha256_of(tmp_path / "best.ckpt")
    with pytest.raises(TrainingError) as stopped:
        train_at_once("image", with_train("image", learning_rate=1e30), prepared / "image", tmp_path)
    assert re.search(r"the loss is (nan|inf) in epoch 1, step 1; first layer with a non-finite", str(stopped.value))
    assert "lower image.train.learning_rate, which is 1e+30" in str(stopped.value)
    assert artifacts.sha256_of(tmp_path / "best.ckpt") == before


def test_out_of_memory_names_the_parameter(prepared: Path, tmp_path: Path) -> None:
    config = small("text")
    huge = config.model_copy(update={"model": config.model.model_copy(update={"hidden_dims": [10**12]})})
    with pytest.raises(TrainingError, match=r"out of memory; lower text\.train\.batch_size, which is 64"):
        train_at_once("text", huge, prepared / "text", tmp_path)


def test_early_stopping_ends_a_training_that_gets_no_better(prepared: Path, tmp_path: Path) -> None:
    still = {"learning_rate": 1e-12, "embedding_learning_rate": 1e-12}
    config = with_train("text", **still, max_epochs=50, early_stopping_patience=2)
    fitted = train_at_once("text", config, prepared / "text", tmp_path)
    accuracies = [epoch["val/accuracy"] for epoch in fitted.history]
    assert len(accuracies) == accuracies.index(max(accuracies)) + 3 < 50
    # As after a kill before its state is discarded.
    recorder, before = Recorder(), artifacts.sha256_of(tmp_path / "best.ckpt")
    assert train_at_once("text", config, prepared / "text", tmp_path, recorder) == fitted
    assert recorder.steps == {}
    assert artifacts.sha256_of(tmp_path / "best.ckpt") == before


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30), rows=st.integers(1, 10**5))
def test_the_last_epoch_that_is_as_good_as_the_best_is_kept(values: list[float], rows: int) -> None:
    kept, best = kept_epoch(values, rows), max(values)
    error = (best * (1 - best) / rows) ** 0.5
    assert values[kept] >= best - error
    assert all(value < best - error for value in values[kept + 1 :])


@pytest.mark.parametrize("monitor", ["accuracy", "f1_macro"])
def test_the_monitor_chooses_the_epoch_that_is_kept(prepared: Path, tmp_path: Path, monitor: str) -> None:
    config = with_train("text", monitor=monitor, max_epochs=6, learning_rate=1.0)
    fitted = train_at_once("text", config, prepared / "text", tmp_path)
    epochs = [epoch[f"val/{monitor}"] for epoch in fitted.history]
    assert fitted.kept["epoch"] == kept_epoch(epochs, 400)
    val = TASKS["text"].load(prepared / "text", "val")
    predicted = predict(load_network(tmp_path / "best.ckpt"), val).argmax(axis=1)
    scores = {"accuracy": accuracy_score, "f1_macro": partial(f1_score, average="macro")}
    assert fitted.kept[f"val/{monitor}"] == pytest.approx(scores[monitor](val.labels.numpy(), predicted), abs=1e-6)


@pytest.fixture
def unequal(prepared: Path, tmp_path: Path) -> Path:
    """Prepared texts whose training split has all rows of two classes, one in 16 of the third, none of the fourth."""
    out = tmp_path / "text"
    shutil.copytree(prepared / "text", out)
    train = TASKS["text"].load(out, "train")
    rare, missing = (torch.nonzero(train.labels == label).flatten() for label in (2, 3))
    dropped = torch.cat((rare[torch.arange(len(rare)) % 16 > 0], missing))
    kept = train.take(torch.tensor([row for row in range(len(train)) if row not in set(dropped.tolist())]))
    for name in ("tokens", "offsets", "labels"):
        (out / f"train_{name}.npy").unlink()
        np.save(out / f"train_{name}.npy", getattr(kept, name).numpy())
    return out


def test_balanced_class_weights_find_the_rare_class(unequal: Path, tmp_path: Path) -> None:
    recall = {}
    for weights in ("none", "balanced"):
        config = with_train("text", class_weights=weights)
        train_at_once("text", config, unequal, tmp_path / weights)
        val = TASKS["text"].load(unequal, "val")
        predicted = predict(load_network(tmp_path / weights / "best.ckpt"), val).argmax(axis=1)
        recall[weights] = (predicted[val.labels.numpy() == 2] == 2).mean()
    assert recall["balanced"] > recall["none"] + 0.1


def test_an_epoch_is_one_line_where_there_is_no_terminal(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    train_at_once("text", small("text"), prepared / "text", tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  train/loss")
    advice = [record for record in caplog.records if record.levelno < logging.WARNING]
    assert not [record for record in advice if record.name.startswith("lightning")]


@pytest.mark.parametrize("task", ["image", "text"])
def test_every_epoch_tells_the_health_of_every_layer(prepared: Path, tmp_path: Path, task: str) -> None:
    run = Recorder()
    fitted = train_at_once(task, small(task), prepared / task, tmp_path, run)
    network = load_network(tmp_path / "best.ckpt")
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert {(row["epoch"], row["layer"]) for row in fitted.health} == set(itertools.product(range(3), layers))
    assert all(row["gradient_norm"] > 0 for row in fitted.health if row["layer"] != "stem")
    assert all("health/dead_units" in metrics for metrics in run.steps.values())
    assert not any(module._forward_hooks for module in network.modules())
    history, health = write_report(fitted, tmp_path / "reports")
    epochs = [(int(row["epoch"]), float(row["val/accuracy"])) for row in artifacts.read_table(history)]
    assert epochs == [(row["epoch"], row["val/accuracy"]) for row in fitted.history]
    layers_of_epochs = [(int(row["epoch"]), row["layer"]) for row in artifacts.read_table(health)]
    assert layers_of_epochs == [(row["epoch"], row["layer"]) for row in fitted.health]


def test_what_is_not_well_is_said_once(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small("image")
    model = config.model.model_copy(update={"name": "plain_cnn"})
    train = config.train.model_copy(update={"learning_rate": 0.2, "warmup_fraction": 0.01})
    train_at_once("image", config.model_copy(update={"model": model, "train": train}), prepared / "image", tmp_path)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: epoch")]
    assert any("units of" in line and "are dead" in line and "lower learning rate" in line for line in warnings)
    sentences = [line.split(" of ")[2] for line in warnings if "are dead" in line]
    assert len(sentences) == len(set(sentences))


def test_hardware_that_is_not_there_is_a_clear_error() -> None:
    config = load_params().image.train.model_copy(update={"accelerator": "cpu", "precision": "16-mixed"})
    with pytest.raises(ConfigError, match=r"image\.train\.precision 16-mixed needs a GPU"):
        resolve_hardware("image", config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_a_clear_error() -> None:
    config = load_params().image.train.model_copy(update={"accelerator": "gpu"})
    with pytest.raises(ConfigError, match=r"image\.train\.accelerator is gpu, but PyTorch finds no GPU"):
        resolve_hardware("image", config)


def test_another_process_waits_for_the_state_that_the_first_one_opens(tmp_path: Path) -> None:
    opened = open_state(tmp_path / "training", "the key")
    threading.Timer(0.3, opened.begin, ["a run"]).start()
    state = await_state(tmp_path / "training", "the key")
    assert (state.folder, state.key, state.run_key) == (tmp_path / "training", "the key", "a run")


def test_a_training_that_the_first_process_does_not_begin_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relu_pipeline.training.resume.PATIENCE_S", 0.2)
    open_state(tmp_path / "training", "another key").begin("a run")
    with pytest.raises(TrainingError, match=r"did not begin this training within 0\.2 s; all machines need the same"):
        await_state(tmp_path / "training", "the key")


def test_out_of_memory_in_another_process_names_the_parameter_too(prepared: Path, tmp_path: Path) -> None:
    config = small("text")
    huge = config.model_copy(update={"model": config.model.model_copy(update={"hidden_dims": [10**12]})})
    training = plan(TASKS["text"], huge, load_params().health, 0, prepared / "text")
    state = open_state(tmp_path / "training", training.key)
    with pytest.raises(TrainingError, match=r"out of memory; lower text\.train\.batch_size, which is 64"):
        join(training, state)
