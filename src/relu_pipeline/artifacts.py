"""Every file that passes between stages: its path, its format, its reader and writer. All writes are atomic."""

import csv
import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relu_pipeline.config import DataFormat, TaskName
from relu_pipeline.errors import ArtifactError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SOURCE = "source.json"
DATA_REPORT, DATA_PAGE, DATA_PICTURE = "data.json", "data.md", "data.png"
CHECKPOINT = "best.ckpt"
ONNX_MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
SAMPLES = "samples.json"
HISTORY = "history.csv"
HEALTH = "relu_health.csv"
HEALTH_MAP = "relu_health.png"
METRICS = "metrics.json"
BY_CLASS_CSV, PREDICTIONS_CSV = "by_class.csv", "predictions.csv"
CONFUSION_PNG, RELIABILITY_PNG = "confusion_matrix.png", "reliability.png"
MISTAKES_CSV, MISTAKES_PNG = "mistakes.csv", "mistakes.png"
DRIFT_CSV = "drift.csv"
PARITY = "parity.json"
PRUNING = "pruning.json"
CARD, CARD_PAGE = "card.md", "card.html"
BENTO = Path("dist/relu_pipeline.bento")
DOWNLOADS = Path("data/downloads")
STUDY = Path("reports/study")

PAD_ID = 0  # fills the shorter rows of token ids: in prepared batches and in the text graph's input


def raw_dir(task: TaskName) -> Path:
    return Path("data/raw") / task


def unreadable_file(task: TaskName) -> Path:
    return Path("data/validated") / f"{task}.json"


def prepared_dir(task: TaskName) -> Path:
    return Path("data/prepared") / task


def checkpoints_dir(task: TaskName) -> Path:
    return Path("checkpoints") / task


def training_dir(task: TaskName) -> Path:
    """Where an unfinished training keeps its state."""
    return checkpoints_dir(task) / "training"


def model_name(task: TaskName) -> str:
    """The name by which a registry and the service know the model."""
    return f"relu-pipeline-{task}"


def models_dir(task: TaskName) -> Path:
    """What the service needs of a task, and nothing else."""
    return Path("models") / task


def reports_dir(task: TaskName) -> Path:
    return Path("reports") / task


class Format(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


FormatT = TypeVar("FormatT", bound=Format)


class SourceFile(Format):
    name: str
    url: str | None
    sha256: Sha256


class Source(Format):
    """`data/raw/<task>/source.json`: where the data came from; `folder`: of own images that stay where they are."""

    name: str
    format: DataFormat
    source: Literal["published", "mirror", "demo", "own"]
    sha256: Sha256
    files: list[SourceFile]
    labels: list[str]
    rows: dict[Split, int]
    folder: str | None = None


class Unreadable(Format):
    """`data/validated/<task>.json`: numbers of the raw examples, from 0, that cannot be decoded; `prepare` skips them.

    The file is written only where the data have no errors.
    """

    rows: dict[Split, list[int]]


class Spread(Format):
    """Quantiles: the smallest, 5 %, 50 %, 95 % and the largest."""

    smallest: float
    p5: float
    median: float
    p95: float
    largest: float


class LeftOut(Format):
    place: str
    why: str


class Pair(Format):
    """An example and an equal one, or one that nearly equals it."""

    place: str
    label: str
    other_place: str
    other_label: str


class Duplicates(Format):
    """`count` examples of `split` that `other` has, too; of one split alone, those that repeat an earlier example.

    "near" counts the examples that have a near duplicate there, but no exact one. `examples` are the first of them.
    """

    kind: Literal["exact", "near"]
    split: Split
    other: Split
    count: int
    examples: list[Pair]


class Contradictions(Format):
    """`count` examples of all splits with an exact, or else a near, duplicate that has another label."""

    kind: Literal["exact", "near"]
    count: int
    examples: list[Pair]


class Finding(Format):
    """An error stops the run."""

    level: Literal["error", "warning"]
    message: str


class DataFacts(Format):
    """All but `left_out` is of the examples that can be read."""

    source: Source
    rows: dict[Split, dict[str, int]] = Field(description="examples of each class")
    sizes: dict[str, dict[Split, Spread]] = Field(description="width and height in pixels; words and characters")
    duplicates: list[Duplicates]
    contradictions: list[Contradictions]
    left_out: list[LeftOut]


class DataReport(DataFacts):
    """`reports/<task>/data.json`."""

    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]


class PreparedMeta(Format):
    """`data/prepared/<task>/meta.json`; a digest covers the arrays of its split."""

    task: TaskName
    source: Source
    rows: dict[Split, int]
    digests: dict[Split, Sha256]


class TrainingMark(Format):
    """`checkpoints/<task>/training/mark.json`: whose state lies beside it, and the run that it goes on with."""

    key: Sha256
    run_key: str


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


def read(path: Path, form: type[FormatT]) -> FormatT:
    """Read a JSON artifact. Raises ArtifactError if it is missing or of another form."""
    try:
        return form.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; an earlier stage makes it: run `dvc repro`") from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a valid {form.__name__}; remake it with `dvc repro --force`") from error


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


def write(path: Path, content: Format) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines. Raises ArtifactError if the file is missing or altered."""
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; an earlier stage makes it: run `dvc repro`") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON lines; remake it with `dvc repro --force`") from error


def copy(source: Path, target: Path) -> None:
    """Raises ArtifactError if `source` is missing."""
    if not source.exists():
        raise ArtifactError(f"{source}: no such file; an earlier stage makes it: run `dvc repro`")
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """CSV; a row may lack a column."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read what `write_table` wrote. Raises ArtifactError if it is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; an earlier stage makes it: run `dvc repro`") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """As `atomic_file`, for a new folder with all that is in it."""
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    _clear(path, partial, old)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists() and not _exchange(partial, path):
            path.replace(old)
        if not path.exists():
            partial.replace(path)
    finally:
        _clear(path, partial, old)


def _clear(path: Path, partial: Path, old: Path) -> None:
    """Without the exchange, a stop between its two renames leaves nothing but `old`."""
    if old.exists() and not path.exists():
        old.replace(path)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Two folders, in one step: renameat2(2). False where the system or its file system knows no such thing."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def sha256_of(*paths: Path) -> str:
    """One digest over the contents of the files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
