from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from relu_pipeline.data.images import ImageSplit
from relu_pipeline.pruning.prune import CONV_BLOCK
from tests.unit.pruning.networks import (
    CLASSES,
    ODD,
    SPLITS,
    WIDTH,
    alive,
    answers,
    constant,
    dead,
    differ_by,
    exported,
    exported_with_zero_shares,
    hand_built,
    images,
    norm,
    pruned,
    removed,
    shapes,
)

FEATURES = 3 * 8 * 8


def conv(before: int, after: int, padding: int = 1) -> nn.Conv2d:
    return alive(nn.Conv2d(before, after, 3, padding=padding))


def test_dead_units_of_a_dense_network_go_and_the_rest_answers_alike() -> None:
    first, second = constant(nn.Linear(FEATURES, 16), [0, 5, 15]), constant(nn.Linear(16, 8), [7])
    model = exported(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(8, CLASSES))
    smaller, report = pruned(model)
    assert [(layer.name, layer.units, layer.dead, layer.removed) for layer in report.layers] == [
        ("network.2", 16, 3, 3),
        ("network.4", 8, 1, 1),
    ]
    assert (report.dead, report.removed) == (4, 4)
    assert shapes(smaller)["network.2.weight"] == [13, FEATURES]
    assert shapes(smaller)["network.4.weight"] == [7, 13]
    assert shapes(smaller)["network.6.weight"] == [CLASSES, 7]
    assert differ_by(model, smaller) <= 1e-6
    assert (report.measured_rows, report.measured.rows, report.test.rows) == (80, 80, 30)
    assert report.measured.largest <= 1e-6
    assert report.after.parameters == report.before.parameters - 3 * (FEATURES + 1) - (16 + 1) - 8 * 3 - CLASSES + 3
    assert report.before.multiply_adds == FEATURES * 16 + 16 * 8 + 8 * CLASSES
    assert report.after.multiply_adds == FEATURES * 13 + 13 * 7 + 7 * CLASSES
    assert report.after.file_bytes < report.before.file_bytes
    assert report.after.latency_ms > 0 < report.before.latency_ms


def test_nothing_dead_gives_the_same_graph_back_unmeasured() -> None:
    model = exported(conv(3, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, CLASSES))
    same, report = pruned(model, {"val": SPLITS["val"]})  # the other splits are not even read
    assert same is model
    assert (report.dead, report.removed, report.measured, report.test) == (0, 0, None, None)
    assert report.after.latency_ms is None
    assert report.before == report.after
    assert report.measured_rows == 20


def test_too_few_dead_channels_leave_the_graph_as_it_is_and_are_told_all_the_same() -> None:
    first, second = constant(conv(3, WIDTH), [3, 4, 5]), constant(conv(WIDTH, 8), [0])
    model = exported(first, nn.ReLU(), second, nn.ReLU(), Mean(), nn.Linear(8, CLASSES))
    same, report = pruned(model)
    assert same is model
    assert [(layer.units, layer.dead, layer.removed) for layer in report.layers] == [(WIDTH, 3, 0), (8, 1, 0)]
    assert (report.dead, report.removed, report.measured_rows) == (4, 0, 80)
    assert (report.measured, report.refused, report.before) == (None, None, report.after)


def test_dense_layers_behind_a_convolution_are_cut_to_the_unit() -> None:
    layers = constant(conv(3, WIDTH), [7]), nn.ReLU(), Mean(), constant(nn.Linear(WIDTH, 9), [0, 8]), nn.ReLU()
    model = exported(*layers, nn.Linear(9, CLASSES))
    smaller, report = pruned(model)
    assert (dead(report), removed(report)) == ([1, 2], [0, 2])
    assert shapes(smaller)["network.4.weight"] == [7, WIDTH]
    assert differ_by(model, smaller) <= 1e-6


class Mean(nn.Module):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean(dim=(2, 3))


