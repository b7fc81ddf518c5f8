"""Interval bounds of a graph's tensors: Gowal et al. 2018, arXiv:1810.12715, widened to cover float32 rounding.

Bounds have the tensor's rank; an axis of length 1 stands for all positions along it. Values are taken to be finite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from relu_pipeline.pruning.channels import linear
from relu_pipeline.pruning.graph import Graph, as_float64, attribute, is_padded, reduced_axes

ROUNDING = 2.0**-24  # unit roundoff of float32
SLACK_TERMS = 16  # roundings of an operation besides those of its sum, with a margin for fused kernels
LARGEST = float(np.finfo(np.float32).max)
FULL_PRECISION = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """`low` <= value <= `high`. `fixed`: the value does not depend on the graph's input."""

    low: Array
    high: Array
    fixed: NDArray[np.bool_]

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def widened(self, magnitude: Array, terms: int = 0) -> "Bounds":
        """By the error of a sum of so many terms whose absolute values add up to `magnitude` (Higham 2002, ch. 4)."""
        slack = 2 * (terms + SLACK_TERMS) * ROUNDING * magnitude
        return Bounds(self.low - slack, self.high + slack, self.fixed)

    def clipped(self) -> "Bounds":
        """A finite float32 is within these limits; it keeps infinities out of the sums."""
        return Bounds(np.clip(self.low, -LARGEST, LARGEST), np.clip(self.high, -LARGEST, LARGEST), self.fixed)

    def moved(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> "Bounds":
        return Bounds(function(self.low), function(self.high), function(self.fixed))

    def spanned(self, axes: tuple[int, ...], keepdims: bool = True) -> "Bounds":
        """Over all positions along the axes."""
        low, high = self.low.min(axis=axes, keepdims=keepdims), self.high.max(axis=axes, keepdims=keepdims)
        return Bounds(low, high, self.fixed.all(axis=axes, keepdims=keepdims))

    def with_zero(self) -> "Bounds":
        return Bounds(np.minimum(self.low, 0), np.maximum(self.high, 0), self.fixed)


def bounds_of(graph: Graph) -> dict[str, Bounds]:
    """By tensor. The inputs are bounded by their type; an operator that is not known gives the range of float32."""
    bounds = {value.name: _unbounded(graph, value.name) for value in graph.model.graph.input}
    for node in graph.nodes:
        result = _bounds(graph, node, bounds)
        for output in filter(None, node.output):
            bounds[output] = result.clipped() if result else _unbounded(graph, output)
    return bounds


def _bounds(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    rules = MOVES | ARITHMETIC if graph.element_type(node.output[0]) in FULL_PRECISION else MOVES
    rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return rule(graph, node, bounds) if rule else None


def _unbounded(graph: Graph, name: str) -> Bounds:
    dtype = helper.tensor_dtype_to_np_dtype(graph.element_type(name) or onnx.TensorProto.FLOAT)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (-LARGEST, LARGEST)
    one = np.ones([1] * len(graph.shape(name) or ()))
    return Bounds(one * low, one * high, one < 1)


def _operand(graph: Graph, name: str, bounds: dict[str, Bounds]) -> Bounds:
    if (array := graph.constant(name)) is None:
        return bounds[name]
    return Bounds(as_float64(array), as_float64(array), np.ones(array.shape, dtype=bool))


def _monotone(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    """An activation that never falls: the bounds of the results are the results of the bounds."""
    x, rest = bounds[node.input[0]], {name: graph.constant(name) for name in node.input[1:] if name}
    falls = node.op_type == "PRelu" and not all(slope is not None and (slope >= 0).all() for slope in rest.values())
    if falls or attribute(node, "alpha", 0) < 0 or any(array is None for array in rest.values()):
        return None
    feed = {name: as_float64(array) for name, array in rest.items()}
    run = ReferenceEvaluator(node).run
    with np.errstate(over="ignore"):
        low, high = (as_float64(run(None, {node.input[0]: end, **feed})[0]) for end in (x.low, x.high))
    if node.op_type in ("Relu", "Clip"):  # exact: the result is one number where both ends meet
        return Bounds(low, high, x.fixed | (low == high))
    result = Bounds(low, high, x.fixed)
    return result.widened(1 + result.magnitude)


def _arithmetic(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    a, b = (_operand(graph, name, bounds) for name in node.input)
    fixed = a.fixed & b.fixed
    if node.op_type in ("Add", "Sub"):
        low, high = (a.low + b.low, a.high + b.high) if node.op_type == "Add" else (a.low - b.high, a.high - b.low)
        return Bounds(low, high, fixed).widened(a.magnitude + b.magnitude)
    if node.op_type == "Div":
        if ((b.low <= 0) & (b.high >= 0)).any():
            return None
        b = Bounds(1 / b.high, 1 / b.low, b.fixed)
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    result = Bounds(np.minimum.reduce(corners), np.maximum.reduce(corners), fixed)
    return result.widened(result.magnitude)


def _cast(_: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds:
    x = bounds[node.input[0]]
    return x.widened(x.magnitude)


def _linear(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    if (layout := linear(graph, node)) is None:
        return None
    x, weight = bounds[node.input[0]], as_float64(graph.constant(node.input[1]))
    weight_OFK = np.moveaxis(weight, (layout.weight_out, layout.weight_in), (0, 1))
    weight_OFK = weight_OFK.reshape(*weight_OFK.shape[:2], -1)
    rises_OF, falls_OF = weight_OFK.clip(min=0).sum(axis=2), weight_OFK.clip(max=0).sum(axis=2)
    x_F = x.spanned(tuple(axis for axis in range(x.low.ndim) if axis != layout.axis), keepdims=False)
    x_F = x_F.moved(lambda array: np.broadcast_to(array, weight_OFK.shape[1]))
    x_F = x_F.with_zero() if is_padded(node) else x_F
    bias = graph.constant_input(node, 2)
    bias_O = np.zeros(1) if bias is None else as_float64(bias).reshape(-1)
    result_O = Bounds(
        rises_OF @ x_F.low + falls_OF @ x_F.high + bias_O,
        rises_OF @ x_F.high + falls_OF @ x_F.low + bias_O,
        ~((rises_OF > falls_OF) @ ~x_F.fixed),
    ).widened((rises_OF - falls_OF) @ x_F.magnitude + np.abs(bias_O), terms=weight_OFK[0].size)
    shape = [-1 if axis == layout.axis else 1 for axis in range(x.low.ndim)]
    return result_O.moved(lambda array: array.reshape(shape))


def _batch_norm(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    x, arrays = bounds[node.input[0]], [graph.constant_input(node, index) for index in range(1, 5)]
    if any(array is None for array in arrays) or attribute(node, "training_mode", 0):
        return None
    per_channel = [1, -1] + [1] * (x.low.ndim - 2)
    gamma, beta, mean, variance = (as_float64(array).reshape(per_channel) for array in arrays)
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    ends = (x.low - mean) * scale + beta, (x.high - mean) * scale + beta
    fixed = np.broadcast_to(x.fixed, ends[0].shape)
    result = Bounds(np.minimum(*ends), np.maximum(*ends), fixed)
    return result.widened(np.abs(scale) * (x.magnitude + np.abs(mean)) + np.abs(beta))


def _pool(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    """By channel; an average may take in the border's zeros."""
    x = bounds[node.input[0]]
    spanned = x.spanned(tuple(range(2, x.low.ndim)))
    if "Max" in node.op_type:
        return spanned
    window = attribute(node, "kernel_shape", (graph.shape(node.input[0]) or [None] * 3)[2:])
    if not all(isinstance(length, int) for length in window):
        return None
    return spanned.with_zero().widened(spanned.magnitude, terms=prod(window))


def _mean(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    x, shape, axes = bounds[node.input[0]], graph.shape(node.input[0]), reduced_axes(graph, node)
    if shape is None or axes is None or not all(isinstance(shape[axis], int) for axis in axes):
        return None
    spanned = x.spanned(tuple(axes), keepdims=bool(attribute(node, "keepdims", 1)))
    return spanned.widened(spanned.magnitude, terms=prod(shape[axis] for axis in axes))


def _embedding(graph: Graph, node: NodeProto, _: dict[str, Bounds]) -> Bounds | None:
    table, indices = graph.constant(node.input[0]), graph.shape(node.input[1])
    if table is None or table.ndim != 2 or indices is None or attribute(node, "axis", 0) != 0:
        return None
    shape = [1] * len(indices) + [-1]
    low, high = (as_float64(array).reshape(shape) for array in (table.min(axis=0), table.max(axis=0)))
    return Bounds(low, high, low == high)


def _transpose(_: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds:
    return bounds[node.input[0]].moved(lambda array: array.transpose(attribute(node, "perm", None)))


def _flatten(graph: Graph, node: NodeProto, bounds: dict[str, Bounds]) -> Bounds | None:
    """`[N, ...]` to `[N, F]` alone."""
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    if before is None or after is None or len(after) != 2:
        return None
    if not all(isinstance(axis, int) for axis in (*before[1:], after[1])) or after[1] != prod(before[1:]):
        return None
    return bounds[node.input[0]].moved(lambda array: np.broadcast_to(array, (1, *before[1:])).reshape(1, -1))


Rule = Callable[[Graph, NodeProto, dict[str, Bounds]], Bounds | None]
MOVES: dict[str, Rule] = {
    "Gather": _embedding,
    "Transpose": _transpose,
    **dict.fromkeys(("Flatten", "Reshape"), _flatten),
    **dict.fromkeys(("Identity", "Dropout"), lambda _, node, bounds: bounds[node.input[0]]),
}
ARITHMETIC: dict[str, Rule] = {
    **dict.fromkeys(("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "Erf"), _monotone),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Cast": _cast,
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), _linear),
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool"), _pool),
    "ReduceMean": _mean,
}
