"""Groups of channels that must be removed together: the dependency graph of Fang et al. 2023, arXiv:2301.12900."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

import onnx
from onnx import NodeProto, TensorProto

from relu_pipeline.pruning.graph import Graph, attribute, has_input, is_padded, reduced_axes

# The element types that ONNX Runtime's ReduceMin supports.
MEASURABLE = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}


@dataclass(frozen=True)
class Place:
    """Position of channels in a tensor: channel `c` is features `c * block` to `(c + 1) * block` along `axis`."""

    axis: int
    block: int = 1


@dataclass(frozen=True)
class Slot(Place):
    """Constant that holds the group's channels: input `index` of node `node`."""

    node: int = 0
    index: int = 0


@dataclass(frozen=True)
class Reader:
    """Node that consumes the channels. `folds`: the contribution of a constant channel can be added to its bias."""

    node: int
    tensor: str
    folds: bool


@dataclass(eq=False)
class Group:
    """`size` channels that are removed together.

    `tensors` carry them, `layers` (node indices) produce them, `readers` consume them; `slots` and the shapes of
    `reshapes` shrink with them. A `frozen` group cannot be pruned.
    """

    size: int
    tensors: dict[str, Place] = field(default_factory=dict)
    layers: list[int] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    reshapes: list[int] = field(default_factory=list)
    frozen: bool = False

    def absorb(self, other: "Group") -> None:
        self.tensors |= other.tensors
        self.layers += other.layers
        self.slots += other.slots
        self.readers += other.readers
        self.reshapes += other.reshapes
        self.frozen |= other.frozen


@dataclass(frozen=True)
class Linear:
    """Layout of a Conv, Gemm or MatMul: feature axis of its tensors, input and output axes of its weight."""

    axis: int
    weight_in: int
    weight_out: int


def linear(graph: Graph, node: NodeProto) -> Linear | None:
    """Return the layout of a linear layer, or None if its weight or bias is not constant or its form unsupported."""
    weight, bias = graph.constant_input(node, 1), graph.constant_input(node, 2)
    if weight is None or (has_input(node, 2) and (bias is None or bias.size != prod(bias.shape[-1:]))):
        return None
    if node.op_type == "Conv" and attribute(node, "group", 1) == 1:
        return Linear(axis=1, weight_in=1, weight_out=0)
    plain = attribute(node, "transA", 0) == 0 and attribute(node, "alpha", 1) == attribute(node, "beta", 1) == 1
    if node.op_type == "Gemm" and plain:
        turned = attribute(node, "transB", 0)
        return Linear(axis=1, weight_in=turned, weight_out=1 - turned)
    shape = graph.shape(node.input[0])
    if node.op_type == "MatMul" and weight.ndim == 2 and shape and len(shape) >= 2:
        return Linear(axis=len(shape) - 1, weight_in=0, weight_out=1)
    return None


def bias_slot(graph: Graph, index: int) -> tuple[int, int] | None:
    """Return the node and input index of a layer's bias, present or not; None if it cannot have one.

    A MatMul of a two-dimensional input can become a Gemm with a bias.
    """
    node = graph.nodes[index]
    if node.op_type != "MatMul":
        return index, 2
    consumers = graph.consumers(node.output[0])
    is_output = any(output.name == node.output[0] for output in graph.model.graph.output)
    if len(consumers) == 1 and not is_output and (added := graph.nodes[consumers[0]]).op_type == "Add":
        other = 1 - list(added.input).index(node.output[0])
        weight, bias = graph.constant(node.input[1]), graph.constant_input(added, other)
        if weight is not None and bias is not None and bias.size == prod(bias.shape[-1:]) == weight.shape[1]:
            return consumers[0], other
    shape = graph.shape(node.input[0])
    return (index, 2) if shape is not None and len(shape) == 2 else None


def channel_groups(graph: Graph) -> list[Group]:
    """Return the groups that can be pruned: none that reaches an unknown operator, a graph output or control flow."""
    if graph.has_control_flow:
        return []
    grouping = _Grouping(graph)
    for index, node in enumerate(graph.nodes):
        grouping.visit(index, node)
    grouping.freeze(output.name for output in graph.model.graph.output)
    groups = list(dict.fromkeys(grouping.of.values()))
    return [group for group in groups if not group.frozen and group.readers and group.size > 1]


