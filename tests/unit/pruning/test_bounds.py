import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnxruntime import InferenceSession
from torch import nn

from relu_pipeline.pruning.bounds import bounds_of
from relu_pipeline.pruning.graph import Graph
from tests.unit.pruning.networks import CLASSES, SIDE, alive, constant, exported, hand_built, images, norm


def values(model: onnx.ModelProto, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors of the graph for a batch, as ONNX Runtime computes them without fusing anything."""
    watched = onnx.shape_inference.infer_shapes(model)
    known = {output.name for output in watched.graph.output}
    made = {name for node in watched.graph.node for name in node.output}
    watched.graph.output.extend(item for item in watched.graph.value_info if item.name in made - known)
    session = InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, {"image": pixels}), strict=True))


def assert_sound(model: onnx.ModelProto, pixels: np.ndarray) -> None:
    bounds = bounds_of(Graph(model))
    for name, array in values(model, pixels).items():
        assert (bounds[name].low <= array).all(), name
        assert (array <= bounds[name].high).all(), name
        same = np.broadcast_to(bounds[name].fixed, array[:1].shape)
        assert (array == array[:1])[np.broadcast_to(same, array.shape)].all(), name


NETWORKS = {
    "dense": lambda: [nn.Flatten(), constant(nn.Linear(192, 6), [0]), nn.ReLU(), nn.Linear(6, CLASSES)],
    "pooled": lambda: [
        nn.Conv2d(3, 6, 3, padding=1),
        norm(6),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.ELU(),
        nn.AvgPool2d(2, padding=1),
        nn.Flatten(),
        nn.Linear(20, CLASSES),
    ],
    "gated": lambda: [nn.Conv2d(3, 6, 3), nn.SiLU(), nn.PReLU(6), nn.Flatten(), nn.Linear(216, CLASSES)],
    "clipped": lambda: [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU6(), nn.GELU(), nn.Flatten(), nn.Linear(54, CLASSES)],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_computed_lies_within_the_bounds(name: str) -> None:
    extreme = np.concatenate([np.full((1, SIDE, SIDE, 3), value, dtype=np.uint8) for value in (0, 255)])
    assert_sound(exported(*NETWORKS[name]()), np.concatenate([images(20, 3).images_BHWC.numpy(), extreme]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), padding=st.integers(0, 1), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_random_weights_of_any_scale_keep_within_the_bounds(seed: int, padding: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    side = SIDE - 2 + 2 * padding
    shapes = {
        "kernels": (5, 3, 3, 3),
        "bias": (5,),
        "slope": (5, 1, 1),
        "shift": (1, 5, 1, 1),
        "head": (5 * side**2, CLASSES),
    }
    model = hand_built(
        [
            helper.make_node("Conv", ["x", "kernels", "bias"], ["a"], pads=[padding] * 4),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Sub", ["b", "shift"], ["c"]),
            helper.make_node("Div", ["c", "shift"], ["d"]),
            helper.make_node("Mul", ["d", "c"], ["e"]),
            helper.make_node("Add", ["e", "a"], ["f"]),
            helper.make_node("Relu", ["f"], ["g"]),
            helper.make_node("Flatten", ["g"], ["h"]),
            helper.make_node("MatMul", ["h", "head"], ["i"]),
            helper.make_node("Softmax", ["i"], ["probabilities"], axis=1),
        ],
        {name: (rng.normal(size=shape) * scale).astype(np.float32) for name, shape in shapes.items()},
        {"probabilities": ["N", CLASSES]},
    )
    assert_sound(model, images(8, seed).images_BHWC.numpy())


def test_an_embedding_is_bounded_by_its_table_and_an_unknown_operator_by_nothing() -> None:
    table = np.array([[0, 1, 5], [2, 1, -3]], dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["embedded"]),
        helper.make_node("Cos", ["embedded"], ["waves"]),
        helper.make_node("Relu", ["waves"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("token_ids", onnx.TensorProto.INT64, ["N", "L"])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["N", "L", 3])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    bounds = bounds_of(Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)))
    assert bounds["embedded"].low.tolist() == [[[0, 1, -3]]]
    assert bounds["embedded"].high.tolist() == [[[2, 1, 5]]]
    assert bounds["embedded"].fixed.tolist() == [[[False, True, False]]]
    assert bounds["waves"].high.item() == -bounds["waves"].low.item() == np.finfo(np.float32).max
    assert bounds["out"].low.item() == 0


def test_a_unit_is_proved_dead_only_with_a_margin() -> None:
    def is_fixed(bias: float) -> list[bool]:
        layer = alive(nn.Linear(192, 2))
        layer.weight.data[0] = 1 / 192
        layer.bias.data[0] = bias
        model = exported(nn.Flatten(), layer, nn.ReLU(), nn.Linear(2, CLASSES))
        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        return bounds_of(Graph(model))[relu.output[0]].fixed.ravel().tolist()

    assert is_fixed(-1.01) == [True, False]  # a white image gives 1 at most
    assert is_fixed(-1.0) == is_fixed(-0.99) == [False, False]
