"""What holds on a GPU. Needs no more than PyTorch, Lightning and the library itself: `pytest -m gpu tests/gpu`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, PreparedMeta, Source, SourceFile
from relu_pipeline.config import ImageConfig, load_params
from relu_pipeline.data.packing import save_split
from relu_pipeline.data.pictures import Pixels
from relu_pipeline.errors import TrainingError
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.health.gradients import GradientNorms
from relu_pipeline.health.hooks import watching
from relu_pipeline.health.probe import Probe
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from tests.training import train_at_once

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]
ROWS = {"train": 2000, "val": 300, "test": 300}


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared noise in three colours, whose labels are the colours."""
    out = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for split in SPLITS:
        labels = rng.integers(3, size=ROWS[split])
        noise = rng.integers(0, 128, size=(ROWS[split], 32, 32, 3), dtype=np.uint8)
        images = noise + (labels[:, None, None, None] == np.arange(3)).astype(np.uint8) * 64
        save_split(out, split, [Pixels(pixels) for pixels in images], labels, 32)
    source = Source(
        name="noise",
        format="cifar10",
        source="demo",
        sha256="0" * 64,
        files=[SourceFile(name="noise", url=None, sha256="0" * 64)],
        labels=["red", "green", "blue"],
        rows={"train": 2300, "test": 300},
    )
    digests = {split: artifacts.sha256_of(*sorted(out.glob(f"{split}_*.npy"))) for split in SPLITS}
    artifacts.write(out / "meta.json", PreparedMeta(task="image", source=source, rows=ROWS, digests=digests))
    return out


def config(**changes: object) -> ImageConfig:
    image = load_params().image
    changes = {"accelerator": "gpu", "max_epochs": 3, "batch_size": 128, "learning_rate": 0.05} | changes
    return image.model_copy(update={"train": image.train.model_copy(update=changes)})


@pytest.mark.parametrize("precision", ["auto", "32-true", "16-mixed"])
def test_what_a_gpu_trains_answers_on_a_cpu(coloured: Path, tmp_path: Path, precision: str) -> None:
    fitted = train_at_once("image", config(precision=precision), coloured, tmp_path)
    test = TASKS["image"].load(coloured, "test")
    answers = predict(load_network(tmp_path / "best.ckpt"), test)
    assert fitted.kept["val/accuracy"] > 0.95
    assert (answers.argmax(axis=1) == test.labels.numpy()).mean() > 0.95


def test_gradient_norms_in_half_precision_are_those_of_full_precision(coloured: Path, tmp_path: Path) -> None:
    """A scaler multiplies the gradients of fp16 by up to 65,536."""
    norms = {}
    for precision in ("32-true", "16-mixed"):
        fitted = train_at_once("image", config(precision=precision), coloured, tmp_path / precision)
        norms[precision] = np.array([row["gradient_norm"] for row in fitted.health if "gradient_norm" in row])
    ratios = norms["16-mixed"] / norms["32-true"]
    assert 0.5 < np.median(ratios) < 2


def test_a_probe_does_not_wait_for_the_gpu_at_each_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 16), nn.GELU()).cuda()
    images = torch.rand(64, 3, 32, 32, device="cuda")
    probe, norms = Probe(), GradientNorms(network)
    with watching(network, probe.see):
        network(images)  # the first pass loads the libraries
        torch.cuda.set_sync_debug_mode("error")
        try:
            network(images).sum().backward()
            norms.add()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    cpu = Probe()
    with watching(network.cpu(), cpu.see):
        for _ in range(2):
            network(images.cpu())
    for layer, found in probe.health().items():
        expected = cpu.health()[layer]
        assert found.zero_share == pytest.approx(expected.zero_share, abs=0.01)
        assert found.p99 == pytest.approx(expected.p99, rel=0.02)  # the GPU multiplies in TF32
    assert set(norms.means()) == {"0", "3"}


def test_an_interrupted_training_is_resumed(coloured: Path, tmp_path: Path) -> None:
    def stop(metrics: dict[str, float]) -> None:
        if metrics["epoch"] == 1:
            raise InterruptedError

    whole = train_at_once("image", config(), coloured, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train_at_once("image", config(), coloured, tmp_path / "cut", on_epoch=stop)
    resumed = train_at_once("image", config(), coloured, tmp_path / "cut")
    assert [epoch["epoch"] for epoch in resumed.history] == [0, 1, 2]
    # Not to the byte: see docs/training.md.
    assert resumed.kept["val/accuracy"] == pytest.approx(whole.kept["val/accuracy"], abs=0.03)


def test_out_of_memory_names_the_parameter(coloured: Path, tmp_path: Path) -> None:
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(TrainingError, match=r"lower image\.train\.batch_size, which is 2000"):
            train_at_once("image", config(batch_size=2000), coloured, tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
