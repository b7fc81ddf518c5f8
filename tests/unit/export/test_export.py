from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Parity, RunInfo
from relu_pipeline.config import ExportConfig, load_params
from relu_pipeline.data.batches import load_split
from relu_pipeline.errors import ParityError, TrackingError
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.export.parity import compare, require
from relu_pipeline.tracking.run import NullRun

CONFIG = ExportConfig(opset=20, max_probability_difference=1e-4)


@pytest.fixture
def workspace(trained: Path, prepared: Path, tmp_path: Path, task: str) -> Path:
    """`models/` and `reports/` as they are before `export`."""
    models, reports = tmp_path / "models", tmp_path / "reports"
    models.mkdir()
    (models / "best.ckpt").write_bytes((trained / task / "best.ckpt").read_bytes())
    artifacts.write(models / "run.json", RunInfo(run_id="none", git_commit="abc"))
    evaluate(models / "best.ckpt", prepared / task, load_params().evaluate, NullRun(), reports)
    return tmp_path


def run(workspace: Path, prepared: Path, config: ExportConfig = CONFIG) -> Manifest:
    return export(workspace / "models", workspace / "reports", prepared, config, NullRun())


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_graph_takes_raw_inputs_of_any_batch_size(workspace: Path, prepared: Path, task: str) -> None:
    manifest = run(workspace, prepared / task)
    session = InferenceSession(workspace / "models/model.onnx", providers=["CPUExecutionProvider"])
    split = load_split(task, prepared / task, "val")
    for rows in (1, 3, 50):
        inputs = split.gather(torch.arange(rows)).numpy()
        (answers,) = session.run(["probabilities"], {manifest.input.name: inputs})
        np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert manifest.data_source == "demo"
    assert manifest.version == "demo-0"
    assert manifest.opset == 20
    assert all(0 < share < 1 for share in manifest.relu_baseline.values())
    assert manifest.files["model.onnx"] == artifacts.sha256_of(workspace / "models/model.onnx")


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_same_checkpoint_gives_the_same_graph_without_paths(workspace: Path, prepared: Path, task: str) -> None:
    first, second = (run(workspace, prepared / task).files["model.onnx"] for _ in range(2))
    assert first == second
    assert str(Path(__file__).parents[3]).encode() not in (workspace / "models/model.onnx").read_bytes()
    assert not any(node.metadata_props for node in onnx.load(workspace / "models/model.onnx").graph.node)


@pytest.mark.parametrize("task", ["text"])
def test_a_failed_parity_check_keeps_the_earlier_graph(workspace: Path, prepared: Path, task: str) -> None:
    (workspace / "models/model.onnx").write_text("earlier")
    strict = CONFIG.model_copy(update={"max_probability_difference": 1e-30})
    with pytest.raises(ParityError, match=r"a probability differs by"):
        run(workspace, prepared / task, strict)
    assert (workspace / "models/model.onnx").read_text() == "earlier"
    assert not (workspace / "models/manifest.json").exists()
    assert artifacts.read(workspace / "reports/parity.json", Parity).rows == 400


class Unregistered(NullRun):
    """A registry that went away."""

    def register_onnx(self, *_: object) -> str:
        raise TrackingError("gone")


@pytest.mark.parametrize("task", ["text"])
def test_a_failed_registration_keeps_the_earlier_graph(workspace: Path, prepared: Path, task: str) -> None:
    (workspace / "models/model.onnx").write_text("earlier")
    with pytest.raises(TrackingError):
        export(workspace / "models", workspace / "reports", prepared / task, CONFIG, Unregistered())
    assert (workspace / "models/model.onnx").read_text() == "earlier"


def test_each_condition_of_parity_is_named() -> None:
    ours = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    theirs = np.array([[0.9, 0.1], [0.6, 0.4]], dtype=np.float32)
    parity = compare(ours, theirs, np.array([0, 1]))
    with pytest.raises(
        ParityError, match=r"top-1 differs on 1 of 2 rows; .* differs by 2\.00e-01.*accuracy 0\.5 is not"
    ):
        require(parity, 1.0, 1e-4)
    require(compare(ours, ours, np.array([0, 1])), 1.0, 1e-4)
    with pytest.raises(ParityError, match="differs by nan"):
        require(compare(ours, ours * np.nan, np.array([0, 1])), 1.0, 1e-4)