def heads(channels: int) -> dict[str, list[nn.Module]]:
    return {
        "flatten": [nn.Flatten(), nn.Linear(channels * 16, CLASSES)],
        "mean": [Mean(), nn.Linear(channels, CLASSES)],
        "convolution": [conv(channels, 5, padding=0), nn.ReLU(), nn.Flatten(), nn.Linear(20, CLASSES)],
        "padded convolution": [conv(channels, 5), nn.ReLU(), nn.Flatten(), nn.Linear(80, CLASSES)],
    }


@pytest.mark.parametrize("head", heads(1))
def test_constant_channels_behind_a_pool_move_into_the_bias_of_any_reader_unless_a_border_differs(head: str) -> None:
    layer = constant(conv(3, 3 * CONV_BLOCK), list(range(WIDTH)), value=2.0)
    layer.bias.data[ODD] = -1e3
    model = exported(layer, nn.ReLU(), nn.MaxPool2d(2), *heads(3 * CONV_BLOCK)[head])
    smaller, report = pruned(model)
    left = 2 * CONV_BLOCK if head == "padded convolution" else CONV_BLOCK
    assert (dead(report)[0], removed(report)[0]) == (3 * CONV_BLOCK - left, 3 * CONV_BLOCK - left)
    assert shapes(smaller)["network.1.weight"] == [left, 3, 3, 3]
    assert differ_by(model, smaller) <= 1e-6


def test_a_bias_is_made_where_the_reader_has_none() -> None:
    for reader in (alive(nn.Conv2d(WIDTH, 5, 8, bias=False)), alive(nn.Linear(WIDTH * 64, 5, bias=False))):
        before = [] if isinstance(reader, nn.Conv2d) else [nn.Flatten()]
        after = [nn.Flatten()] if isinstance(reader, nn.Conv2d) else []
        tail = [nn.ReLU(), *after, nn.Linear(5, CLASSES)]
        model = exported(constant(conv(3, WIDTH), ODD, value=2.0), nn.ReLU(), *before, reader, *tail)
        smaller, report = pruned(model)
        assert removed(report) == [len(ODD), 0]
        assert any(name.endswith(".bias") and name not in shapes(model) for name in shapes(smaller))
        assert differ_by(model, smaller) <= 1e-6


def test_batch_norm_may_stand_before_or_after_the_relu() -> None:
    dead_conv = constant(conv(3, WIDTH), ODD)
    before = exported(conv(3, WIDTH), dead_norm(WIDTH, ODD), nn.ReLU(), conv(WIDTH, 6), nn.ReLU(), *heads_of_64(6))
    after = exported(dead_conv, nn.ReLU(), norm(WIDTH), conv(WIDTH, 6, padding=0), *heads_of_36(6))
    for model in (before, after):
        smaller, report = pruned(model)
        assert removed(report)[0] == len(ODD)
        assert differ_by(model, smaller) <= 1e-6
    padded = exported(dead_conv, nn.ReLU(), norm(WIDTH), conv(WIDTH, 6), nn.ReLU(), *heads_of_64(6))
    assert pruned(padded)[0] is padded  # the dead unit gives the padded reader another number than its border


def dead_norm(channels: int, units: list[int]) -> nn.BatchNorm2d:
    layer = norm(channels)
    layer.bias.data[units] = -1e3
    return layer


def heads_of_64(channels: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(channels * 64, CLASSES)]


def heads_of_36(channels: int) -> list[nn.Module]:
    return [nn.ReLU(), nn.Flatten(), nn.Linear(channels * 36, CLASSES)]


class Residual(nn.Module):
    def __init__(self, channels: int, stem_dead: list[int], branch_dead: list[int]) -> None:
        super().__init__()
        self.stem, self.branch = constant(conv(3, channels), stem_dead), constant(conv(channels, channels), branch_dead)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return x + torch.relu(self.branch(x))


