import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from serving.precision import BUDGET_S, choose

SIDE = 128


def session(layers: int) -> InferenceSession:
    """So many products of matrices, one after the other, on one thread."""
    names = ["x", *(f"x{layer}" for layer in range(1, layers + 1))]
    nodes = [helper.make_node("MatMul", [names[layer], "w"], [names[layer + 1]]) for layer in range(layers)]
    weight = numpy_helper.from_array(np.eye(SIDE, dtype=np.float32), "w")
    shape = ["N", SIDE]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture
def inputs() -> dict[str, NDArray[np.float32]]:
    return {"x": np.ones((SIDE, SIDE), dtype=np.float32)}


@pytest.mark.parametrize(("fp32", "int8", "expected"), [(20, 5, "int8"), (5, 20, "fp32"), (5, 5, "fp32")])
def test_int8_is_taken_where_it_is_clearly_faster(
    inputs: dict[str, NDArray[np.float32]], fp32: int, int8: int, expected: str
) -> None:
    assert choose(session(fp32), session(int8), inputs) == expected


def test_slow_graphs_get_fewer_rounds(inputs: dict[str, NDArray[np.float32]]) -> None:
    slow, fast = session(2000), session(10)
    started = time.perf_counter()
    slow.run(None, inputs)
    run_s = time.perf_counter() - started
    started = time.perf_counter()
    assert choose(slow, fast, inputs) == "int8"
    assert time.perf_counter() - started < BUDGET_S + 20 * run_s  # 100 rounds would be 100 runs


def test_of_exported_graphs_the_choice_follows_the_speed_and_not_the_order(models: Path) -> None:
    graphs = [InferenceSession(models / "image" / name) for name in ("model.onnx", "model.int8.onnx")]
    pixels = {"image": np.zeros((1, 32, 32, 3), dtype=np.uint8)}
    assert choose(*graphs, pixels) != choose(*reversed(graphs), pixels)
