import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Parity, Pruning, Samples
from relu_pipeline.config import ExportConfig, load_params
from relu_pipeline.errors import ParityError
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.evaluation.predict import predict_onnx
from relu_pipeline.export.export import export
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.pruning import verify
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from tests.reports import write_reports

CONFIG = ExportConfig(opset=20, max_probability_difference=1e-4, prune=True, int8=True, max_int8_accuracy_loss=0.005)


@pytest.fixture
def workspace(trained: Path, prepared: Path, tmp_path: Path, task: str) -> Path:
    """`checkpoints/` and `reports/` as they are before `export`."""
    checkpoints, reports = tmp_path / "checkpoints", tmp_path / "reports"
    checkpoints.mkdir()
    (checkpoints / "best.ckpt").write_bytes((trained / task / "best.ckpt").read_bytes())
    artifacts.copy(trained / task / "relu_health.png", reports / "relu_health.png")
    evaluate(TASKS[task], checkpoints / "best.ckpt", prepared / task, load_params().evaluate, NullRun(), reports)
    write_reports(prepared / task, reports)
    return tmp_path


def run(workspace: Path, prepared: Path, config: ExportConfig = CONFIG) -> Manifest:
    """`prepared` bears the task's name."""
    checkpoint, reports = workspace / "checkpoints/best.ckpt", workspace / "reports"
    params = load_params().model_copy(update={"export": config})
    return export(TASKS[prepared.name], checkpoint, reports, prepared, params, NullRun(), workspace / "models")


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_graph_takes_raw_inputs_of_any_batch_size(workspace: Path, prepared: Path, task: str) -> None:
    manifest = run(workspace, prepared / task)
    session = InferenceSession(workspace / "models/model.onnx", providers=["CPUExecutionProvider"])
    split = TASKS[task].load(prepared / task, "val")
    for rows in (1, 3, 50):
        inputs = split.gather(torch.arange(rows)).numpy()
        (answers,) = session.run(["probabilities"], {manifest.input.name: inputs})
        np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert manifest.data_source == "demo"
    assert re.fullmatch(r"demo-[0-9a-f]{12}", manifest.version)
    assert manifest.opset == 20
    assert [output.name for output in manifest.outputs] == ["probabilities", "zero_shares"]
    assert manifest.outputs[1].shape == ["N", len(manifest.relu_baseline)]
    shares = session.run(["zero_shares"], {manifest.input.name: split.gather(torch.arange(len(split))).numpy()})[0]
    means = [layer.mean for layer in manifest.relu_baseline.values()]
    assert {column.rows for column in manifest.relu_baseline.values()} == {manifest.confidence_baseline.rows}
    assert manifest.confidence_baseline.rows == len(split)
    top = predict_onnx(workspace / "models/model.onnx", split).max(axis=1)
    assert manifest.confidence_baseline.mean == pytest.approx(top.mean(), abs=1e-4)
    np.testing.assert_allclose(shares.mean(axis=0), means, atol=1e-3)
    assert all(0 < mean < 1 for mean in means)
    made = ("model.onnx", "model.int8.onnx", "samples.json", "relu_health.png", "card.md", "card.html")
    for name in (*made, *TASKS[task].served_files):
        assert manifest.files[name] == artifacts.sha256_of(workspace / "models" / name)
    assert (workspace / "models/relu_health.png").read_bytes() == (workspace / "reports/relu_health.png").read_bytes()


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_manifest_says_what_the_int8_graph_is_worth(
    workspace: Path, prepared: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    int8 = run(workspace, prepared / task).int8
    graphs = [workspace / "models" / name for name in ("model.onnx", "model.int8.onnx")]
    test, val = (TASKS[task].load(prepared / task, split) for split in ("test", "val"))
    answers, found = (predict_onnx(graph, test) for graph in graphs)
    right, found_right = ((rows.argmax(axis=1) == test.labels.numpy()).sum() for rows in (answers, found))
    assert int8.accuracy == pytest.approx(found_right / len(test))
    assert int8.accuracy_loss == pytest.approx((right - found_right) / len(test))
    assert int8.max_probability_difference == pytest.approx(np.abs(answers - found).max())
    of_val = [(predict_onnx(graph, val).argmax(axis=1) == val.labels.numpy()).sum() for graph in graphs]
    assert int8.val_accuracy_loss == pytest.approx((of_val[0] - of_val[1]) / len(val))
    assert (int8.refused is None) == (of_val[0] - of_val[1] <= CONFIG.max_int8_accuracy_loss * len(val))
    assert ("warning: the int8 graph is not served" in capsys.readouterr().err) == (int8.refused is not None)
    means = [layer.mean for layer in int8.relu_baseline.values()]
    np.testing.assert_allclose(predict_onnx(graphs[1], val, "zero_shares").mean(axis=0), means, atol=1e-6)
    samples = artifacts.read(workspace / "models/samples.json", Samples).samples
    for sample, probabilities in zip(samples, int8.sample_probabilities, strict=True):
        assert 0 <= np.abs(np.subtract(sample.probabilities, probabilities)).max() < 0.5


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_same_checkpoint_gives_the_same_graph_without_paths(workspace: Path, prepared: Path, task: str) -> None:
    first, second = (run(workspace, prepared / task).files["model.onnx"] for _ in range(2))
    assert first == second
    assert str(Path(__file__).parents[3]).encode() not in (workspace / "models/model.onnx").read_bytes()
    assert not any(node.metadata_props for node in onnx.load(workspace / "models/model.onnx").graph.node)


@pytest.mark.parametrize("task", ["text"])
def test_a_failed_parity_check_keeps_the_earlier_graph(workspace: Path, prepared: Path, task: str) -> None:
    (workspace / "models").mkdir()
    (workspace / "models/model.onnx").write_text("earlier")
    strict = CONFIG.model_copy(update={"max_probability_difference": 1e-30})
    with pytest.raises(ParityError, match=r"a probability differs by"):
        run(workspace, prepared / task, strict)
    assert (workspace / "models/model.onnx").read_text() == "earlier"
    assert not (workspace / "models/manifest.json").exists()
    assert artifacts.read(workspace / "reports/parity.json", Parity).rows == 400


@pytest.mark.parametrize("task", ["text"])
def test_the_same_checkpoint_gives_the_same_bytes(workspace: Path, prepared: Path, task: str) -> None:
    def exported() -> dict[str, str]:
        run(workspace, prepared / task)
        return {path.name: artifacts.sha256_of(path) for path in (workspace / "models").iterdir()}

    assert exported() == exported()


@pytest.mark.parametrize("task", ["text"])
def test_dead_units_are_not_served(workspace: Path, prepared: Path, task: str) -> None:
    plant_dead_units(workspace, prepared / task, [0, 5])
    kept = run(workspace, prepared / task, CONFIG.model_copy(update={"prune": False}))
    assert artifacts.read(workspace / "reports/pruning.json", Pruning).measured_rows == 0
    manifest = run(workspace, prepared / task)
    report = artifacts.read(workspace / "reports/pruning.json", Pruning)
    assert (report.layers[0].name, report.layers[0].removed >= 2) == ("network.hidden.0.0", True)
    assert report.after.file_bytes == (workspace / "models/model.onnx").stat().st_size < report.before.file_bytes
    assert artifacts.read(workspace / "reports/parity.json", Parity).different_top1 == 0
    assert manifest.outputs == kept.outputs
    assert manifest.relu_baseline == kept.relu_baseline


@pytest.mark.parametrize("task", ["text"])
def test_a_refused_pruning_exports_the_whole_graph(
    workspace: Path, prepared: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_dead_units(workspace, prepared / task, [0, 5])
    kept = run(workspace, prepared / task, CONFIG.model_copy(update={"prune": False}))
    monkeypatch.setattr(verify, "MAX_DIFFERENCE", -1.0)  # stands for rounding that goes too far
    found = run(workspace, prepared / task)
    graphs = ("model.onnx", "model.int8.onnx")
    assert [found.files[name] for name in graphs] == [kept.files[name] for name in graphs]
    report = artifacts.read(workspace / "reports/pruning.json", Pruning)
    assert (report.removed, "on a measured example" in report.refused) == (0, True)


@pytest.mark.parametrize("task", ["image"])
def test_a_unit_that_a_test_row_alone_activates_leaves_the_graph_whole(
    workspace: Path, prepared: Path, task: str
) -> None:
    data = workspace / task
    shutil.copytree(prepared / task, data)
    images = np.load(data / "test_images.npy")
    images[7] = 255
    np.save(data / "test_images.npy", images)
    settings = {"image_shape": [32, 32, 3], "hidden_dims": [8], "activation": "relu", "num_classes": 10}
    network = build_network("mlp", settings)
    with torch.no_grad():  # unit 0 is the brightness of a white image, less 0.9, and moves a probability, not the top-1
        network.hidden[0].weight[0], network.hidden[0].bias[0] = 1 / (255 * 32 * 32 * 3), -0.9
        network.head.weight.zero_()
        network.head.weight[0, 0] = network.head.bias[0] = 5.0
    checkpoint = workspace / "checkpoints/best.ckpt"
    save_checkpoint(checkpoint, "mlp", settings, network.state_dict())
    evaluate(TASKS[task], checkpoint, data, load_params().evaluate, NullRun(), workspace / "reports")
    kept = run(workspace, data, CONFIG.model_copy(update={"prune": False}))
    assert run(workspace, data).files["model.onnx"] == kept.files["model.onnx"]
    report = artifacts.read(workspace / "reports/pruning.json", Pruning)
    assert (report.dead >= 1, report.removed) == (True, 0)
    assert "a probability differs by" in report.refused


def plant_dead_units(workspace: Path, prepared: Path, units: list[int]) -> None:
    """In the text network."""
    path = workspace / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    content["weights"]["hidden.0.0.bias"][units] = -1e3
    torch.save(content, path)
    evaluate(TASKS["text"], path, prepared, load_params().evaluate, NullRun(), workspace / "reports")
