"""Formats of the measurements of a network and its graph, which `evaluate` and `export` write."""

from pydantic import Field

from relu_pipeline.artifacts.files import Format


class Metrics(Format):
    """`reports/<task>/metrics.json`: metrics on the test split; `loss` is the mean cross-entropy in nats."""

    accuracy: float
    balanced_accuracy: float
    f1_macro: float
    precision_macro: float
    loss: float
    calibration_error: float


class Parity(Format):
    """`reports/<task>/parity.json`: comparison of PyTorch and ONNX Runtime on the test split.

    `near_ties` counts examples of `different_top1` where both classes have the same probability within the tolerance.
    """

    rows: int
    different_top1: int
    near_ties: int
    max_probability_difference: float
    torch_accuracy: float
    onnx_accuracy: float


class PrunedLayer(Format):
    """Pruning of one layer: its number of `units`, those that are `dead`, and those `removed`.

    Dead units are not activated by any measured example. They are removed if those of all layers with the same channel
    are dead.
    """

    name: str
    units: int
    dead: int
    removed: int


class RowDifferences(Format):
    """Comparison of two graphs on the same examples.

    `different` counts the examples with different probabilities; `largest` is the largest difference of a probability,
    `largest_other` that of another output. A zero fraction differs where rounding changes the sign of an input of ReLU.
    """

    rows: int
    different: int
    changed_top1: int
    largest: float
    largest_other: float


class GraphCost(Format):
    """Cost of a graph: `multiply_adds` for one example, and the median `latency_ms` of one example on one thread."""

    parameters: int
    multiply_adds: int
    file_bytes: int
    latency_ms: float | None


class Pruning(Format):
    """`reports/<task>/pruning.json`: dead units, which none of the `measured_rows` activates, and those removed.

    If `removed` is 0, the graph is unchanged and latencies are not measured; `refused` is the reason if pruning was
    refused.
    """

    measured_rows: int
    dead: int
    removed: int
    layers: list[PrunedLayer]
    measured: RowDifferences | None
    test: RowDifferences | None
    refused: str | None
    input_shape: list[int] = Field(description="shape of the input for multiply-adds and latency")
    before: GraphCost
    after: GraphCost
