"""Formats of the files that `export` writes beside a graph: manifest and samples."""

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
    """An example and its prediction by the fp32 graph.

    `input` is a PNG in base64, or a text; `probabilities` are in the order of the labels.
    """

    input: str
    label: str = Field(description="true label")
    probabilities: list[float]


class Samples(Format):
    """`models/<task>/samples.json`: examples of the validation split, at most one per label."""

    samples: list[Sample]


class ColumnBaseline(Format):
    """Distribution of a quantity over the `rows` examples of the validation split.

    `quantiles` are from 0 to 100 % in steps of 10 %. Bin `i` has the values above `edges[i - 1]` and at most
    `edges[i]`; `bin_shares` are the fractions of the examples in each bin.
    """

    rows: int
    mean: float
    std: float
    quantiles: list[float]
    edges: list[float]
    bin_shares: list[float]


class Int8(Format):
    """Quantised graph `models/<task>/model.int8.onnx`, with the inputs and outputs of `model.onnx`.

    `refused` is the reason why it must not be served, or None; it depends on `val_accuracy_loss`, the loss against
    float32 on the validation split. The other measurements are on the test split.
    """

    refused: str | None
    accuracy: float
    accuracy_loss: float
    val_accuracy_loss: float
    max_probability_difference: float
    sample_probabilities: list[list[float]] = Field(description="predictions for the inputs of samples.json")
    relu_baseline: dict[str, ColumnBaseline] = Field(description="as in the manifest, for this graph")
    confidence_baseline: ColumnBaseline


class Manifest(Format):
    """`models/<task>/manifest.json`: description of a model for the service, and its provenance."""

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
    """Return the name of the model in the registry and in the service."""
    return f"relu-pipeline-{task}"


def read_manifest(folder: Path, task: TaskName) -> Manifest:
    """Read the manifest of a model folder. Raises ArtifactError if it is missing or that of another task."""
    manifest = read(folder / MANIFEST, Manifest)
    if manifest.task != task:
        raise ArtifactError(
            f"{folder}: the model is of the task {manifest.task}; name a folder with a model of the task {task}"
        )
    return manifest


def read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return the content of a file of the manifest. Raises ArtifactError if it is missing or its digest differs."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}, but the manifest beside it names it; run `dvc repro export` there"
        raise ArtifactError(message) from error
    if (found := hashlib.sha256(content).hexdigest()) != (expected := manifest.files[name]):
        raise ArtifactError(f"{path}: sha256 is {found}, the manifest says {expected}; run `dvc repro export` there")
    return content
