"""What validation looks at: every example of a raw folder, and what is measured of it."""

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source
from relu_pipeline.data.formats import read_places, read_raw


@dataclass(frozen=True)
class Examples:
    """The examples of all splits, split by split, in the order of the raw data.

    `labels` int64 `[N]` are numbers of `names`; `splits` `[N]` are names, too; `places`: where the user finds them.
    """

    names: list[str]
    items: list[Any]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    places: list[str]

    @classmethod
    def read(cls, raw: Path) -> Self:
        """Raises DataError, ArtifactError."""
        source = artifacts.read(raw / artifacts.SOURCE, Source)
        items, labels, splits, places = [], [], [], []
        for split in source.rows:
            split_items, split_labels = read_raw(raw, split)
            items += split_items
            labels.append(split_labels)
            splits += [split] * len(split_items)
            places += read_places(raw, split)
        return cls(source.labels, items, np.concatenate(labels), np.array(splits), places)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, kept: NDArray[np.bool_]) -> "Examples":
        """`kept`: `[N]`."""
        items, places = (list(compress(values, kept)) for values in (self.items, self.places))
        return Examples(self.names, items, self.labels[kept], self.splits[kept], places)


@dataclass(frozen=True)
class Measured:
    """What is known of `N` examples.

    `unreadable`: why a row cannot be decoded. `exact` and `near`: int64 `[N]`, the same number where two examples are
    equal, or nearly so; rows of one group of `exact` are in one group of `near`. `sizes`: `[N]` each.
    """

    unreadable: dict[int, str]
    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    sizes: dict[str, NDArray[np.int64]]

    def take(self, kept: NDArray[np.bool_]) -> "Measured":
        """Return what is known of examples that can be decoded; `kept`: `[N]`."""
        sizes = {name: values[kept] for name, values in self.sizes.items()}
        return Measured({}, self.exact[kept], self.near[kept], sizes)
