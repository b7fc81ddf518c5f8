"""Adapter of the user's own texts: one table, or a folder with a table per split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import Split
from relu_pipeline.config import TextDataConfig
from relu_pipeline.data import own
from relu_pipeline.data.own import Example, Found
from relu_pipeline.data.table_files import SUFFIXES, read_rows
from relu_pipeline.errors import DataError


def gather(location: Path, config: TextDataConfig, out: Path) -> list[str]:
    """List all examples in `out` and return the labels. Raises DataError naming the file and the line."""
    found = Found({})
    for split, file in split_files(location).items():
        found.examples[split] = _read(file, config, found.left_out)
    return own.store(found, config.test_fraction, location, out)


def read_split(raw: Path, split: Split, num_classes: int) -> tuple[list[str], NDArray[np.int64]]:
    rows = own.read(raw, split)
    return [row["text"] for row in rows], np.array([row["label"] for row in rows], dtype=np.int64)


def split_files(location: Path) -> dict[Split, Path]:
    """Return the table of each split; a single file is the training split. Raises DataError."""
    if not location.is_dir():
        return {"train": location}
    tables = {path.stem.lower(): path for path in sorted(location.iterdir()) if path.suffix.lower() in SUFFIXES}
    names: dict[Split, tuple[str, ...]] = {
        "train": ("train",),
        "val": ("val", "valid", "validation"),
        "test": ("test",),
    }
    files = {split: tables[name] for split, alike in names.items() for name in alike if name in tables}
    if "train" not in files:
        raise DataError(
            f"{location}: has no training table such as train{SUFFIXES[0]}; name a table, or a folder that contains one"
        )
    return files


def _read(path: Path, config: TextDataConfig, left_out: dict[str, str]) -> list[Example]:
    examples = []
    for place, values in read_rows(path, [*config.text, config.label]):
        place = f"{path.name}, {place}"
        try:
            text, label = joined_text(values, config.text), as_text(values[config.label])
            (text + label).encode()  # a lone surrogate is not valid Unicode
        except ValueError as error:
            raise DataError(f"{path.parent / place}: {error}") from error
        if not text:
            left_out[place] = "has no text"
        elif not label:
            left_out[place] = "has no label"
        else:
            examples.append(Example(place, label, text, {"text": text}))
    if not examples:
        raise DataError(f"{path}: has no row with a text and a label")
    return examples


def joined_text(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return the values of the columns as one text, joined by a space. Raises ValueError, as `as_text`."""
    return " ".join(filter(None, (as_text(values[name]) for name in columns)))


def as_text(value: Any) -> str:
    """Return the value as stripped text; a whole number has no decimal point, a missing value is empty.

    Raises ValueError if it is not a string, a number or a Boolean.
    """
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected a text or a number, not a {type(value).__name__}")
    return str(value).strip()
