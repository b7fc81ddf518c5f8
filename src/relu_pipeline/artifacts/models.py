"""What `export` writes beside a graph, for the service and for predictions without it: samples and manifest."""

import hashlib
from pathlib import Path

from pydantic import Field

from relu_pipeline.artifacts.datasets import Sha256
from relu_pipeline.artifacts.files import Format, read
from relu_pipeline.artifacts.paths import MANIFEST
from relu_pipeline.config import TaskName
from relu_pipeline.errors import ArtifactError


class TensorInfo(Format):
    name: str
    shape: list[int | str]
    dtype: str


class Sample(Format):
    """`input`: a PNG in base64, or a text; `probabilities`, in the order of the labels, as the fp32 graph gave them."""

    input: str
    label: str = Field(description="the true one")
    probabilities: list[float]


class Samples(Format):
    """`models/<task>/samples.json`: of the validation split, at most one a label."""

    samples: list[Sample]


class ColumnBaseline(Format):
    """A number of each of the `rows` of the validation split; quantiles from 0 to 100 % in tenths.

    Bin `i` holds what is above `edges[i - 1]` and at most `edges[i]`; `bin_shares`: how many of the rows, from 0 to 1.
    """

    rows: int
    mean: float
    std: float
    quantiles: list[float]
    edges: list[float]
    bin_shares: list[float]


class Int8(Format):
    """`models/<task>/model.int8.onnx`: what `model.onnx` takes and gives, in int8; `refused`: why it may not be served.

    Accuracy, and the loss against float32, are of the test split, as is the largest difference of a probability; the
    loss on the validation split decides.
    """

    refused: str | None
    accuracy: float
    accuracy_loss: float
    val_accuracy_loss: float
    max_probability_difference: float
    sample_probabilities: list[list[float]] = Field(description="its answers to the inputs of samples.json")
    relu_baseline: dict[str, ColumnBaseline] = Field(description="as the manifest's, of this graph")
    confidence_baseline: ColumnBaseline


class Manifest(Format):
    """`models/<task>/manifest.json`: all that the service needs to know of a model, and where it came from."""

    task: TaskName
    name: str
    version: str
    labels: list[str]
    input: TensorInfo
    outputs: list[TensorInfo]
    files: dict[str, Sha256]
    checkpoint_sha256: Sha256
    opset: int
    data_source: str
    data_sha256: Sha256
    test_metrics: dict[str, float]
    relu_baseline: dict[str, ColumnBaseline] = Field(description="in the order of the columns of `zero_shares`")
    confidence_baseline: ColumnBaseline = Field(description="of the largest probability")
    int8: Int8


def model_name(task: TaskName) -> str:
    """The name by which a registry and the service know the model."""
    return f"relu-pipeline-{task}"


def read_manifest(folder: Path, task: TaskName) -> Manifest:
    """Raises ArtifactError if the folder has no manifest, or that of another task."""
    manifest = read(folder / MANIFEST, Manifest)
    if manifest.task != task:
        raise ArtifactError(f"{folder}: a model of the task {manifest.task}, not of {task}; name the folder of {task}")
    return manifest


def read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return a file that the manifest names. Raises ArtifactError if it is missing or altered."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}, but the manifest beside it names it; run `dvc repro export` there"
        raise ArtifactError(message) from error
    if (found := hashlib.sha256(content).hexdigest()) != (expected := manifest.files[name]):
        raise ArtifactError(f"{path}: sha256 is {found}, the manifest says {expected}; run `dvc repro export` there")
    return content
