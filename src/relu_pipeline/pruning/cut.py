"""Removal of channels from the constants of an ONNX graph; their constant contribution is added to the next bias."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from relu_pipeline.pruning.channels import Group, Reader, Slot, bias_slot, linear
from relu_pipeline.pruning.graph import Graph, as_float64, has_input, layer_name


@dataclass(frozen=True)
class Cut:
    """Channels of a group to remove: `gone` bool `[C]`, and `constants` `[F]`, the values of its readers' tensors."""

    group: Group
    gone: NDArray[np.bool_]
    constants: dict[str, NDArray[Any]]


def cut(graph: Graph, cuts: list[Cut]) -> onnx.ModelProto:
    """Return a new, checked graph without the channels. Names do not change; unused initializers are removed."""
    rewriting = _Rewriting(graph)
    for item in cuts:  # before any weight shrinks
        for reader in item.group.readers:
            rewriting.fold(reader, item)
    for item in cuts:
        rewriting.shrink(item)
    model = rewriting.model()
    _resize(model, cuts)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Rewriting:
    """New contents of constant inputs; `arrays` is keyed by node and input, as an initializer may have several uses."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.arrays: dict[tuple[int, int], NDArray[Any]] = {}

    def array(self, node: int, index: int) -> NDArray[Any] | None:
        new = self.arrays.get((node, index))
        return self.graph.constant_input(self.graph.nodes[node], index) if new is None else new

    def fold(self, reader: Reader, item: Cut) -> None:
        layout, weight = linear(self.graph, self.graph.nodes[reader.node]), self.array(reader.node, 1)
        if not reader.folds or layout is None or weight is None:
            return
        weight_OF = np.moveaxis(as_float64(weight), (layout.weight_out, layout.weight_in), (0, 1))
        weight_OF = weight_OF.reshape(*weight_OF.shape[:2], -1).sum(axis=2)
        gone_F = np.repeat(item.gone, item.group.tensors[reader.tensor].block)
        contribution_O = weight_OF @ np.where(gone_F, item.constants[reader.tensor], 0)
        if contribution_O.any():
            slot = bias_slot(self.graph, reader.node)
            assert slot is not None  # guaranteed by `folds`
            bias = self.array(*slot)
            self.arrays[slot] = ((0 if bias is None else as_float64(bias)) + contribution_O).astype(weight.dtype)

    def shrink(self, item: Cut) -> None:
        group = item.group
        slots = group.slots + [slot for reader in group.readers if (slot := self._weight_slot(reader, group))]
        for slot in slots:
            array, keep_F = self.array(slot.node, slot.index), np.repeat(~item.gone, slot.block)
            if array is not None and array.ndim and array.shape[slot.axis] == len(keep_F):
                self.arrays[slot.node, slot.index] = np.compress(keep_F, array, axis=slot.axis)
        for node in group.reshapes:
            old = self.array(node, 1)
            assert old is not None  # `flatten` accepts constant shapes only
            shape = old.copy()
            if shape[1] > 0:
                shape[1] = shape[1] // group.size * (~item.gone).sum()
            self.arrays[node, 1] = shape

    def _weight_slot(self, reader: Reader, group: Group) -> Slot | None:
        layout = linear(self.graph, self.graph.nodes[reader.node])
        return None if layout is None else Slot(layout.weight_in, group.tensors[reader.tensor].block, reader.node, 1)

    def model(self) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.model)
        names = _Names(self.graph, self.arrays)
        for index, node in enumerate(model.graph.node):
            for slot in range(len(node.input)):
                if (index, slot) in self.arrays and node.input[slot]:
                    node.input[slot] = names.of(node.input[slot], self.arrays[index, slot])
            if (index, 2) in self.arrays and not has_input(node, 2):
                _append_bias(node, names.of(f"{layer_name(node)}.bias", self.arrays[index, 2]))
        _replace_initializers(model, names.arrays)
        return model


class _Names:
    """Names of changed initializers: the old name if all uses change alike, else with a number for each version."""

    def __init__(self, graph: Graph, cut_uses: Iterable[tuple[int, int]]) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        uses = [(node, slot) for node, item in enumerate(graph.nodes) for slot in range(len(item.input))]
        self.taken = {graph.nodes[node].input[slot] for node, slot in set(uses) - set(cut_uses)}
        self.taken |= {name for node in graph.nodes for name in node.output}

    def of(self, name: str, array: NDArray[Any]) -> str:
        candidates = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(1)))
        return next(candidate for candidate in candidates if self._fits(candidate, array))

    def _fits(self, name: str, array: NDArray[Any]) -> bool:
        return name not in self.taken and np.array_equal(self.arrays.setdefault(name, array), array)


def _append_bias(node: NodeProto, name: str) -> None:
    del node.input[2:]
    node.input.append(name)
    if node.op_type == "MatMul":
        node.op_type = "Gemm"


def _replace_initializers(model: onnx.ModelProto, arrays: dict[str, NDArray[Any]]) -> None:
    """Replace or append the initializers `arrays`, and remove unused ones."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for values in (model.graph.input, model.graph.output) for value in values}
    items = {item.name: item for item in model.graph.initializer if item.name in used}
    items |= {name: numpy_helper.from_array(array, name) for name, array in arrays.items()}
    kept = [onnx.TensorProto.FromString(item.SerializeToString()) for item in items.values()]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _resize(model: onnx.ModelProto, cuts: list[Cut]) -> None:
    """Update the shapes in `value_info`, also those of constants."""
    shapes = {item.name: list(enumerate(item.dims)) for item in model.graph.initializer}
    for item in cuts:
        kept = int((~item.gone).sum())
        shapes |= {name: [(place.axis, kept * place.block)] for name, place in item.group.tensors.items()}
    for value in model.graph.value_info:
        for axis, length in shapes.get(value.name, ()):
            value.type.tensor_type.shape.dim[axis].dim_value = length
