"""Registry of data formats and their adapters."""

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import DataFormat, PublishedFormat, TaskName
from relu_pipeline.data import ag_news, cifar10, image_folder, own, table


class Adapter(Protocol):
    """Reader of one data format."""

    def read_split(self, raw: Path, split: Split, num_classes: int) -> tuple[list[Any], NDArray[Any]]:
        """Return the items of a raw folder, `Picture`s or texts, and their labels, int64 `[N]`, from 0.

        Raises DataError naming the file and the row.
        """


class PublishedAdapter(Adapter, Protocol):
    """Adapter of a published data set."""

    def place(self, file: Path, out: Path, num_classes: int) -> None:
        """Check a published file and write its content to the raw folder `out`. Raises DataError."""


class OwnAdapter(Adapter, Protocol):
    """Adapter of the user's own data."""

    def gather(self, location: Path, config: Any, out: Path) -> list[str]:
        """List the examples at `location` in the raw folder `out`, in the format of `data.own`; return the labels.

        Raises DataError.
        """


PUBLISHED: dict[DataFormat, PublishedAdapter] = {"cifar10": cifar10, "ag_news": ag_news}
FORMATS: dict[TaskName, list[PublishedFormat]] = {"image": ["cifar10"], "text": ["ag_news"]}
OWN: dict[TaskName, DataFormat] = {"image": "image_folder", "text": "table"}
OWN_ADAPTERS: dict[DataFormat, OwnAdapter] = {"image_folder": image_folder, "table": table}
ADAPTERS: dict[DataFormat, Adapter] = {**PUBLISHED, **OWN_ADAPTERS}


def read_raw(raw: Path, split: Split) -> tuple[list[Any], NDArray[Any]]:
    """Return the items and labels of a split in a folder that `obtain` wrote. Raises DataError, ArtifactError."""
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    return ADAPTERS[source.format].read_split(raw, split, len(source.labels))


def read_places(raw: Path, split: Split) -> list[str]:
    """Return the location of each item of `read_raw`, as shown to the user. Raises ArtifactError."""
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    if source.format in OWN_ADAPTERS:
        return [row["place"] for row in own.read(raw, split)]
    return [f"{split} row {number}" for number in range(1, source.rows[split] + 1)]
