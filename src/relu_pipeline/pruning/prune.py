"""Removal of the hidden units that no training or validation example activates, if no prediction changes."""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from relu_pipeline.artifacts import PrunedLayer, Pruning, Split
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.pruning.channels import Group, channel_groups
from relu_pipeline.pruning.cost import cost, latencies_ms, serialised
from relu_pipeline.pruning.cut import Cut, cut
from relu_pipeline.pruning.graph import Graph, layer_name
from relu_pipeline.pruning.measure import Seen, dead_channels, measure
from relu_pipeline.pruning.verify import compare, problem

# ONNX Runtime's fast convolutions work on blocks of 16 channels (NCHWc, AVX-512); removing part of a block makes them
# slower. Latency of `residual_cnn` on one thread, relative to the unpruned graph, by the number of channels removed
# from each convolution, at batch size 1 (64): 2: 1.53 (1.94), 8: 1.16 (1.25), 16: 0.76 (0.69), 20: 0.92 (0.90).
CONV_BLOCK = 16

Splits = Callable[[Split], PreparedSplit]  # loads a split on demand: most graphs need only the validation split


def prune(model: onnx.ModelProto, splits: Splits) -> tuple[onnx.ModelProto, Pruning]:
    """Return the pruned graph and a report.

    Returns `model` itself if it has no dead unit, or if pruning would change a prediction: see `refused` of the report.
    """
    graph, val = Graph(model), splits("val")
    groups = channel_groups(graph)
    seen, rows = measure(graph, groups, val), len(val)
    dead = [group for group in groups if dead_channels(group, seen).any()]
    if dead:  # only units that no validation example activates are measured on the training split
        train = splits("train")
        seen |= {name: seen[name] | extremes for name, extremes in measure(graph, dead, train).items()}
        rows += len(train)
    cuts = {}
    for group in dead:
        if (gone := _expendable(graph, group, dead_channels(group, seen))).any():
            cuts[group] = Cut(group, gone, {reader.tensor: seen[reader.tensor].low for reader in group.readers})
    layers = _layers(graph, groups, seen, cuts)
    if not cuts:
        return model, unpruned(model, val, rows, layers)
    pruned = cut(graph, list(cuts.values()))
    before, after = serialised(model), serialised(pruned)
    measured, test = compare(before, after, [val, train]), compare(before, after, [splits("test")])
    if refused := problem(measured, test):
        return model, unpruned(model, val, rows, layers, refused)
    row = _first_row(val)
    times = latencies_ms([before, after], row)
    return pruned, Pruning(
        measured_rows=rows,
        dead=sum(layer.dead for layer in layers),
        removed=sum(layer.removed for layer in layers),
        layers=layers,
        measured=measured,
        test=test,
        refused=None,
        input_shape=list(row.shape),
        before=cost(model, row, times[0]),
        after=cost(pruned, row, times[1]),
    )


def unpruned(
    model: onnx.ModelProto,
    val: PreparedSplit,
    measured_rows: int = 0,
    layers: list[PrunedLayer] | None = None,
    refused: str | None = None,
) -> Pruning:
    """Return the report on a graph that was not pruned."""
    row, layers = _first_row(val), layers or []
    same = cost(model, row)
    return Pruning(
        measured_rows=measured_rows,
        dead=sum(layer.dead for layer in layers),
        removed=0,
        layers=layers,
        measured=None,
        test=None,
        refused=refused,
        input_shape=list(row.shape),
        before=same,
        after=same,
    )


def _expendable(graph: Graph, group: Group, dead: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the channels to remove, bool `[C]`: the dead ones, except as many as are needed to fill the last block.

    At least one channel of a dense layer, or one block of a convolution, remains.
    """
    block = CONV_BLOCK if any(graph.nodes[node].op_type == "Conv" for node in group.layers) else 1
    alive = group.size - int(dead.sum())
    left = ceil(max(alive, 1) / block) * block
    gone = dead.copy()
    gone[np.flatnonzero(dead)[: left - alive]] = False
    return gone


def _first_row(split: PreparedSplit) -> NDArray[Any]:
    return split.gather(torch.tensor([0])).numpy()


def _layers(graph: Graph, groups: list[Group], seen: Seen, cuts: dict[Group, Cut]) -> list[PrunedLayer]:
    """Return the layers in graph order; layers that share channels have equal counts."""
    layers: dict[int, PrunedLayer] = {}
    for group in groups:
        dead = int(dead_channels(group, seen).sum())
        removed = int(cuts[group].gone.sum()) if group in cuts else 0
        for node in group.layers:
            name = layer_name(graph.nodes[node])
            layers[node] = PrunedLayer(name=name, units=group.size, dead=dead, removed=removed)
    return [layers[node] for node in sorted(layers)]
