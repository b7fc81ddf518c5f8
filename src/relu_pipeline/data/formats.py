"""Forms of data sets, each known to one module."""

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import DataFormat, PublishedFormat, TaskName
from relu_pipeline.data import ag_news, cifar10, image_folder, own, table


class Adapter(Protocol):
    """Raises DataError, naming the file and the row."""

    def read_split(self, raw: Path, split: Split, num_classes: int) -> tuple[list[Any], NDArray[Any]]:
        """Return the items of a raw folder, `Picture`s or texts, and their labels, int64 `[N]`, from 0."""


class PublishedAdapter(Adapter, Protocol):
    def place(self, file: Path, out: Path, num_classes: int) -> None:
        """Put what a published file holds into the raw folder `out`."""


class OwnAdapter(Adapter, Protocol):
    def gather(self, location: Path, config: Any, out: Path) -> list[str]:
        """List the examples at `location` in the raw folder `out`, as `data.own` does, and return the labels."""


PUBLISHED: dict[DataFormat, PublishedAdapter] = {"cifar10": cifar10, "ag_news": ag_news}
FORMATS: dict[TaskName, list[PublishedFormat]] = {"image": ["cifar10"], "text": ["ag_news"]}
OWN: dict[TaskName, DataFormat] = {"image": "image_folder", "text": "table"}
OWN_ADAPTERS: dict[DataFormat, OwnAdapter] = {"image_folder": image_folder, "table": table}
ADAPTERS: dict[DataFormat, Adapter] = {**PUBLISHED, **OWN_ADAPTERS}


def read_raw(raw: Path, split: Split) -> tuple[list[Any], NDArray[Any]]:
    """As `Adapter.read_split`, of a folder that `obtain` filled. Raises DataError, ArtifactError."""
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    return ADAPTERS[source.format].read_split(raw, split, len(source.labels))


def read_places(raw: Path, split: Split) -> list[str]:
    """Return where the user finds each item of `read_raw`. Raises ArtifactError."""
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    if source.format in OWN_ADAPTERS:
        return [row["place"] for row in own.read(raw, split)]
    return [f"{split} row {number}" for number in range(1, source.rows[split] + 1)]
