"""Common storage format of the user's own data: one JSON lines file per split.

A line has the `place` of an example in the user's files, its `label` and its content. `left_out.jsonl` has the place
of each excluded item and the reason.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, Split
from relu_pipeline.data.splits import split_off_test
from relu_pipeline.errors import DataError, in_one_line

LEFT_OUT = "left_out.jsonl"


@dataclass(frozen=True)
class Example:
    """Labelled text or image. Examples of equal content have the same `identity`: the text, or the image's digest."""

    place: str
    label: str
    identity: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """Result of an adapter: the examples of each split, at least of "train", and the reason for each excluded place."""

    examples: dict[Split, list[Example]]
    left_out: dict[str, str] = field(default_factory=dict)


def store(found: Found, test_fraction: float, where: Path, out: Path) -> list[str]:
    """Write the splits to `out` and return the labels in natural order.

    Without a test split, one is split off "train". Raises DataError naming `where` if there are fewer than two classes.
    """
    examples = dict(found.examples)
    labels = sorted({example.label for split in examples.values() for example in split}, key=natural_order)
    if len(labels) < 2:
        classes = f"one class ({in_one_line(labels[0])})" if labels else "no class"
        raise DataError(f"{where}: has {classes}, but at least two are needed{first_left_out(found.left_out)}")
    if "test" not in examples:
        examples |= _with_test(examples["train"], test_fraction)
    numbers = {label: number for number, label in enumerate(labels)}
    for split, rows in examples.items():
        lines = ({"place": row.place, "label": numbers[row.label], **row.content} for row in rows)
        artifacts.write_lines(out / f"{split}.jsonl", lines)
    artifacts.write_lines(out / LEFT_OUT, ({"place": place, "why": why} for place, why in found.left_out.items()))
    return labels


def read(raw: Path, split: Split) -> list[dict[str, Any]]:
    """Return the lines of a split as `store` wrote them. Raises ArtifactError."""
    return artifacts.read_lines(raw / f"{split}.jsonl")


def read_left_out(raw: Path) -> dict[str, str]:
    """Return the reason for each excluded place; published data have none. Raises ArtifactError."""
    path = raw / LEFT_OUT
    return {line["place"]: line["why"] for line in artifacts.read_lines(path)} if path.exists() else {}


def stored_splits(raw: Path) -> list[Split]:
    return [split for split in SPLITS if (raw / f"{split}.jsonl").exists()]


def natural_order(label: str) -> tuple[list[str | int], str]:
    """Return a sort key by which "2" comes before "10", and "b" after "A"."""
    parts = re.split(r"([0-9]+)", label)  # text and numbers alternate, so that only values of one type are compared
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], label


def first_left_out(left_out: Mapping[str, str]) -> str:
    """Return the number of excluded places and the first of them, to be appended to a message; "" if there are none."""
    place, why = next(iter(left_out.items()), (None, None))
    return f"; left out: {len(left_out):,}, the first: {in_one_line(place)} {why}" if place and why else ""


def _with_test(rows: Sequence[Example], fraction: float) -> dict[Split, list[Example]]:
    train, test = split_off_test([row.label for row in rows], [row.identity for row in rows], fraction)
    return {"train": [rows[index] for index in train], "test": [rows[index] for index in test]}
