"""Static quantisation of a float32 graph to int8, with per-channel weights; inputs and outputs do not change.

Jacob et al. 2018, arXiv:1712.05877. Weights have 7 bits. Processors without VNNI add two products of a weight and an
8-bit activation in 16 bits, which 8-bit weights would overflow; with 7 bits all processors give the same results.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxscript import ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, rewrite

from relu_pipeline.artifacts import Int8
from relu_pipeline.config import ExportConfig
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.export.graph import strip_traces
from relu_pipeline.export.rewriting import constant, inputs_of, matches, producer
from relu_pipeline.pruning.channels import linear
from relu_pipeline.pruning.cost import serialised
from relu_pipeline.pruning.graph import Graph

CALIBRATION_ROWS, BATCH_SIZE = 512, 64
LAYERS = ("Conv", "Gemm")
BETWEEN = ("Relu", "MaxPool", "Add")
# A convolution with fewer input channels is faster in float32: quantising the stem of `residual_cnn` multiplies its
# latency by 1.13 at batch size 1 and by 1.09 at 64, on one thread.
MIN_CHANNELS = 16


def quantise(model: onnx.ModelProto, train: PreparedSplit, path: Path) -> None:
    """Quantise the model and write it to `path`; examples of `train` calibrate the ranges. Deterministic."""
    model = rewrite(model, [ReluBeforePooling.rule(), OneSum.rule()])  # type: ignore[no-untyped-call]
    add_pre_process_metadata(model)  # tells the quantiser that folding and shape inference are done
    chosen, nodes = int8_nodes(model), model.graph.node
    quantize_static(
        model,
        path,
        CalibrationRows(model.graph.input[0].name, train),
        QuantFormat.QDQ,
        op_types_to_quantize=sorted({node.op_type for node in nodes if node.name in chosen}),
        nodes_to_exclude=[node.name for node in nodes if node.name not in chosen],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    quantised = onnx.load(path)
    del quantised.metadata_props[:]
    strip_traces(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    path.write_bytes(serialised(quantised))


@dataclass(frozen=True)
class Compared:
    """Probabilities `[N, C]` of both graphs for the examples of a split, and their labels, int64 `[N]`."""

    float32: NDArray[np.float32]
    int8: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def int8_accuracy(self) -> float:
        return float((self.int8.argmax(axis=1) == self.labels).mean())

    @property
    def accuracy_loss(self) -> float:
        right_N, int8_right_N = (answers.argmax(axis=1) == self.labels for answers in (self.float32, self.int8))
        return float((right_N.astype(int) - int8_right_N).mean())


def judge(test: Compared, val: Compared, config: ExportConfig, **found: Any) -> Int8:
    """Return the report on the int8 graph; `val` decides whether it is served, `found` are further fields."""
    refused = None if config.int8 else "export.int8 is false in params.yaml"
    if refused is None and val.accuracy_loss > config.max_int8_accuracy_loss:
        refused = (
            f"its validation accuracy is {val.accuracy_loss:.4f} below float32, "
            f"export.max_int8_accuracy_loss is {config.max_int8_accuracy_loss}"
        )
        print(f"warning: the int8 graph is not served: {refused}", file=sys.stderr)
    return Int8(
        refused=refused,
        accuracy=test.int8_accuracy,
        accuracy_loss=test.accuracy_loss,
        val_accuracy_loss=val.accuracy_loss,
        max_probability_difference=float(np.abs(test.float32 - test.int8).max()),
        **found,
    )


def int8_nodes(model: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes to quantise: layers except the head and narrow convolutions, and ops between."""
    graph = Graph(model)
    chosen: dict[str, str] = {}  # output -> node
    for node in graph.nodes:
        if _is_wide_layer(graph, node) or (node.op_type in BETWEEN and all(name in chosen for name in node.input)):
            chosen[node.output[0]] = node.name
    return set(chosen.values())


def _is_wide_layer(graph: Graph, node: NodeProto) -> bool:
    if node.op_type not in LAYERS or linear(graph, node) is None:
        return False
    if any(graph.nodes[index].op_type == "Softmax" for index in graph.consumers(node.output[0])):
        return False  # the head
    weight = graph.constant(node.input[1])
    return node.op_type == "Gemm" or (weight is not None and weight.shape[1] >= MIN_CHANNELS)


class CalibrationRows(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no annotations
    """Calibration examples: `CALIBRATION_ROWS` evenly spaced examples of a split, in batches."""

    def __init__(self, input_name: str, split: PreparedSplit) -> None:
        count = min(CALIBRATION_ROWS, len(split))
        rows = torch.arange(count) * len(split) // count
        self.batches = ({input_name: split.gather(part).numpy()} for part in torch.split(rows, BATCH_SIZE))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.batches, None)


class ReluBeforePooling(RewriteRuleClassBase):
    """Rule that moves a ReLU before the max pooling that precedes it.

    ReLU and maximum commute. A quantised convolution fuses the ReLU that follows it, and its pooling runs in int8.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Relu(op.MaxPool(x, _outputs=["pooled"]))

    def check(self, op: Any, x: ir.Value, **_: ir.Value) -> MatchResult:
        layer = x.producer()
        return matches(layer is not None and layer.op_type == "Conv")

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        return op.MaxPool(op.Relu(x), **producer(pooled).attributes)


class OneSum(RewriteRuleClassBase):
    """Rule that counts the active units of a convolution by one sum over channels and positions.

    Pooling over positions first is faster only in the blocked layout of float32 convolutions.
    """

    def pattern(self, op: Any, x: Any, sizes: Any) -> Any:
        return op.Div(op.Concat(x, _allow_other_inputs=True, axis=1, _outputs=["counts"]), sizes)

    def check(self, op: Any, counts: ir.Value, sizes: ir.Value, **_: ir.Value) -> MatchResult:
        all_pooled = all(_pooled(count) is not None for count in inputs_of(producer(counts)))
        return matches(sizes.is_initializer() and all_pooled)

    def rewrite(self, op: Any, counts: ir.Value, sizes: ir.Value, **_: ir.Value) -> Any:
        pools = [pool for count in inputs_of(producer(counts)) if (pool := _pooled(count)) is not None]
        axes = op.initializer(ir.tensor(np.array([1, 2, 3])), name="channels_and_places")
        sums = [op.ReduceSum(pool.inputs[0], axes, keepdims=1) for pool in pools]
        places = np.array([np.prod(pool.attributes.get_ints("kernel_shape")) for pool in pools], dtype=np.float32)
        elements = op.initializer(ir.tensor(constant(sizes) * places), name="elements")
        return op.Div(op.Flatten(op.Concat(*sums, axis=1)), elements)


def _pooled(count: ir.Value) -> ir.Node | None:
    """Return the global average pooling whose channels `count` sums, or None."""
    total = count.producer()
    pool = inputs_of(total)[0].producer() if total is not None and total.op_type == "ReduceSum" else None
    if pool is None or pool.op_type != "AveragePool" or pool.outputs[0].shape is None:
        return None
    return pool if list(pool.outputs[0].shape[2:]) == [1, 1] else None
