"""Networks of timm through all that is made of a checkpoint, up to the answer of the service."""

import csv
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Pruning
from relu_pipeline.config import ImageConfig, load_params
from relu_pipeline.describe import describe
from relu_pipeline.drift.detection import report_drift
from relu_pipeline.errors import ExportError
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.evaluation.predict import predict, predict_onnx
from relu_pipeline.export.export import export
from relu_pipeline.export.graph import export_graph
from relu_pipeline.health.pictures import draw_health
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from relu_pipeline.training.report import write_report
from serving.drift import DriftMonitor
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.reports import write_reports
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
    write_report(fitted, reports)
    draw_health(fitted.health, reports / artifacts.HEALTH_MAP)
    evaluate(TASK, checkpoint, prepared, params.evaluate, NullRun(), reports)
    report_drift(TASK, checkpoint, prepared, lambda layers: DriftMonitor(layers, 100, 0.25), NullRun(), reports)
    write_reports(prepared, reports)
    params = params.model_copy(update={"image": image})
    return export(TASK, checkpoint, reports, prepared, params, NullRun(), root / "models/image")


def measured_layers(root: Path, measure: str) -> list[str]:
    with (root / "reports/relu_health.csv").open() as file:
        return [row["layer"] for row in csv.DictReader(file) if row[measure]]


def require_the_same_answers(prepared: Path, root: Path) -> None:
    """By torch, ONNX Runtime and the service."""
    val = TASK.load(prepared / "image", "val")
    expected = predict(load_network(root / "best.ckpt"), val)
    np.testing.assert_allclose(predict_onnx(root / "models/image/model.onnx", val), expected, atol=1e-4)
    predictor = Predictor(root / "models", load_settings())
    for row in range(3):
        answer = predictor.classify("image", encode(Image.fromarray(val.gather(torch.tensor([row]))[0].numpy())))
        assert answer["probability"] == pytest.approx(expected[row].max(), abs=0.05)  # in int8, where that is faster


@pytest.mark.parametrize(("name", "activations"), [("test_vit", 6), ("test_efficientnet", 13)])
def test_a_network_without_a_relu_is_trained_exported_and_served(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, activations: int
) -> None:
    manifest = repro(config(name=name, pretrained=False), prepared / "image", tmp_path)
    assert manifest.outputs[1].shape == ["N", 0]
    assert manifest.relu_baseline == {}
    assert "warning: the network has no ReLU layer; drift detection uses its confidence only" in capsys.readouterr().err
    assert len(measured_layers(tmp_path, "zero_share")) == activations
    assert artifacts.read(tmp_path / "reports/pruning.json", Pruning).removed == 0
    assert "random input of shape [1, 32, 32, 3]" in describe(str(tmp_path / "best.ckpt"))
    require_the_same_answers(prepared, tmp_path)


def test_a_frozen_network_from_a_file_is_trained_exported_and_served(prepared: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pretrained = timm.create_model("test_resnet")
    torch.save(pretrained.state_dict(), tmp_path / "weights.pth")
    frozen = config(name="test_resnet", weights=str(tmp_path / "weights.pth"), freeze=True)
    manifest = repro(frozen, prepared / "image", tmp_path)
    trained = load_network(tmp_path / "best.ckpt").model.state_dict()
    for weight, before in pretrained.state_dict().items():
        assert weight.startswith("fc.") or torch.equal(trained[weight], before)
    assert manifest.outputs[1].shape == ["N", 12]
    assert measured_layers(tmp_path, "gradient_norm") == ["model.fc"]
    assert set(measured_layers(tmp_path, "zero_share")) == set(manifest.relu_baseline)
    require_the_same_answers(prepared, tmp_path)


def test_a_network_that_torch_cannot_export_is_one_line(tmp_path: Path) -> None:
    network = build_network("timm", {"name": "test_vit_relpos", "num_classes": 2, "image_shape": [32, 32, 3]})
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with pytest.raises(ExportError, match=r"torch cannot export this network to ONNX: .*; choose another in"):
        export_graph(TASK, network, images, 20, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
