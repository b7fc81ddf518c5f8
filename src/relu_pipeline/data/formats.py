"""Forms in which data are published, each known to one module."""

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import RawSplit, Source
from relu_pipeline.config import DataFormat, TaskName
from relu_pipeline.data import ag_news, cifar10


class Adapter(Protocol):
    """Raises DataError, naming the file and the row."""

    def place(self, file: Path, out: Path, num_classes: int) -> None:
        """Put what a published file holds into the raw folder `out`."""

    def read_split(self, raw: Path, split: RawSplit, num_classes: int) -> tuple[Any, NDArray[Any]]:
        """Return the items of a raw folder and their labels, int64 `[N]`, from 0.

        Items are images uint8 `[N, H, W, 3]`, or a list of N texts.
        """


FORMATS: dict[TaskName, list[DataFormat]] = {"image": ["cifar10"], "text": ["ag_news"]}
ADAPTERS: dict[DataFormat, Adapter] = {"cifar10": cifar10, "ag_news": ag_news}


def read_raw(raw: Path, split: RawSplit) -> tuple[Any, NDArray[Any]]:
    """As `Adapter.read_split`, of a folder that `obtain` filled. Raises DataError, ArtifactError."""
    source = artifacts.read(raw / "source.json", Source)
    return ADAPTERS[source.format].read_split(raw, split, len(source.labels))
