from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from relu_pipeline.export.fold import fold
from relu_pipeline.export.graph import export_graph
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from tests.unit.pruning.networks import CLASSES, answers, exported, hand_built, images, norm

ROWS = images(20, 7).images_BHWC.numpy()


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def pooled(width: int, scale: nn.Module) -> list[nn.Module]:
    """A convolution, pooling and the norm behind it, up to the logits."""
    behind = [nn.ReLU(), nn.Flatten(), nn.Linear(width * 16, CLASSES)]
    return [nn.Conv2d(3, width, 3, padding=1, bias=width % 2 == 0), nn.MaxPool2d(2), scale, *behind]


@pytest.mark.parametrize("width", [1, 4, 9])
def test_a_norm_behind_pooling_goes_into_the_convolution(width: int) -> None:
    torch.manual_seed(width)
    model = exported(*pooled(width, norm(width)))
    folded = fold(model)
    assert "BatchNormalization" in ops(model)
    assert ops(folded) == [op for op in ops(model) if op != "BatchNormalization"]
    np.testing.assert_allclose(answers(folded, ROWS)[0], answers(model, ROWS)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [-0.5, 0.0])
def test_a_scale_that_turns_the_order_or_ends_it_stays_behind_the_pooling(scale: float) -> None:
    turned = norm(4)
    turned.weight.data[2] = scale
    model = exported(*pooled(4, turned))
    assert ops(fold(model)) == ops(model)
    np.testing.assert_array_equal(answers(fold(model), ROWS)[0], answers(model, ROWS)[0])


class Twice(nn.Module):
    """The convolution's output is read besides the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.norm = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), norm(4)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = self.conv(x_BCHW)
        return self.norm(self.pool(x_BCHW)).mean(dim=(2, 3)) + x_BCHW.mean(dim=(2, 3))


def test_what_others_read_is_not_scaled() -> None:
    model = exported(Twice())
    assert ops(fold(model)) == ops(model)


@pytest.mark.parametrize("widths", [[1], [9, 4], [3, 8, 5]], ids=str)
def test_a_norm_goes_into_the_dense_layer_behind_it_whatever_its_scale(widths: list[int]) -> None:
    torch.manual_seed(len(widths))
    layers: list[nn.Module] = [nn.Flatten()]
    for features, width in pairwise([192, *widths, CLASSES]):
        scale = nn.BatchNorm1d(features)
        for values in (scale.weight, scale.bias, scale.running_mean):
            nn.init.normal_(values)
        layers += [nn.ReLU(), scale, nn.Linear(features, width)]
    model = exported(*layers)
    folded = fold(model)
    assert ops(folded) == [op for op in ops(model) if op != "BatchNormalization"]
    np.testing.assert_allclose(answers(folded, ROWS)[0], answers(model, ROWS)[0], rtol=0, atol=1e-5)


def test_a_graph_with_nothing_to_fold_keeps_its_answers() -> None:
    model = exported(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES))
    assert ops(fold(model)) == ops(model)
    np.testing.assert_array_equal(answers(fold(model), ROWS)[0], answers(model, ROWS)[0])


@pytest.mark.parametrize("task", ["image", "text"])
def test_no_norm_is_left_in_a_served_graph(trained: Path, prepared: Path, tmp_path: Path, task: str) -> None:
    split = TASKS[task].load(prepared / task, "val")
    export_graph(
        TASKS[task],
        load_network(trained / task / "best.ckpt"),
        split.gather(torch.arange(2)),
        20,
        tmp_path / "model.onnx",
    )
    assert "BatchNormalization" not in ops(onnx.load(tmp_path / "model.onnx"))


FEATURES = 3 * 8 * 8
NUMBERS = ["gamma", "shift", "mean", "variance"]


def dense_behind_a_norm(rng: np.random.Generator, **attributes: float) -> onnx.ModelProto:
    """A norm and a Gemm with these attributes."""
    constants = {name: rng.uniform(0.5, 1.5, size=FEATURES).astype(np.float32) for name in NUMBERS}
    shape = (CLASSES, FEATURES) if "transB" in attributes else (FEATURES, CLASSES)
    constants |= {"weight": (rng.normal(size=shape) / 14).astype(np.float32)}
    constants |= {"bias": rng.normal(size=CLASSES).astype(np.float32)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("BatchNormalization", ["f", *NUMBERS], ["normed"]),
        helper.make_node("Gemm", ["normed", "weight", "bias"], ["logits"], **attributes),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return hand_built(nodes, constants, {"probabilities": ["N", CLASSES]})


@pytest.mark.parametrize(
    ("attributes", "folds"),
    [
        ({"transB": 1}, True),
        ({"transB": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}, True),
        ({"transB": 1, "alpha": 0.5}, False),
        ({"transB": 1, "beta": 0.0}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_norm_goes_only_into_a_dense_layer_that_scales_nothing(
    attributes: dict[str, float], folds: bool, rng: np.random.Generator
) -> None:
    model = dense_behind_a_norm(rng, **attributes)
    folded = fold(model)
    assert ("BatchNormalization" not in ops(folded)) is folds
    np.testing.assert_allclose(answers(folded, ROWS)[0], answers(model, ROWS)[0], rtol=0, atol=1e-5)


def test_a_norm_whose_numbers_a_caller_may_replace_stays(rng: np.random.Generator) -> None:
    model = dense_behind_a_norm(rng, transB=1)
    numbers = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [FEATURES]) for name in NUMBERS]
    model.graph.input.extend(numbers)
    assert ops(fold(model)) == ops(model)
    np.testing.assert_array_equal(answers(fold(model), ROWS)[0], answers(model, ROWS)[0])
