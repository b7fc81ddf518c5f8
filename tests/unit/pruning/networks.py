"""Small networks with planted dead units, their graphs, and rows to measure them on."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import Tensor, nn

from relu_pipeline.artifacts import Pruning
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.export.graph import export_graph
from relu_pipeline.pruning.prune import CONV_BLOCK, prune
from relu_pipeline.tasks.catalogue import TASKS

SIDE, CLASSES = 8, 4
WIDTH = 2 * CONV_BLOCK
ODD = list(range(1, WIDTH, 2))  # as many as can go from a convolution of that width


class Pixels(nn.Module):
    """uint8 `[B, H, W, 3]` -> `[B, 3, H, W]`, in [-1, 1]."""

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return (image_BHWC.float() / 127.5 - 1).permute(0, 3, 1, 2)


def images(rows: int, seed: int) -> ImageSplit:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (rows, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    return ImageSplit(pixels, torch.randint(0, CLASSES, (rows,), generator=generator))


SPLITS: Mapping[str, ImageSplit] = {
    split: images(rows, seed) for seed, (split, rows) in enumerate({"train": 60, "val": 20, "test": 30}.items())
}


def exported(*layers: nn.Module) -> onnx.ModelProto:
    """The network and a softmax, with no other output."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = {"input_names": ["image"], "output_names": ["probabilities"], "dynamic_shapes": ({0: "N"},)}
    network = nn.ModuleDict({"network": nn.Sequential(Pixels(), *layers, nn.Softmax(dim=1))}).eval()
    network.forward = network["network"].forward
    return torch.onnx.export(
        network, (images(2, 9).images_BHWC,), dynamo=True, verbose=False, opset_version=20, **names
    ).model_proto


def exported_with_zero_shares(folder: Path, *layers: nn.Module) -> onnx.ModelProto:
    export_graph(TASKS["image"], nn.Sequential(Pixels(), *layers), images(2, 9).images_BHWC, 20, folder / "model.onnx")
    return onnx.load(folder / "model.onnx")


@torch.no_grad()
def alive(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Each unit is a mean of its inputs and 1: positive for nearly all inputs, and small enough for exact sums."""
    layer.weight.copy_(F.normalize(layer.weight.abs().flatten(1), p=1).view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.fill_(1)
    return layer


@torch.no_grad()
def constant(layer: nn.Conv2d | nn.Linear, units: list[int], value: float = -1e3) -> nn.Module:
    """The units give `value` whatever comes in; the others are alive."""
    alive(layer).weight[units] = 0
    layer.bias[units] = value
    return layer


@torch.no_grad()
def norm(channels: int) -> nn.BatchNorm2d:
    """As after a training: nothing is 0 or 1."""
    layer = nn.BatchNorm2d(channels)
    for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        values.copy_(torch.rand(channels) + 0.5)
    return layer


def pruned(model: onnx.ModelProto, splits: Mapping[str, ImageSplit] = SPLITS) -> tuple[onnx.ModelProto, Pruning]:
    return prune(model, splits.__getitem__)


def removed(report: Pruning) -> list[int]:
    return [layer.removed for layer in report.layers]


def dead(report: Pruning) -> list[int]:
    return [layer.dead for layer in report.layers]


def answers(model: onnx.ModelProto, inputs: NDArray) -> list[NDArray]:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})


def differ_by(one: onnx.ModelProto, other: onnx.ModelProto) -> float:
    """Largest difference of any output over the measured rows."""
    rows = torch.cat([SPLITS[split].images_BHWC for split in ("train", "val")]).numpy()
    pairs = zip(answers(one, rows), answers(other, rows), strict=True)
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {item.name: list(item.dims) for item in model.graph.initializer}


def hand_built(nodes: list[onnx.NodeProto], constants: dict[str, NDArray], outputs: dict[str, list]) -> onnx.ModelProto:
    """A graph on `image`: Cast, Transpose and a scaling to `x` `[N, 3, 8, 8]` stand before the nodes."""
    before = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "scale"], ["x"]),
    ]
    arrays = {"scale": np.array(255, dtype=np.float32), **constants}
    graph = helper.make_graph(
        [*before, *nodes],
        "hand-built",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
