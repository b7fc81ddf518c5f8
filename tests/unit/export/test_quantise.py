from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession
from onnxscript.rewriter import rewrite

from relu_pipeline.config import load_params
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.export.graph import export_graph
from relu_pipeline.export.quantise import Compared, OneSum, ReluBeforePooling, int8_nodes, judge, quantise
from relu_pipeline.health.zero_shares import column_baseline
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.pruning.graph import Graph
from relu_pipeline.tasks.catalogue import TASKS

CONFIG = load_params().export
WIDTHS = {"image": [64, 128, 128, 256, 256], "text": [64, 64]}  # of the int8 layers' outputs, as params.yaml has them


@pytest.fixture(scope="module", params=["image", "text"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def splits(prepared: Path, task: str) -> dict[str, PreparedSplit]:
    return {split: TASKS[task].load(prepared / task, split) for split in ("train", "val")}


@pytest.fixture(scope="module")
def fp32(trained: Path, splits: dict[str, PreparedSplit], task: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fp32") / "model.onnx"
    export_graph(
        TASKS[task], load_network(trained / task / "best.ckpt"), splits["val"].gather(torch.arange(2)), 20, path
    )
    return path


@pytest.fixture(scope="module")
def int8(fp32: Path, splits: dict[str, PreparedSplit]) -> Path:
    path = fp32.with_name("model.int8.onnx")
    quantise(onnx.load(fp32), splits["train"], path)
    return path


def run(model: Path | bytes, inputs: NDArray, outputs: list[str] | None = None) -> list[NDArray]:
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(outputs, {session.get_inputs()[0].name: inputs})


def test_it_takes_and_gives_what_the_float32_graph_does(
    fp32: Path, int8: Path, splits: dict[str, PreparedSplit]
) -> None:
    ours, theirs = (onnx.load(path).graph for path in (int8, fp32))
    assert (list(ours.input), list(ours.output)) == (list(theirs.input), list(theirs.output))
    for rows in (1, 3, 50):
        inputs = splits["val"].gather(torch.arange(rows)).numpy()
        for our, their in zip(run(int8, inputs), run(fp32, inputs), strict=True):
            assert (our.shape, our.dtype) == (their.shape, their.dtype)
            assert np.isfinite(our).all()
        np.testing.assert_allclose(run(int8, inputs)[0].sum(axis=1), 1, rtol=1e-5)


def test_a_row_is_answered_alike_alone_and_in_company(int8: Path, splits: dict[str, PreparedSplit]) -> None:
    inputs = splits["val"].gather(torch.arange(8)).numpy()
    together = run(int8, inputs)
    alone = [np.concatenate(outputs) for outputs in zip(*(run(int8, inputs[i : i + 1]) for i in range(8)), strict=True)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_weights_are_of_seven_bits_with_a_scale_for_each_channel(int8: Path, fp32: Path, task: str) -> None:
    graph = Graph(onnx.load(int8))
    found = []
    for node in graph.nodes:
        weight = graph.constant(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is not None and weight.dtype == np.int8:
            scale, zero_point = (graph.constant_input(node, index) for index in (1, 2))
            channels = scale.size
            assert weight.shape[0] == channels > 1
            assert np.abs(weight.astype(int)).reshape(channels, -1).max(axis=1).tolist() == [64] * channels
            assert not zero_point.any()
            found.append(channels)
    assert len(found) == len(WIDTHS[task]) + (task == "image")


def test_each_weight_is_the_nearest_of_its_channel(int8: Path, fp32: Path) -> None:
    graph, whole = Graph(onnx.load(int8)), Graph(onnx.load(fp32))
    for node in graph.nodes:
        name = node.input[0].removesuffix("_quantized")
        if node.op_type != "DequantizeLinear" or whole.constant(name) is None or whole.constant(name).ndim < 2:
            continue
        weight, scale, _ = (graph.constant(item).astype(np.float64) for item in node.input)
        scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
        assert (np.abs(weight * scale - whole.constant(name)) <= scale * 0.5001).all()


def test_the_same_graph_and_rows_give_the_same_bytes_that_name_no_machine(
    fp32: Path, int8: Path, splits: dict[str, PreparedSplit], tmp_path: Path
) -> None:
    quantise(onnx.load(fp32), splits["train"], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == int8.read_bytes()
    model = onnx.load(int8)
    assert str(fp32.parent).encode() not in int8.read_bytes()
    assert not model.metadata_props
    assert not any(node.metadata_props for node in model.graph.node)


def test_other_rows_give_other_ranges(fp32: Path, int8: Path, splits: dict[str, PreparedSplit], tmp_path: Path) -> None:
    quantise(onnx.load(fp32), splits["val"], tmp_path / "other.onnx")
    assert (tmp_path / "other.onnx").read_bytes() != int8.read_bytes()


def test_the_float32_graph_that_is_given_stays_as_it_is(
    fp32: Path, splits: dict[str, PreparedSplit], tmp_path: Path
) -> None:
    model = onnx.load(fp32)
    quantise(model, splits["train"], tmp_path / "int8.onnx")
    assert model == onnx.load(fp32)


def test_counting_at_once_and_pooling_later_change_no_output(fp32: Path, splits: dict[str, PreparedSplit]) -> None:
    model = onnx.load(fp32)
    inputs = splits["val"].gather(torch.arange(50)).numpy()
    rewritten = rewrite(model, [ReluBeforePooling.rule(), OneSum.rule()])
    if "AveragePool" in (kinds := {node.op_type for node in model.graph.node}):
        assert "AveragePool" not in {node.op_type for node in rewritten.graph.node} != kinds
    for one, other in zip(run(rewritten.SerializeToString(), inputs), run(fp32, inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_its_zero_shares_are_of_its_own_relus(int8: Path, splits: dict[str, PreparedSplit], task: str) -> None:
    """What each indicator of activity reads is exposed, and its zeros are counted one by one."""
    model = onnx.load(int8)
    inputs = splits["val"].gather(torch.arange(10)).numpy()
    indicators = [node for node in model.graph.node if node.op_type == "HardSigmoid"]
    indicators.sort(key=lambda node: _column(model, node.output[0]))
    read = [node.input[0] for node in indicators]
    for name in read:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    shares, *activations = run(model.SerializeToString(), inputs, ["zero_shares", *read])
    counted = [(values <= 0).reshape(len(inputs), -1).mean(axis=1) for values in activations]
    np.testing.assert_allclose(shares, np.stack(counted, axis=1), atol=1e-6)


def _column(model: onnx.ModelProto, name: str) -> int:
    """Of `zero_shares`, that an indicator gives."""
    consumers = {item: node for node in model.graph.node for item in node.input}
    while (node := consumers[name]).op_type != "Concat":
        name = node.output[0]
    return list(node.input).index(name)


@pytest.mark.parametrize(
    ("name", "settings", "widths"),
    [
        ("mlp", {"hidden_dims": [32, 16], "activation": "relu"}, [32, 16]),
        ("plain_cnn", {"widths": [16, 32], "hidden_dims": [24], "activation": "relu"}, [32, 24]),
        ("residual_cnn", {"widths": [16], "stem_kernel": 4, "stem_stride": 2, "stem_components": 8}, [16, 16]),
    ],
)
def test_every_network_keeps_its_head_and_its_stem_in_float32(
    prepared: Path, tmp_path: Path, name: str, settings: dict, widths: list[int]
) -> None:
    train = TASKS["image"].load(prepared / "image", "train")
    network = build_network(name, {"num_classes": 10, "image_shape": (32, 32, 3), **settings})
    TASKS["image"].fit_input(network, train)
    path = tmp_path / "model.onnx"
    export_graph(TASKS["image"], network.eval(), train.gather(torch.arange(2)), 20, path)
    model = onnx.load(path)
    chosen = [node for node in model.graph.node if node.name in int8_nodes(model) and node.op_type in ("Conv", "Gemm")]
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    assert [len(weights[node.input[1]]) for node in chosen] == widths
    quantise(model, train, tmp_path / "int8.onnx")
    inputs = train.gather(torch.arange(5)).numpy()
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", inputs)[0], run(path, inputs)[0], atol=0.1)


FOUND = {"sample_probabilities": [], "relu_baseline": {}, "confidence_baseline": column_baseline(np.ones(1))}


def of_accuracy(right: int, rows: int = 1000) -> NDArray[np.float32]:
    """Probabilities of two classes; the true one is 0."""
    return np.eye(2, dtype=np.float32)[(np.arange(rows) >= right).astype(int)]


@pytest.mark.parametrize(("right", "refused"), [(900, False), (895, False), (894, True), (905, False)])
def test_a_graph_that_loses_more_than_it_may_is_refused(
    right: int, refused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros(1000, dtype=np.int64)
    val = Compared(of_accuracy(900), of_accuracy(right), labels)
    test = Compared(of_accuracy(800), of_accuracy(700), labels)  # it is reported, and decides nothing
    report = judge(test, val, CONFIG, **FOUND)
    assert (report.accuracy, report.accuracy_loss) == (0.7, pytest.approx(0.1))
    assert report.val_accuracy_loss == pytest.approx((900 - right) / 1000)
    assert (report.refused is not None) == refused
    warning = "warning: the int8 graph is not served: its validation accuracy is 0.0060 below float32"
    assert (warning in capsys.readouterr().err) == refused


def test_a_parameter_switches_it_off_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    off = CONFIG.model_copy(update={"int8": False})
    same, labels = of_accuracy(900), np.zeros(1000, dtype=np.int64)
    report = judge(*[Compared(same, same, labels)] * 2, off, **FOUND)
    assert report.refused == "export.int8 is false in params.yaml"
    assert not capsys.readouterr().err
