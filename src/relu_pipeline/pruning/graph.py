"""Read access to an ONNX graph: constants, inferred shapes, consumers and attributes."""

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Shape = list[int | str]


class Graph:
    """Read-only view of an ONNX graph. Constants are the initializers that are not graph inputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        inputs = {value.name for value in model.graph.input}
        self._initializers = {item.name: item for item in model.graph.initializer if item.name not in inputs}
        self._arrays: dict[str, NDArray[Any]] = {}

    def constant(self, name: str) -> NDArray[Any] | None:
        if name not in self._arrays and name in self._initializers:
            self._arrays[name] = numpy_helper.to_array(self._initializers[name])
        return self._arrays.get(name)

    def constant_input(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        return self.constant(node.input[index]) if has_input(node, index) else None

    @cached_property
    def _values(self) -> dict[str, onnx.ValueInfoProto]:
        graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}

    def shape(self, name: str) -> Shape | None:
        """Return the shape; an axis without a fixed length is its name or ''. None if the rank is not known."""
        if (array := self.constant(name)) is not None:
            return list(array.shape)
        if name not in self._values or not self._values[name].type.tensor_type.HasField("shape"):
            return None
        axes = self._values[name].type.tensor_type.shape.dim
        return [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in axes]

    def element_type(self, name: str) -> int:
        """Return the `onnx.TensorProto.DataType` of a tensor, or 0 if it is not known."""
        return self._values[name].type.tensor_type.elem_type if name in self._values else 0

    def consumers(self, name: str) -> list[int]:
        """Return the indices of the nodes that read a tensor."""
        return [index for index, node in enumerate(self.nodes) if name in node.input]

    @cached_property
    def opset(self) -> int:
        return int(next(item.version for item in self.model.opset_import if item.domain in ("", "ai.onnx")))

    @cached_property
    def has_control_flow(self) -> bool:
        graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        return any(attribute.type in graphs for node in self.nodes for attribute in node.attribute)


def has_input(node: NodeProto, index: int) -> bool:
    """Return whether a node has an input; optional inputs may be missing at the end or have the name ''."""
    return index < len(node.input) and node.input[index] != ""


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, a string as `str`."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def reduced_axes(graph: Graph, node: NodeProto) -> list[int] | None:
    """Return the axes that a Reduce* or Squeeze removes, not negative; None if they are not constant."""
    shape = graph.shape(node.input[0])
    axes = graph.constant_input(node, 1) if has_input(node, 1) else attribute(node, "axes", ())
    if shape is None or axes is None:
        return None
    if len(axes) == 0 and (node.op_type == "Squeeze" or attribute(node, "noop_with_empty_axes", 0)):
        return None
    return sorted({int(axis) % len(shape) for axis in axes}) or list(range(len(shape)))


def is_padded(node: NodeProto) -> bool:
    """Return whether a Conv or pooling pads its input."""
    return attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID") or any(attribute(node, "pads", ()))


def layer_name(node: NodeProto) -> str:
    """Return `network.hidden.0` if the weight is `network.hidden.0.weight`, else the name of the node."""
    weight = node.input[1]
    return weight.removesuffix(".weight") if weight.endswith(".weight") else node.name or weight


def as_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)
