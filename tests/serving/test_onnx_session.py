"""Sessions on the wanted device with the wanted outputs, and the choice of the faster of two graphs."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from serving.errors import ModelError
from serving.onnx_session import BUDGET_S, CPU, OUTPUTS, faster, has_gpu, on_gpu, open_session

SIDE = 128
PATH = Path("models/text/model.onnx")


def graph_of(products: int, outputs: Sequence[str]) -> bytes:
    """Return a graph that multiplies its input by a matrix so many times; each output is the product."""
    names = ["x", *(f"x{number}" for number in range(1, products + 1))]
    nodes = [helper.make_node("MatMul", [names[number], "w"], [names[number + 1]]) for number in range(products)]
    nodes += [helper.make_node("Identity", [names[-1]], [output]) for output in outputs]
    inputs, *found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIDE]) for name in ("x", *outputs))
    weight = numpy_helper.from_array(np.eye(SIDE, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "products", [inputs], found, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def session(products: int) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(graph_of(products, ["y"]), options, providers=[CPU])


@pytest.fixture
def inputs() -> dict[str, NDArray[np.float32]]:
    return {"x": np.ones((SIDE, SIDE), dtype=np.float32)}


def test_a_session_runs_on_one_thread_with_the_named_outputs() -> None:
    opened = open_session(graph_of(2, OUTPUTS), PATH, "cpu")
    assert opened.get_session_options().intra_op_num_threads == 1
    assert opened.get_providers() == [CPU]
    assert not on_gpu(opened)
    x = np.eye(2, SIDE, dtype=np.float32)
    np.testing.assert_array_equal(opened.run(OUTPUTS, {"x": x}), [x, x])


@pytest.mark.parametrize("outputs", [OUTPUTS[:1], OUTPUTS[::-1], [*OUTPUTS, "more"]])
def test_a_graph_with_other_outputs_is_an_error(outputs: list[str]) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: its outputs are not .*dvc repro"):
        open_session(graph_of(1, outputs), PATH, "cpu")


@pytest.mark.skipif(has_gpu(), reason="a GPU is here")
def test_without_a_gpu_cuda_is_an_error_and_auto_is_the_cpu_without_a_warning(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match="device: cuda"):
        open_session(graph_of(1, OUTPUTS), PATH, "cuda")
    capfd.readouterr()  # ONNX Runtime says that it cannot use CUDA
    assert open_session(graph_of(1, OUTPUTS), PATH, "auto").get_providers() == [CPU]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("products", "than", "expected"), [(5, 20, True), (20, 5, False), (5, 5, False)])
def test_a_graph_is_faster_only_by_a_clear_margin(
    inputs: dict[str, NDArray[np.float32]], products: int, than: int, expected: bool
) -> None:
    assert faster(session(products), session(than), inputs) is expected


def test_slow_graphs_are_measured_in_fewer_rounds(inputs: dict[str, NDArray[np.float32]]) -> None:
    slow, fast = session(2000), session(10)
    started = time.perf_counter()
    slow.run(None, inputs)
    run_s = time.perf_counter() - started
    started = time.perf_counter()
    assert faster(fast, slow, inputs)
    assert time.perf_counter() - started < BUDGET_S + 20 * run_s  # 100 rounds would be 100 runs


def test_of_two_exported_graphs_one_is_faster_in_whatever_order_they_are_compared(models: Path) -> None:
    graphs = [InferenceSession(models / "image" / name) for name in ("model.onnx", "model.int8.onnx")]
    pixels = {"image": np.zeros((1, 32, 32, 3), dtype=np.uint8)}
    assert faster(*graphs, pixels) != faster(*reversed(graphs), pixels)