class _Grouping:
    """Visitor of the nodes in graph order; `of` maps each tensor with hidden channels to its group."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.of: dict[str, Group] = {}

    def visit(self, index: int, node: NodeProto) -> None:
        usual = node.domain in ("", "ai.onnx") and sum(map(bool, node.output)) == 1
        rule = RULES.get(node.op_type) if usual else None
        if rule is None or not rule(self, index, node):
            self.freeze(node.input)

    def freeze(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.of:
                self.of[name].frozen = True

    def layer(self, index: int, node: NodeProto) -> bool:
        layout, weight = linear(self.graph, node), self.graph.constant_input(node, 1)
        if layout is None or weight is None:
            return False
        folds = not is_padded(node) if node.op_type == "Conv" else bias_slot(self.graph, index) is not None
        if not self._read(index, node.input[0], layout.axis, weight.shape[layout.weight_in], folds):
            self.freeze(node.input)
        group = Group(size=weight.shape[layout.weight_out], layers=[index])
        group.slots = [Slot(layout.weight_out, node=index, index=1), Slot(-1, node=index, index=2)]
        self._carry(group, node, Place(layout.axis))
        return True

    def activation(self, _: int, node: NodeProto) -> bool:
        random = node.op_type == "Dropout" and has_input(node, 2)
        group = self.of.get(node.input[0])
        return group is not None and not random and self._carry(group, node, group.tensors[node.input[0]])

    def elementwise(self, index: int, node: NodeProto) -> bool:
        grouped = [name in self.of for name in node.input]
        if all(grouped):
            return self._unite(node)
        source = grouped.index(True) if any(grouped) else 0
        group, constant = self.of.get(node.input[source]), self.graph.constant_input(node, 1 - source)
        shape = self.graph.shape(node.input[source])
        if group is None or constant is None or shape is None or constant.ndim > len(shape):
            return False
        place = group.tensors[node.input[source]]
        axis = place.axis - len(shape) + constant.ndim
        if axis >= 0 and constant.shape[axis] != 1:
            if constant.shape[axis] != group.size * place.block:
                return False
            group.slots.append(Slot(axis, place.block, index, 1 - source))
        return self._carry(group, node, place)

    def _unite(self, node: NodeProto) -> bool:
        """Merge the groups of both inputs of a residual addition or a gate."""
        one, other = (self.of[name] for name in node.input)
        ranks = {len(self.graph.shape(name) or ()) for name in node.input}
        places = {self.of[name].tensors[name] for name in node.input}
        if one.size != other.size or len(ranks) != 1 or len(places) != 1:
            return False
        if one is not other:
            one.absorb(other)
            self.of |= dict.fromkeys(other.tensors, one)
        return self._carry(one, node, places.pop())

    def batch_norm(self, index: int, node: NodeProto) -> bool:
        group = self.of.get(node.input[0])
        if group is None or (place := group.tensors[node.input[0]]).axis != 1:
            return False
        arrays = [self.graph.constant_input(node, i) for i in range(1, 5)]
        if any(array is None or array.shape != (group.size * place.block,) for array in arrays):
            return False
        group.slots += [Slot(0, place.block, index, i) for i in range(1, 5)]
        return self._carry(group, node, place)

    def pool(self, _: int, node: NodeProto) -> bool:
        group = self.of.get(node.input[0])
        return group is not None and group.tensors[node.input[0]].axis == 1 and self._carry(group, node, Place(1))

    def reduction(self, index: int, node: NodeProto) -> bool:
        group, axes = self.of.get(node.input[0]), reduced_axes(self.graph, node)
        if group is None or axes is None:
            return False
        place = group.tensors[node.input[0]]
        if place.axis in axes:  # a channel that is always 0 contributes nothing to a sum
            features = group.size * place.block
            return node.op_type == "ReduceSum" and self._read(index, node.input[0], place.axis, features, folds=False)
        keeps = node.op_type != "Squeeze" and attribute(node, "keepdims", 1)
        gone = 0 if keeps else sum(axis < place.axis for axis in axes)
        return self._carry(group, node, Place(place.axis - gone, place.block))

    def flatten(self, index: int, node: NodeProto) -> bool:
        group = self.of.get(node.input[0])
        before, after = self.graph.shape(node.input[0]), self.graph.shape(node.output[0])
        if group is None or before is None or after is None or len(after) != 2:
            return False
        place = group.tensors[node.input[0]]
        lengths = [axis for axis in before[1:] if isinstance(axis, int)]
        if place.axis != 1 or len(lengths) < len(before) - 1 or after[1] != prod(lengths):
            return False
        if node.op_type == "Reshape":
            if self.graph.constant_input(node, 1) is None:
                return False
            group.reshapes.append(index)
        return self._carry(group, node, Place(1, place.block * prod(lengths[1:])))

    def _carry(self, group: Group, node: NodeProto, place: Place) -> bool:
        group.tensors[node.output[0]] = place
        self.of[node.output[0]] = group
        return True

    def _read(self, index: int, name: str, axis: int, features: int, folds: bool) -> bool:
        group = self.of.get(name)
        if group is None or self.graph.element_type(name) not in MEASURABLE:
            return False
        place = group.tensors[name]
        if place.axis != axis or group.size * place.block != features:
            return False
        group.readers.append(Reader(index, name, folds))
        return True


Rule = Callable[[_Grouping, int, onnx.NodeProto], bool]
ACTIVATIONS = (
    "Abs Cast Celu Clip Dropout Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Selu Sigmoid "
    "Sign Softplus Softsign Sqrt Tanh ThresholdedRelu"
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), _Grouping.layer),
    **dict.fromkeys(ACTIVATIONS.split(), _Grouping.activation),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Greater"), _Grouping.elementwise),
    "BatchNormalization": _Grouping.batch_norm,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"), _Grouping.pool),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "Squeeze"), _Grouping.reduction),
    **dict.fromkeys(("Flatten", "Reshape"), _Grouping.flatten),
}