@pytest.mark.parametrize(
    ("stem", "branch", "gone"), [(range(20), [], 0), ([], range(20), 0), (range(20), range(4, 24), 16)]
)
def test_a_residual_channel_goes_where_both_sides_are_dead(stem: list[int], branch: list[int], gone: int) -> None:
    model = exported(Residual(WIDTH, [*stem], [*branch]), conv(WIDTH, 5), nn.ReLU(), *heads_of_64(5))
    smaller, report = pruned(model)
    assert dead(report) == removed(report) == [gone, gone, 0]
    assert differ_by(model, smaller) <= 1e-6
    if gone:
        assert shapes(smaller)["network.1.branch.weight"] == [WIDTH - gone, WIDTH - gone, 3, 3]


@pytest.mark.parametrize("activation", [nn.PReLU(WIDTH), nn.LeakyReLU(), nn.ELU(), nn.SiLU(), nn.GELU(), nn.Sigmoid()])
def test_other_activations_lose_constant_units_alone(activation: nn.Module) -> None:
    layer = constant(conv(3, WIDTH), ODD, value=0.0)
    with torch.no_grad():
        layer.bias[::2] = -2  # negative throughout: dead if this were a ReLU
    model = exported(layer, activation, *heads_of_64(WIDTH))
    smaller, report = pruned(model)
    assert dead(report) == removed(report) == [len(ODD)]
    assert differ_by(model, smaller) <= 1e-6


def test_one_unit_of_a_dense_layer_stays_though_all_are_dead() -> None:
    model = exported(nn.Flatten(), constant(nn.Linear(FEATURES, 4), [0, 1, 2, 3]), nn.ReLU(), nn.Linear(4, CLASSES))
    smaller, report = pruned(model)
    assert (dead(report), removed(report)) == ([4], [3])
    assert differ_by(model, smaller) == 0


def lit_by_a_bright_image(usual: int = 0, lit: int = 3) -> onnx.ModelProto:
    """Unit 0 is active only where an image is nearly white; the class is then `lit` in place of `usual`."""
    layer, head = nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES)
    with torch.no_grad():
        layer.weight[0], layer.bias[0] = 1.0, -0.9 * FEATURES
        head.weight[:, 0] = 50 * (torch.arange(CLASSES) == lit)
        head.bias.copy_(9 * (torch.arange(CLASSES) == usual))
    return exported(nn.Flatten(), layer, nn.ReLU(), head)


def with_a_white_image(split: ImageSplit) -> ImageSplit:
    pixels = split.images_BHWC.clone()
    pixels[4] = 255
    return ImageSplit(pixels, split.labels)


def test_a_unit_that_one_training_row_activates_stays() -> None:
    model = lit_by_a_bright_image()
    same, report = pruned(model, {**SPLITS, "train": with_a_white_image(SPLITS["train"])})
    assert same is model
    assert (report.removed, report.measured_rows) == (0, 80)
    cut, report = pruned(model)
    assert report.removed == 1
    assert cut is not model


@pytest.mark.parametrize(("usual", "lit"), [(0, 3), (3, 0)])
def test_a_changed_top1_on_the_test_split_refuses_the_pruning(usual: int, lit: int) -> None:
    splits = {**SPLITS, "test": with_a_white_image(SPLITS["test"])}
    model = lit_by_a_bright_image(usual, lit)
    same, report = pruned(model, splits)
    assert same is model
    assert (report.refused, report.removed, report.dead) == ("top-1 differs on 1 of 30 test examples", 0, 1)


