"""Own data, from a table or a folder of images, in one form: a file of JSON lines for each split.

A line has the `place` where the user finds the example, its `label`, and its content. `left_out.jsonl` has the places
of what is no example, and why.
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
    """`identity` tells equal contents: the text, or the digest of the image."""

    place: str
    label: str
    identity: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What an adapter found: examples by split, "train" at least, and the reason for each place left out."""

    examples: dict[Split, list[Example]]
    left_out: dict[str, str] = field(default_factory=dict)


def store(found: Found, test_fraction: float, where: Path, out: Path) -> list[str]:
    """Write the splits to `out` and return the labels in their natural order.

    A test split is made from "train" where there is none. Raises DataError where `where` has fewer than two classes.
    """
    examples = dict(found.examples)
    labels = sorted({example.label for split in examples.values() for example in split}, key=natural_order)
    if len(labels) < 2:
        classes = f"one class ({in_one_line(labels[0])})" if labels else "no class"
        raise DataError(f"{where}: has {classes}, but two are needed{_first_left_out(found.left_out)}")
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
    """Return the reason for each place that was left out; published data have none. Raises ArtifactError."""
    path = raw / LEFT_OUT
    return {line["place"]: line["why"] for line in artifacts.read_lines(path)} if path.exists() else {}


def stored_splits(raw: Path) -> list[Split]:
    return [split for split in SPLITS if (raw / f"{split}.jsonl").exists()]


def natural_order(label: str) -> tuple[list[str | int], str]:
    """Sort key: "2" comes before "10", "b" after "A"."""
    parts = re.split(r"([0-9]+)", label)  # texts and numbers take turns, so that like meets like
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], label


def _first_left_out(left_out: Mapping[str, str]) -> str:
    place, why = next(iter(left_out.items()), (None, None))
    return f"; left out: {len(left_out):,}, the first: {in_one_line(place)} {why}" if place and why else ""


def _with_test(rows: Sequence[Example], fraction: float) -> dict[Split, list[Example]]:
    train, test = split_off_test([row.label for row in rows], [row.identity for row in rows], fraction)
    return {"train": [rows[index] for index in train], "test": [rows[index] for index in test]}
