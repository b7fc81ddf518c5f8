"""AG News' CSV format: `"class 1-4","title","description"`, no header (Zhang et al. 2015, arXiv:1509.01626)."""

import csv
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import Split
from relu_pipeline.data.table_files import csv_rows
from relu_pipeline.errors import DataError

TRAIN_FILE = "train.csv"
TEST_FILE = "test.csv"
COLUMNS = 3


def place(file: Path, out: Path, num_classes: int) -> None:
    """Check the file and copy it to `out`. Raises DataError."""
    read(file, num_classes)  # before the copy, so that an error names the user's file
    shutil.copyfile(file, out / file.name)


def read_split(raw: Path, split: Split, num_classes: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return the texts and labels of a split, as `read`."""
    texts, labels = read(raw / {"train": TRAIN_FILE, "test": TEST_FILE}[split], num_classes)
    return texts, np.array(labels, dtype=np.int64)


def read(path: Path, num_classes: int) -> tuple[list[str], list[int]]:
    """Return the texts (title and description) and the labels, from 0. Raises DataError naming the file and line."""
    texts, labels = [], []
    for line, row in csv_rows(path, ","):
        try:
            label, text = _parse_row(row, num_classes)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
        labels.append(label)
        texts.append(text)
    if not texts:
        raise DataError(f"{path}: has no rows")
    return texts, labels


def _parse_row(row: list[str], num_classes: int) -> tuple[int, str]:
    if len(row) != COLUMNS:
        raise ValueError(f"{len(row)} columns, expected {COLUMNS}: class, title, description")
    number, title, description = row
    if number not in {str(valid) for valid in range(1, num_classes + 1)}:
        raise ValueError(f"class {number!r}, expected 1 to {num_classes}")
    text = f"{title} {description}".strip()
    if not text:
        raise ValueError("title and description are both empty")
    return int(number) - 1, text


def write(path: Path, texts: list[tuple[str, str]], labels: list[int]) -> None:
    """Write (title, description) pairs and labels in the format that `read` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        rows.writerows((label + 1, *text) for text, label in zip(texts, labels, strict=True))
