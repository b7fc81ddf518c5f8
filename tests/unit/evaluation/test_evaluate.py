import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Metrics
from relu_pipeline.config import load_params
from relu_pipeline.evaluation import evaluate as module
from relu_pipeline.evaluation import pictures
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun


@pytest.mark.parametrize("task", ["image", "text"])
def test_an_evaluation_writes_figures_and_pictures(trained: Path, prepared: Path, tmp_path: Path, task: str) -> None:
    checkpoint = trained / task / "best.ckpt"
    metrics = module.evaluate(TASKS[task], checkpoint, prepared / task, load_params().evaluate, NullRun(), tmp_path)
    assert artifacts.read(tmp_path / artifacts.METRICS, Metrics) == metrics
    with (tmp_path / artifacts.CONFUSION_CSV).open() as file:
        cells = list(csv.DictReader(file))
    rows = sum(int(cell["rows"]) for cell in cells)
    right = sum(int(cell["rows"]) for cell in cells if cell["actual"] == cell["predicted"])
    assert right / rows == pytest.approx(metrics.accuracy)
    for name in (artifacts.CONFUSION_PNG, artifacts.RELIABILITY_PNG, artifacts.MISTAKES_PNG):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [2, 10, 77, 150, 1000])
def test_a_confusion_matrix_of_any_number_of_classes_fits_a_screen(tmp_path: Path, classes: int) -> None:
    counts = np.random.default_rng(0).integers(30, size=(classes, classes))
    pictures.draw_confusion(counts, [f"class {number} of many" for number in range(classes)], tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as picture:
        assert max(picture.size) <= (3000 if classes <= 150 else 7000)


def test_pictures_show_odd_names_of_classes(tmp_path: Path) -> None:
    names = ["no formula: $\\foo$", "x" * 300, "two\nlines", "$5 to $10", ""]
    pictures.draw_confusion(np.eye(5, dtype=np.int64), names, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert max(picture.size) <= 3000
    captions = [f"{name}\n9% sure" for name in names]
    pictures.draw_gallery([np.zeros((4, 4, 3), np.uint8)] * 5, captions, tmp_path / "gallery.png")
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.width <= 2000
