import csv
from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Metrics
from relu_pipeline.config import load_params
from relu_pipeline.evaluation import evaluate as module
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
