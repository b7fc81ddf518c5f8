"""Networks of timm through all that is made of a checkpoint, up to the answer of the service."""

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Parity, Pruning, RunInfo
from relu_pipeline.config import ImageConfig, load_params
from relu_pipeline.describe import describe
from relu_pipeline.evaluation.drift import report_drift
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.export.export import export
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from relu_pipeline.training.report import write_report
from serving.drift import DriftMonitor
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.serving.safety.pictures import encode
from tests.training import train_at_once

TASK = TASKS["image"]


def config(**changes: object) -> ImageConfig:
    image = load_params().image
    network = image.model.timm.model_copy(update=changes)
    model = image.model.model_copy(update={"name": "timm", "timm": network})
    train = image.train.model_copy(update={"max_epochs": 1, "batch_size": 64, "learning_rate": 0.05})
    return image.model_copy(update={"model": model, "train": train})


def repro(image: ImageConfig, prepared: Path, root: Path) -> Manifest:
    """All stages from `train` to `export`, on prepared images."""
    params, checkpoint, reports = load_params(), root / "best.ckpt", root / "reports"
    fitted = train_at_once("image", image, prepared, root)
    write_report(fitted, image.train, reports)
    artifacts.write(root / "run.json", RunInfo(run_id="none", git_commit="abc"))
    evaluate(TASK, checkpoint, prepared, params.evaluate, NullRun(), reports)
    report_drift(TASK, checkpoint, prepared, lambda layers: DriftMonitor(layers, 100, 0.25), NullRun(), reports)
    return export(TASK, root, reports, prepared, params.export, NullRun(), root / "models/image")


@pytest.mark.parametrize(
    ("name", "relus", "activations"), [("test_resnet", 12, 12), ("test_vit", 0, 6), ("test_efficientnet", 0, 13)]
)
def test_a_network_is_trained_exported_and_served(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, relus: int, activations: int
) -> None:
    manifest = repro(config(name=name, pretrained=False), prepared / "image", tmp_path)
    assert len(manifest.relu_baseline) == relus
    assert ("the network has no ReLU layer; zero_shares is empty" in capsys.readouterr().err) == (relus == 0)
    health = (tmp_path / "reports/relu_health.csv").read_text().splitlines()
    assert sum(",," not in line for line in health[1:]) >= activations > 0
    parity = artifacts.read(tmp_path / "reports/parity.json", Parity)
    assert (parity.different_top1, parity.rows) == (0, manifest_rows(prepared))
    assert artifacts.read(tmp_path / "reports/pruning.json", Pruning).refused is None
    assert "A random input of shape [1, 32, 32, 3]" in describe(str(tmp_path / "best.ckpt"))
    predictor = Predictor(tmp_path / "models", load_settings())
    val = TASK.load(prepared / "image", "val")
    expected = predict(load_network(tmp_path / "best.ckpt"), val)
    for row in range(5):
        answer = predictor.classify("image", encode(Image.fromarray(val.gather(torch.tensor([row]))[0].numpy())))
        assert answer["probability"] == pytest.approx(expected[row].max(), abs=0.05)  # in int8, where that is faster


def manifest_rows(prepared: Path) -> int:
    return len(TASK.load(prepared / "image", "test"))


def test_a_frozen_network_from_a_file_is_trained_and_exported(prepared: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pretrained = timm.create_model("test_resnet")
    torch.save(pretrained.state_dict(), tmp_path / "weights.pth")
    frozen = config(name="test_resnet", weights=str(tmp_path / "weights.pth"), freeze=True)
    manifest = repro(frozen, prepared / "image", tmp_path)
    assert manifest.outputs[1].shape == ["N", 12]
    trained = load_network(tmp_path / "best.ckpt").model.state_dict()
    for weight, before in pretrained.state_dict().items():
        assert weight.startswith("fc.") or torch.equal(trained[weight], before)
    health = (tmp_path / "reports/relu_health.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in health[1:] if not line.endswith(",")] == ["model.fc"]
