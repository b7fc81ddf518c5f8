from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relu_pipeline.evaluation import pictures
from relu_pipeline.evaluation.metrics import Reliability
from relu_pipeline.figures import class_name
from tests.figures import expect_picture

NAMES = ["no formula: $\\foo$", "x" * 300, "two\nlines", "$5 to $10", ""]
COUNTS = np.array([[97, 2, 1, 0, 0], [10, 80, 5, 5, 0], [0, 50, 50, 0, 0], [0, 0, 1, 2, 0], [0, 0, 0, 0, 0]])


def test_a_confusion_matrix_has_the_percent_of_the_true_class_in_each_cell(tmp_path: Path) -> None:
    pictures.draw_confusion(COUNTS, NAMES, tmp_path / "confusion.png")
    expect_picture(tmp_path / "confusion.png")


def test_a_confusion_matrix_of_many_classes_has_colours_alone(tmp_path: Path) -> None:
    counts = 3 * np.eye(30, dtype=np.int64) + np.arange(30) // 10
    pictures.draw_confusion(counts, [f"class {number}" for number in range(30)], tmp_path / "confusion_many.png")
    expect_picture(tmp_path / "confusion_many.png")


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 77, 150, 400, 401, 1000])
def test_a_confusion_matrix_of_any_number_of_classes_fits_a_screen(tmp_path: Path, classes: int) -> None:
    counts = np.random.default_rng(0).integers(30, size=(classes, classes))
    pictures.draw_confusion(counts, [f"class {number} of many" for number in range(classes)], tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as picture:
        assert max(picture.size) <= (3000 if classes <= 150 else 7000)


def test_a_reliability_diagram_leaves_out_empty_bins(tmp_path: Path) -> None:
    bins = Reliability(
        confidence=np.array([np.nan, 0.3, 0.5, 0.75, 0.95]),
        accuracy=np.array([np.nan, 0.5, 0.45, 0.6, 0.9]),
        count=np.array([0, 4, 20, 30, 60]),
    )
    pictures.draw_reliability(bins, 0.0815, tmp_path / "reliability.png")
    expect_picture(tmp_path / "reliability.png")


def test_images_have_their_captions(tmp_path: Path) -> None:
    shades = np.linspace(0, 255, 4 * 4 * 3).reshape(4, 4, 3).astype(np.uint8)
    captions = [f"{class_name(name)}\n9% sure" for name in (*NAMES, "cat, not dog", "dog, not cat")]
    pictures.draw_gallery([np.roll(shades, turn, axis=0) for turn in range(7)], captions, tmp_path / "images.png")
    expect_picture(tmp_path / "images.png")


def test_texts_have_their_captions(tmp_path: Path) -> None:
    texts = ["Shares of $5 fall to $4. " * 8, "a short one"]
    captions = ["Sports, not Business\n99% sure", "World, not Sci/Tech\n40% sure"]
    pictures.draw_gallery(texts, captions, tmp_path / "texts.png")
    expect_picture(tmp_path / "texts.png")


def test_no_mistakes_are_an_empty_gallery(tmp_path: Path) -> None:
    pictures.draw_gallery([], [], tmp_path / "no_mistakes.png")
    with Image.open(tmp_path / "no_mistakes.png") as picture:
        assert picture.size <= (1300, 300)