def test_the_same_graph_gives_the_same_bytes() -> None:
    model = exported(constant(conv(3, WIDTH), ODD), nn.ReLU(), *heads_of_64(WIDTH))
    one, other = (pruned(model)[0].SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_a_constant_that_two_layers_share_is_cut_for_each_as_it_needs(rng: np.random.Generator) -> None:
    model = hand_built(
        [
            helper.make_node("Conv", ["x", "first", "shared"], ["a"], pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "second", "shared"], ["c"], pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("GlobalAveragePool", ["d"], ["e"]),
            helper.make_node("Flatten", ["e"], ["f"]),
            helper.make_node("MatMul", ["f", "head"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        {
            "first": weights(rng, WIDTH, 3, 3, 3),
            "second": np.abs(weights(rng, WIDTH, WIDTH, 3, 3)) * 100,
            "shared": np.repeat(np.array([-20, 0], dtype=np.float32), WIDTH // 2),
            "head": weights(rng, WIDTH, CLASSES),
        },
        {"probabilities": ["N", CLASSES]},
    )
    smaller, report = pruned(model)
    assert removed(report) == [WIDTH // 2, 0]
    assert (shapes(smaller)["shared"], shapes(smaller)["shared.1"]) == ([WIDTH], [WIDTH // 2])
    assert differ_by(model, smaller) <= 1e-6


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.normal(size=shape) / np.sqrt(shape[-1] * 9)).astype(np.float32)


def zero_count(count: Callable[[str], list[onnx.NodeProto]], rng: np.random.Generator, value: float) -> onnx.ModelProto:
    bias, kernels = np.resize(np.float32([0.1, -0.1, 0, 0]), WIDTH), weights(rng, WIDTH, 3, 3, 3)
    bias[ODD], kernels[ODD] = value, 0
    nodes = [
        helper.make_node("Conv", ["x", "kernels", "bias"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        *count("b"),
        helper.make_node("Div", ["count", "places"], ["nonzero"]),
        helper.make_node("Sub", ["one", "nonzero"], ["zeros"]),
        helper.make_node("Flatten", ["b"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {
        "kernels": kernels,
        "bias": bias,
        "head": weights(rng, WIDTH * 36, CLASSES),
        "axes": np.array([1, 2, 3]),
        "zero": np.float32(0),
        "one": np.float32(1),
        "places": np.float32(WIDTH * 36),
    }
    return hand_built(nodes, constants, {"probabilities": ["N", CLASSES], "zeros": ["N"]})


def signs(x: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Sign", [x], ["s"]), helper.make_node("ReduceSum", ["s", "axes"], ["count"], keepdims=0)]


def greater(x: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Greater", [x, "zero"], ["g"]),
        helper.make_node("Cast", ["g"], ["s"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["s", "axes"], ["count"], keepdims=0),
    ]


@pytest.mark.parametrize("count", [signs, greater])
def test_an_output_that_counts_zeros_keeps_its_value(
    count: Callable[[str], list[onnx.NodeProto]], rng: np.random.Generator
) -> None:
    model = zero_count(count, rng, value=-1.0)
    smaller, report = pruned(model)
    assert report.removed == len(ODD)
    assert len(ODD) / WIDTH < answers(smaller, SPLITS["val"].images_BHWC.numpy())[1].mean() < 1
    np.testing.assert_array_equal(*(answers(graph, SPLITS["val"].images_BHWC.numpy())[1] for graph in (model, smaller)))
    lit = zero_count(count, rng, value=1.0)
    assert pruned(lit)[0] is lit  # a constant 1 counts as non-zero


@pytest.mark.parametrize("op", ["Softmax", "LayerNormalization", "Shape", "ReduceMean", "Reshape"])
def test_channels_that_an_unknown_operator_axis_or_shape_sees_are_left_alone(op: str, rng: np.random.Generator) -> None:
    more = {"LayerNormalization": ["ones"], "ReduceMean": ["axes"], "Reshape": ["shape"]}.get(op, [])
    extra = {"Shape": [2], "ReduceMean": ["N", 1], "Reshape": ["N", 5, 1]}.get(op, ["N", 5])
    use = [helper.make_node("Identity", ["axis"], ["axes"]), helper.make_node(op, ["b", *more], ["seen"])]
    if op == "Shape":
        use.append(helper.make_node("Cast", ["seen"], ["extra"], to=onnx.TensorProto.FLOAT))
    else:
        use.append(helper.make_node("Identity", ["seen"], ["extra"]))
    model = hand_built(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "first", "bias"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            *use,
            helper.make_node("MatMul", ["b", "head"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        {
            "first": weights(rng, FEATURES, 5),
            "bias": np.array([-1e3, 0, 0, 0, 0], dtype=np.float32),
            "head": weights(rng, 5, CLASSES),
            "ones": np.ones(5, dtype=np.float32),
            "axis": np.array([1]),
            "shape": np.array([-1, 5, 1]),
        },
        {"probabilities": ["N", CLASSES], "extra": extra},
    )
    assert pruned(model)[0] is model


@settings(max_examples=25, deadline=None)
@given(
    masks=st.lists(st.lists(st.sampled_from(["alive", "dead", "one"]), min_size=2, max_size=6), min_size=1, max_size=3),
    seed=st.integers(0, 2**16),
    added=st.booleans(),
)
def test_any_pattern_of_constant_units_is_cut_without_a_trace(masks: list[list[str]], seed: int, added: bool) -> None:
    rng = np.random.default_rng(seed)
    nodes, constants, before = [helper.make_node("Flatten", ["x"], ["h0"])], {}, FEATURES
    for layer, mask in enumerate([*masks, ["alive"] * CLASSES]):
        kinds = np.array(mask)
        matrix = (rng.uniform(0.5, 1, size=(before, len(mask))) / before).astype(np.float32)
        matrix[:, kinds != "alive"] = 0
        bias = np.select([kinds == "dead", kinds == "one"], [-1.0, 1.0], 0.5).astype(np.float32)
        constants |= {f"w{layer}": matrix, f"b{layer}": bias}
        if added:
            nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"m{layer}"]))
            nodes.append(helper.make_node("Add", [f"m{layer}", f"b{layer}"], [f"a{layer}"]))
        else:
            nodes.append(helper.make_node("Gemm", [f"h{layer}", f"w{layer}", f"b{layer}"], [f"a{layer}"]))
        nodes.append(helper.make_node("Relu", [f"a{layer}"], [f"h{layer + 1}"]))
        before = len(mask)
    nodes[-1] = helper.make_node("Softmax", [f"a{len(masks)}"], ["probabilities"], axis=1)
    model = hand_built(nodes, constants, {"probabilities": ["N", CLASSES]})
    smaller, report = pruned(model)
    assert removed(report) == [expected(masks, layer) for layer in range(len(masks))]
    assert differ_by(model, smaller) <= 1e-6


def expected(masks: list[list[str]], layer: int) -> int:
    """Behind a layer without a living unit, everything is constant."""
    cut_off = any("alive" not in mask for mask in masks[: layer + 1])
    units = masks[layer]
    constants = len(units) if cut_off else sum(unit != "alive" for unit in units)
    return min(constants, len(units) - 1)


def two_convolutions(kinds: NDArray[np.str_], rng: np.random.Generator, padding: int = 0) -> onnx.ModelProto:
    """The first one's channels are alive, dead or constantly one; a pool is between them."""
    kernels = weights(rng, len(kinds), 3, 3, 3)
    kernels[kinds != "alive"] = 0
    nodes = [
        helper.make_node("Conv", ["x", "kernels", "bias"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "second"], ["d"], pads=[padding] * 4),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("ReduceMean", ["e", "axes"], ["f"], keepdims=0),
        helper.make_node("Gemm", ["f", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {
        "kernels": kernels,
        "bias": np.select([kinds == "dead", kinds == "one"], [-1.0, 1.0], 0.5).astype(np.float32),
        "second": np.abs(weights(rng, 4, len(kinds), 3, 3)) / len(kinds),
        "axes": np.array([2, 3]),
        "head": weights(rng, 4, CLASSES),
    }
    return hand_built(nodes, constants, {"probabilities": ["N", CLASSES]})


@pytest.mark.parametrize(("number", "gone"), [(15, 0), (16, 16), (17, 16), (31, 16), (32, 32), (48, 32)])
def test_a_convolution_keeps_whole_blocks_of_channels(number: int, gone: int, rng: np.random.Generator) -> None:
    model = two_convolutions(rng.permutation(["dead"] * number + ["alive"] * (48 - number)), rng)
    smaller, report = pruned(model)
    assert (report.layers[0].dead, report.layers[0].removed) == (number, gone)
    assert (shapes(smaller)["kernels"][0], (48 - gone) % CONV_BLOCK) == (48 - gone, 0)
    assert (smaller is model) == (gone == 0)
    assert differ_by(model, smaller) <= 1e-6


@settings(max_examples=15, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(["alive", "dead", "one"]), min_size=1, max_size=7),
    padding=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_any_pattern_of_constant_channels_is_cut_to_whole_blocks_without_a_trace(
    pattern: list[str], padding: int, seed: int
) -> None:
    kinds = np.resize(pattern, 70)
    model = two_convolutions(kinds, np.random.default_rng(seed), padding)
    smaller, report = pruned(model)
    layer, constants = report.layers[0], ["dead"] if padding else ["dead", "one"]
    assert layer.dead == np.isin(kinds, constants).sum()
    assert layer.removed == max((gone for gone in (6, 22, 38, 54) if gone <= layer.dead), default=0)
    assert differ_by(model, smaller) <= 1e-6


def test_rows_of_any_number_fit_after_pruning() -> None:
    model = exported(constant(conv(3, WIDTH), ODD), nn.ReLU(), *heads_of_64(WIDTH))
    smaller, _ = pruned(model)
    assert smaller is not model
    for rows in (1, 3):
        assert answers(smaller, images(rows, 5).images_BHWC.numpy())[0].shape == (rows, CLASSES)


def test_the_zero_shares_of_our_graphs_stay_what_they_were(tmp_path: Path) -> None:
    first, second = constant(conv(3, WIDTH), ODD), [conv(WIDTH, WIDTH), dead_norm(WIDTH, ODD)]
    model = exported_with_zero_shares(tmp_path, first, nn.ReLU(), *second, nn.ReLU(), *heads_of_64(WIDTH))
    smaller, report = pruned(model)
    assert removed(report) == [len(ODD), len(ODD)]
    assert [output.name for output in smaller.graph.output] == ["probabilities", "zero_shares"]
    shares = answers(smaller, SPLITS["train"].images_BHWC.numpy())[1]
    assert (shares.min(axis=0) >= len(ODD) / WIDTH).all()
    assert differ_by(model, smaller) <= 1e-6


DENSE = [
    helper.make_node("Flatten", ["x"], ["f"]),
    helper.make_node("Gemm", ["f", "first", "bias"], ["a"]),
    helper.make_node("Relu", ["a"], ["b"]),
]
HEAD = helper.make_node("MatMul", ["b", "head"], ["logits"])
Behind = tuple[list[onnx.NodeProto], dict[str, Any]]  # nodes that read the units "b", and their constants


def five_units(
    rng: np.random.Generator, behind: Behind, before: list[onnx.NodeProto] = DENSE, **outputs: list[Any]
) -> onnx.ModelProto:
    """A network of five units, the first of which is dead. `outputs`: shapes of outputs besides the probabilities."""
    nodes, constants = behind
    softmax = helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)
    layers = {
        "first": weights(rng, FEATURES, 5),
        "bias": np.float32([-1e3, 5, 5, 5, 5]),
        "head": weights(rng, 5, CLASSES),
    }
    return hand_built([*before, *nodes, softmax], layers | constants, {"probabilities": ["N", CLASSES], **outputs})


HARMLESS: dict[str, Behind] = {
    "a dropout that is off": ([helper.make_node("Dropout", ["b"], ["c"])], {}),
    "a dropout whose mask has an empty name": ([helper.make_node("Dropout", ["b"], ["c", ""])], {}),
    "a clip": (
        [helper.make_node("Clip", ["b", "low", "high"], ["c"])],
        {"low": np.float32(0), "high": np.float32(100)},
    ),
}


@pytest.mark.parametrize("behind", HARMLESS.values(), ids=HARMLESS)
def test_dead_units_before_what_treats_each_alone_go(behind: Behind, rng: np.random.Generator) -> None:
    nodes, constants = behind
    model = five_units(rng, ([*nodes, helper.make_node("MatMul", ["c", "head"], ["logits"])], constants))
    smaller, report = pruned(model)
    assert (dead(report), removed(report)) == ([1], [1])
    assert differ_by(model, smaller) <= 1e-6


UNKNOWN: dict[str, tuple[Behind, dict[str, list[Any]]]] = {
    "a computed shape": (
        (
            [
                helper.make_node("Identity", ["shape"], ["computed"]),
                helper.make_node("Reshape", ["b", "computed"], ["seen"]),
                HEAD,
            ],
            {"shape": np.array([-1, 5])},
        ),
        {"seen": ["N", 5]},
    ),
    "a scaled product": (([helper.make_node("Gemm", ["b", "head"], ["logits"], alpha=2.0)], {}), {}),
    "a norm of computed numbers": (
        (
            [
                helper.make_node("Identity", ["ones"], ["computed"]),
                helper.make_node("BatchNormalization", ["b", "computed", "zeros", "zeros", "ones"], ["seen"]),
                HEAD,
            ],
            {"ones": np.ones(5, dtype=np.float32), "zeros": np.zeros(5, dtype=np.float32)},
        ),
        {"seen": ["N", 5]},
    ),
    "a gate of one unit": (
        (
            [
                helper.make_node("Gemm", ["f", "gate"], ["g"]),
                helper.make_node("Mul", ["b", "g"], ["gated"]),
                helper.make_node("MatMul", ["gated", "head"], ["logits"]),
            ],
            {"gate": np.full((FEATURES, 1), 0.01, dtype=np.float32)},
        ),
        {},
    ),
    "a product with a vector": (
        ([helper.make_node("MatMul", ["b", "vector"], ["sums"]), HEAD], {"vector": np.ones(5, dtype=np.float32)}),
        {"sums": ["N"]},
    ),
    "a dropout that is on": (
        (
            [
                helper.make_node("Dropout", ["b", "ratio", "is_training"], ["c"]),
                helper.make_node("MatMul", ["c", "head"], ["logits"]),
            ],
            {"ratio": np.float32(0.5), "is_training": np.array(True)},
        ),
        {},
    ),
}


@pytest.mark.parametrize(("behind", "outputs"), UNKNOWN.values(), ids=UNKNOWN)
def test_units_that_are_read_in_an_unsupported_way_are_left_alone(
    behind: Behind, outputs: dict[str, list[Any]], rng: np.random.Generator
) -> None:
    model = five_units(rng, behind, **outputs)
    same, report = pruned(model)
    assert same is model
    assert report.layers == []


def test_dead_units_of_a_layer_that_is_applied_to_each_row_of_an_example_go(rng: np.random.Generator) -> None:
    rows = [
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("MatMul", ["r", "first"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    mean = [
        helper.make_node("MatMul", ["b", "head"], ["each"]),
        helper.make_node("ReduceMean", ["each", "axes"], ["logits"], keepdims=0),
    ]
    constants = {"first": weights(rng, 64, 5), "rows": np.array([0, 3, 64]), "axes": np.array([1])}
    model = five_units(rng, (mean, constants), rows)
    smaller, report = pruned(model)
    assert (dead(report), removed(report)) == ([1], [1])
    assert [shapes(smaller)[name] for name in ("first", "bias", "head")] == [[64, 4], [4], [4, CLASSES]]
    assert differ_by(model, smaller) <= 1e-6


def test_a_product_without_a_bias_in_a_residual_sum_loses_its_dead_units(rng: np.random.Generator) -> None:
    residual = [
        helper.make_node("MatMul", ["b", "second"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["sum"]),
        helper.make_node("MatMul", ["sum", "head"], ["logits"]),
    ]
    second = weights(rng, 5, 5)
    second[:, 0] = 0
    model = five_units(rng, (residual, {"second": second}))
    smaller, report = pruned(model)
    assert (dead(report), removed(report)) == ([1, 1], [1, 1])
    assert shapes(smaller)["second"] == [4, 4]
    assert differ_by(model, smaller) <= 1e-6
