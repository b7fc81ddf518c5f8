"""Formats of the files that `download`, `validate` and `prepare` write about the data of a task."""

from typing import Annotated, Literal

from pydantic import Field

from relu_pipeline.artifacts.files import Format
from relu_pipeline.config import DataFormat, TaskName

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

PAD_ID = 0  # token id of padding, in batches and in the input of the text graph


class SourceFile(Format):
    name: str
    url: str | None
    sha256: Sha256


class Source(Format):
    """`data/raw/<task>/source.json`: origin of the data. `folder` is that of the user's own images, if not copied."""

    name: str
    format: DataFormat
    source: Literal["published", "mirror", "demo", "own"]
    sha256: Sha256
    files: list[SourceFile]
    labels: list[str]
    rows: dict[Split, int]
    folder: str | None = None


class Unreadable(Format):
    """`data/validated/<task>.json`: indices of the raw examples that cannot be decoded; `prepare` skips them.

    The file is written only if the data have no errors.
    """

    rows: dict[Split, list[int]]


class Spread(Format):
    """Minimum, 5 %, 50 % and 95 % quantiles, and maximum."""

    smallest: float
    p5: float
    median: float
    p95: float
    largest: float


class LeftOut(Format):
    place: str
    why: str


class Pair(Format):
    """An example and its exact or near duplicate."""

    place: str
    label: str
    other_place: str
    other_label: str


class Duplicates(Format):
    """Duplicates: `count` examples of `split` with a duplicate in `other`, or, within one split, an earlier duplicate.

    "near" counts the examples with a near but no exact duplicate. `examples` are the first of them.
    """

    kind: Literal["exact", "near"]
    split: Split
    other: Split
    count: int
    examples: list[Pair]


class Contradictions(Format):
    """Contradicting labels: `count` examples of all splits with an exact, or else near, duplicate of another label."""

    kind: Literal["exact", "near"]
    count: int
    examples: list[Pair]


class Finding(Format):
    """Problem of the data. An error stops the run; a warning does not."""

    level: Literal["error", "warning"]
    message: str


class DataFacts(Format):
    """Statistics of the readable examples, and the excluded items `left_out`."""

    source: Source
    rows: dict[Split, dict[str, int]] = Field(description="examples of each class")
    sizes: dict[str, dict[Split, Spread]] = Field(description="width and height in pixels; words and characters")
    duplicates: list[Duplicates]
    contradictions: list[Contradictions]
    left_out: list[LeftOut]


class DataReport(DataFacts):
    """`reports/<task>/data.json`: statistics and problems of the data."""

    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]


class PreparedMeta(Format):
    """`data/prepared/<task>/meta.json`; `digests` are those of the arrays of each split."""

    task: TaskName
    source: Source
    rows: dict[Split, int]
    digests: dict[Split, Sha256]
