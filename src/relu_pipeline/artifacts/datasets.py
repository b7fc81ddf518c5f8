"""What is known of the data of a task: written by `download`, `validate` and `prepare`."""

from typing import Annotated, Literal

from pydantic import Field

from relu_pipeline.artifacts.files import Format
from relu_pipeline.config import DataFormat, TaskName

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

PAD_ID = 0  # fills the shorter rows of token ids: in prepared batches and in the text graph's input


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
