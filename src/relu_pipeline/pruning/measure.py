"""Minimum and maximum of each channel over all examples of a split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tqdm import tqdm

from relu_pipeline.data.batches import OrderedBatches, PreparedSplit
from relu_pipeline.evaluation.predict import BATCH_SIZE, cpu_session
from relu_pipeline.pruning.channels import Group
from relu_pipeline.pruning.graph import Graph

AXES_ARE_INPUTS = 18  # since this opset ReduceMin and ReduceMax take the axes as an input


@dataclass(frozen=True)
class Extremes:
    """Minimum and maximum of each feature of a tensor: `[F]`."""

    low: NDArray[Any]
    high: NDArray[Any]

    def __or__(self, other: "Extremes") -> "Extremes":
        return Extremes(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    @property
    def constant(self) -> NDArray[np.bool_]:
        constant: NDArray[np.bool_] = (self.low == self.high) & np.isfinite(self.low)
        return constant


Seen = dict[str, Extremes]


def measure(graph: Graph, groups: list[Group], split: PreparedSplit) -> Seen:
    """Return the extremes of each tensor that a reader of the groups consumes.

    The reductions run inside ONNX Runtime, on the CPU, so that a batch returns only `[F]` vectors.
    """
    axes = {reader.tensor: group.tensors[reader.tensor].axis for group in groups for reader in group.readers}
    if not axes:
        return {}
    session = cpu_session(_with_extremes(graph, axes).SerializeToString())
    seen: Seen = {}
    for inputs, _ in tqdm(OrderedBatches(split, BATCH_SIZE), "dead units", unit=" batches", leave=False, disable=None):
        values = iter(session.run(None, {session.get_inputs()[0].name: inputs.numpy()}))
        batch = {name: Extremes(next(values), next(values)) for name in axes}
        seen = {name: seen[name] | batch[name] for name in axes} if seen else batch
    return seen


def _with_extremes(graph: Graph, axes: dict[str, int]) -> onnx.ModelProto:
    """Return the graph with two outputs per tensor of `axes`, in order, instead of its own outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    for name, axis in axes.items():
        shape = graph.shape(name)
        assert shape is not None  # a tensor that a reader consumes has a known rank
        others = [other for other in range(len(shape)) if other != axis]
        for op in ("ReduceMin", "ReduceMax"):
            output = f"{op} of {name}"
            model.graph.output.append(helper.make_tensor_value_info(output, graph.element_type(name), None))
            if graph.opset < AXES_ARE_INPUTS:
                model.graph.node.append(helper.make_node(op, [name], [output], axes=others, keepdims=0))
                continue
            model.graph.initializer.append(numpy_helper.from_array(np.array(others), f"axes of {output}"))
            model.graph.node.append(helper.make_node(op, [name, f"axes of {output}"], [output], keepdims=0))
    return model


def dead_channels(group: Group, seen: Seen) -> NDArray[np.bool_]:
    """Return which channels, bool `[C]`, are constant for every reader, and 0 for readers that cannot fold."""
    dead = np.ones(group.size, dtype=bool)
    for reader in group.readers:
        extremes = seen[reader.tensor]
        features = extremes.constant & ((extremes.low == 0) | reader.folds)
        dead &= features.reshape(group.size, -1).all(axis=1)
    return dead
