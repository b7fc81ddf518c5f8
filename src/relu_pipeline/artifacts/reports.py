"""What was measured of a network and its graph: written by `evaluate` and `export`."""

from pydantic import Field

from relu_pipeline.artifacts.files import Format


class Metrics(Format):
    """`reports/<task>/metrics.json`, all on the test split; `loss` is the mean cross-entropy in nats."""

    accuracy: float
    balanced_accuracy: float
    f1_macro: float
    precision_macro: float
    loss: float
    calibration_error: float


class Parity(Format):
    """`reports/<task>/parity.json`: torch against ONNX Runtime over the whole test split.

    `near_ties` of the rows with a different top-1: both classes have the same probability, within the tolerance.
    """

    rows: int
    different_top1: int
    near_ties: int
    max_probability_difference: float
    torch_accuracy: float
    onnx_accuracy: float


class PrunedLayer(Format):
    """`removed` of the `dead` of `units`: no measured row activates these, nor other layers on the same channel."""

    name: str
    units: int
    dead: int
    removed: int


class RowDifferences(Format):
    """Two graphs on the same rows: how many rows have `different` probabilities, and the `largest` difference of one.

    `largest_other`: of the other outputs. A share of zeros moves where rounding carries an activation over 0.
    """

    rows: int
    different: int
    changed_top1: int
    largest: float
    largest_other: float


class GraphCost(Format):
    """`multiply_adds` of one row; `latency_ms` of one row on one thread, median."""

    parameters: int
    multiply_adds: int
    file_bytes: int
    latency_ms: float | None


class Pruning(Format):
    """`reports/<task>/pruning.json`: units that none of the `measured_rows` activates, and those cut from the graph.

    Where `removed` is 0, the graph is as it was, and nothing was timed; `refused` says why it had to stay so.
    """

    measured_rows: int
    dead: int
    removed: int
    layers: list[PrunedLayer]
    measured: RowDifferences | None
    test: RowDifferences | None
    refused: str | None
    input_shape: list[int] = Field(description="of the row that multiply-adds and latency are of")
    before: GraphCost
    after: GraphCost
