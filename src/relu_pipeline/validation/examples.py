"""The examples of a raw folder, and the measurements that validation makes of them."""

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

    `labels` int64 `[N]` are indices into `names`; `splits` `[N]` are split names; `places` are locations in the user's
    files.
    """

    names: list[str]
    items: list[Any]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    places: list[str]

    @classmethod
    def read(cls, raw: Path) -> Self:
        """Read the examples of the raw folder `raw`. Raises DataError, ArtifactError."""
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
        """Return the examples where the mask `kept` `[N]` is true."""
        items, places = (list(compress(values, kept)) for values in (self.items, self.places))
        return Examples(self.names, items, self.labels[kept], self.splits[kept], places)


@dataclass(frozen=True)
class Measured:
    """Measurements of `N` examples.

    `unreadable` has the reason for each index that cannot be decoded. `exact` and `near`, int64 `[N]`, are group
    numbers of exact and near duplicates; a group of `exact` lies within one group of `near`. `sizes` are `[N]` each.
    """

    unreadable: dict[int, str]
    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    sizes: dict[str, NDArray[np.int64]]

    def take(self, kept: NDArray[np.bool_]) -> "Measured":
        """Return the measurements where the mask `kept` `[N]` is true; all of these examples must be readable."""
        sizes = {name: values[kept] for name, values in self.sizes.items()}
        return Measured({}, self.exact[kept], self.near[kept], sizes)
