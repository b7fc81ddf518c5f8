from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from onnxruntime import InferenceSession
from torch import nn

from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.export.graph import export_graph
from relu_pipeline.health.hooks import watching
from relu_pipeline.health.zero_shares import answer, column_baseline, confidence_baseline, with_zero_shares
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS

VALUES = st.one_of(st.just(0.0), st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False))
SHAPES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)),
)


class Twice(nn.Module):
    """Two ReLU layers; the second sees what the first gives, less 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ReLU()
        self.between = nn.GELU()
        self.second = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.between(x)
        return self.second(self.first(x) - 1).flatten(1)


def counted(x: np.ndarray) -> np.ndarray:
    """Zeros of a ReLU by row, one by one."""
    return np.array([sum(value <= 0 for value in row.ravel()) / row.size for row in x])


@given(SHAPES.flatmap(lambda shape: st_numpy.arrays(np.float32, shape, elements=VALUES)))
def test_zeros_are_counted_exactly_by_row_and_layer(x: np.ndarray) -> None:
    _, layers, shares = with_zero_shares(Twice(), torch.from_numpy(x))
    assert layers == ["first", "second"]
    expected = np.stack((counted(x), counted(np.maximum(x, 0) - np.float32(1))), axis=1)
    np.testing.assert_allclose(shares.numpy(), expected, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=3))
@settings(max_examples=30)
def test_the_layers_of_a_random_network_are_those_that_numpy_computes(seed: int, rows: int, widths: list[int]) -> None:
    torch.manual_seed(seed)
    linear = [nn.Linear(d_in, d_out) for d_in, d_out in zip([6, *widths], widths, strict=False)]
    network = nn.Sequential(*(module for layer in linear for module in (layer, nn.ReLU())))
    x = torch.randn(rows, 6)
    with torch.no_grad():
        _, layers, shares = with_zero_shares(network, x)
        for index, layer in enumerate(linear):
            x = torch.from_numpy(np.maximum(layer(x).numpy(), 0))
            np.testing.assert_allclose(shares[:, index].numpy(), counted(x.numpy()), atol=1e-6)
    assert layers == [str(2 * index) for index in range(len(linear))]


def test_a_network_without_relu_has_no_columns() -> None:
    logits, layers, shares = with_zero_shares(nn.Sequential(nn.Flatten(), nn.GELU()), torch.ones(3, 4))
    assert (layers, shares.shape, logits.shape) == ([], (3, 0), (3, 4))


def test_zeros_of_relu6_are_counted_and_its_sixes_are_none() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU6())
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(2))
        network[1].bias.zero_()
        _, layers, shares = with_zero_shares(network, torch.tensor([[-1.0, 1.0], [7.0, 8.0], [-1.0, 0.0]]))
    assert layers == ["1"]
    assert shares.tolist() == [[0.5], [0], [1]]


@pytest.fixture
def graph(trained: Path, prepared: Path, tmp_path: Path, task: str) -> onnx.ModelProto:
    network, split = load_network(trained / task / "best.ckpt"), TASKS[task].load(prepared / task, "val")
    export_graph(TASKS[task], network, split.gather(torch.arange(2)), 20, tmp_path / "model.onnx")
    return onnx.load(tmp_path / "model.onnx")


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_graph_counts_the_zeros_of_its_own_relus_whatever_the_batch(
    graph: onnx.ModelProto, prepared: Path, task: str
) -> None:
    relus = [node.output[0] for node in graph.graph.node if node.op_type == "Relu"]
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in relus)
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    split = TASKS[task].load(prepared / task, "val")
    for rows in (torch.arange(100), torch.arange(3), torch.tensor([50])):
        _, shares, *outputs = session.run(None, {session.get_inputs()[0].name: split.gather(rows).numpy()})
        expected = [(output == 0).reshape(len(rows), -1).mean(axis=1) for output in outputs]
        assert shares.dtype == np.float32
        np.testing.assert_allclose(shares, np.stack(expected, axis=1), atol=1e-6)


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_graph_counts_what_torch_counts(graph: onnx.ModelProto, trained: Path, prepared: Path, task: str) -> None:
    """But for single units whose input is 0 up to rounding: the flat patches of the digits have many, noise hardly."""
    rng = np.random.default_rng(0)
    shape, most = ((50, 32, 32, 3), 256) if task == "image" else ((50, 30), 100)
    inputs = rng.integers(most, size=shape).astype(np.uint8 if task == "image" else np.int64)
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["zero_shares"], {session.get_inputs()[0].name: inputs})
    with torch.no_grad():
        _, _, expected = with_zero_shares(load_network(trained / task / "best.ckpt"), torch.from_numpy(inputs))
    assert np.isclose(found, expected.numpy(), atol=1e-6).mean() > 0.95
    np.testing.assert_allclose(found, expected.numpy(), atol=0.02)


def test_padding_changes_no_share(trained: Path, prepared: Path) -> None:
    network, split = load_network(trained / "text/best.ckpt"), TASKS["text"].load(prepared / "text", "val")
    assert isinstance(split, TextSplit)
    tokens = split.gather(torch.arange(20))
    _, _, shares = with_zero_shares(network, tokens)
    _, _, padded = with_zero_shares(network, nn.functional.pad(tokens, (0, 9)))
    torch.testing.assert_close(shares, padded)


def test_answers_are_the_same_for_any_split_of_the_rows_and_leave_no_hook(trained: Path, prepared: Path) -> None:
    network, split = load_network(trained / "image/best.ckpt"), TASKS["image"].load(prepared / "image", "test")
    assert isinstance(split, ImageSplit)
    whole = answer(network, split)
    part = answer(network, ImageSplit(split.images_BHWC[100:120], split.labels[100:120]))
    np.testing.assert_allclose(part.zero_shares, whole.zero_shares[100:120], atol=1e-6)
    assert whole.zero_shares.shape == (len(split), len(whole.layers))
    assert not any(module._forward_hooks for module in network.modules())
    seen: list[str] = []
    with watching(network, lambda layer, *_: seen.append(layer)):
        network(split.gather(torch.arange(2)))
    assert seen == whole.layers


SHARES = st_numpy.arrays(np.float32, st.integers(1, 200), elements=st.integers(0, 16).map(lambda zeros: zeros / 16))


@given(SHARES)
def test_every_bin_of_a_baseline_has_rows_and_they_add_up(shares: np.ndarray) -> None:
    found = column_baseline(shares)
    assert len(found.bin_shares) == len(found.edges) + 1 <= 10
    assert all(share > 0 for share in found.bin_shares)
    assert sum(found.bin_shares) == pytest.approx(1)
    assert found.edges == sorted(set(found.edges))
    assert not set(found.edges) & set(shares.tolist())
    below = [float((shares <= edge).mean()) for edge in found.edges]
    np.testing.assert_allclose(np.cumsum(found.bin_shares)[:-1], below)


def test_equal_quantiles_are_one_edge() -> None:
    found = column_baseline(np.array([0.5] * 8 + [0.25, 0.75], dtype=np.float32))
    assert found.quantiles == [0.25, 0.25, *[0.5] * 8, 0.75]
    assert found.edges == [0.375, 0.625]
    assert found.bin_shares == [0.1, 0.8, 0.1]
    assert found.mean == pytest.approx(0.5)
    assert column_baseline(np.full(9, 0.5, dtype=np.float32)).bin_shares == [1.0]


@given(st.lists(st.floats(0.5, 1, width=32), min_size=1, max_size=200))
def test_rounding_of_another_processor_moves_no_confidence_into_another_bin(top: list[float]) -> None:
    """But for those next to an edge, which lies halfway between two numbers of four decimals."""
    found = confidence_baseline(np.array(top, dtype=np.float32)[:, None])
    rounded = np.float32(np.round(top, 4))
    for moved in (rounded - np.float32(2e-6), rounded + np.float32(2e-6)):
        np.testing.assert_array_equal(np.searchsorted(found.edges, moved), np.searchsorted(found.edges, rounded))
    shares = np.bincount(np.searchsorted(found.edges, rounded), minlength=len(found.edges) + 1) / len(top)
    np.testing.assert_allclose(shares, found.bin_shares)


def test_probabilities_that_are_1_up_to_rounding_share_a_bin() -> None:
    top = 1 - np.arange(100, dtype=np.float32)[:, None] * np.float32(6e-8)
    assert confidence_baseline(top).bin_shares == [1.0]
