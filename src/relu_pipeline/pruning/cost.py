"""Cost of an ONNX graph: parameters, multiply-adds, file size, latency."""

import time
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from relu_pipeline.artifacts import GraphCost
from relu_pipeline.pruning.graph import Graph, attribute

WARM_UP, ROUNDS = 20, 200


def serialised(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def cost(model: onnx.ModelProto, row: NDArray[Any], latency_ms: float | None = None) -> GraphCost:
    """Return the cost of a graph for `row`, an input batch of one; parameters are elements of float initializers."""
    floating = [item for item in model.graph.initializer if item.data_type in FLOATING]
    return GraphCost(
        parameters=sum(prod(item.dims) for item in floating),
        multiply_adds=multiply_adds(model, row),
        file_bytes=len(serialised(model)),
        latency_ms=latency_ms,
    )


FLOATING = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def multiply_adds(model: onnx.ModelProto, row: NDArray[Any]) -> int:
    """Return the multiply-adds of all Conv, Gemm and MatMul with a constant weight, for an input of `row`'s shape."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    axes = fixed.graph.input[0].type.tensor_type.shape.dim
    for axis, length in zip(axes, row.shape, strict=True):
        axis.dim_value = length
    graph = Graph(fixed)
    return sum(_multiply_adds(graph, node) for node in graph.nodes if node.op_type in ("Conv", "Gemm", "MatMul"))


def _multiply_adds(graph: Graph, node: onnx.NodeProto) -> int:
    """Return output elements times weights per unit, or 0 if the shapes are not known."""
    weight, shape = graph.constant_input(node, 1), graph.shape(node.output[0])
    if weight is None or shape is None or not all(isinstance(axis, int) for axis in shape):
        return 0
    units = {"Conv": 0, "Gemm": 1 - attribute(node, "transB", 0), "MatMul": -1}[node.op_type]
    return int(prod(shape) * weight.size // weight.shape[units])


def latencies_ms(models: list[bytes], row: NDArray[Any]) -> list[float]:
    """Return the median latency of each graph for one input on one thread.

    The graphs run alternately, so that the load of the machine affects all alike.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]) for model in models]
    feed = {sessions[0].get_inputs()[0].name: row}
    seconds = np.array([[_timed(session, feed) for session in sessions] for _ in range(WARM_UP + ROUNDS)])
    medians: list[float] = (np.median(seconds[WARM_UP:], axis=0) * 1e3).tolist()
    return medians


def _timed(session: onnxruntime.InferenceSession, feed: dict[str, NDArray[Any]]) -> float:
    start = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - start
