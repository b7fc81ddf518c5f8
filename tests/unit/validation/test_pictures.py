from pathlib import Path

import numpy as np
import pytest

from relu_pipeline.artifacts import DataFacts, Source, Split
from relu_pipeline.validation.pictures import draw_data
from tests.figures import expect_picture

ROWS: dict[Split, list[int]] = {"train": [60, 30, 10], "val": [6, 3, 1], "test": [12, 0, 8]}


def facts(labels: list[str], rows: dict[Split, list[int]]) -> DataFacts:
    totals = {split: sum(counts) for split, counts in rows.items()}
    source = Source(
        name="data", format="image_folder", source="own", sha256="0" * 64, files=[], labels=labels, rows=totals
    )
    by_class = {split: dict(zip(labels, counts, strict=True)) for split, counts in rows.items()}
    return DataFacts(source=source, rows=by_class, sizes={}, duplicates=[], contradictions=[], left_out=[])


def test_the_figure_has_the_sizes_and_the_examples_of_each_class_by_split(tmp_path: Path) -> None:
    described = facts(["cat", "two\nlines", "$5 to $10"], ROWS)
    splits = np.repeat(list(ROWS), [100, 10, 20])
    spread = np.linspace(0, 1, len(splits))
    sizes = {"width": (40 + 20 * spread).astype(np.int64), "height": (10 * 300**spread).astype(np.int64)}
    draw_data(described, splits, sizes, tmp_path / "data.png")
    expect_picture(tmp_path / "data.png")


@pytest.mark.parametrize("classes", [21, 401])
def test_many_classes_are_small_and_without_names_above_400(tmp_path: Path, classes: int) -> None:
    labels = [f"class {number}" for number in range(classes)]
    described = facts(labels, {"train": [1 + number % 5 for number in range(classes)], "test": [1] * classes})
    splits = np.repeat(["train", "test"], [sum(described.rows["train"].values()), classes])
    draw_data(described, splits, {"words": np.full(len(splits), 7)}, tmp_path / f"data_{classes}_classes.png")
    expect_picture(tmp_path / f"data_{classes}_classes.png")
