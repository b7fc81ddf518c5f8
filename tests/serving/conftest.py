"""Models of the built-in data, and the service in this process and in one of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import RunInfo
from relu_pipeline.config import load_params
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.tracking.run import NullRun
from serving.predictor import Predictor
from serving.settings import load_settings


@pytest.fixture(scope="session")
def models(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/` as `dvc repro` leaves it, of the built-in data."""
    root = tmp_path_factory.mktemp("served")
    config = load_params().export
    for task in ("image", "text"):
        folder, reports = root / "models" / task, root / "reports" / task
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_bytes((trained / task / "best.ckpt").read_bytes())
        artifacts.write(folder / "run.json", RunInfo(run_id="none", git_commit="abc"))
        artifacts.copy(trained / task / artifacts.HEALTH_MAP, reports / artifacts.HEALTH_MAP)
        evaluate(folder / "best.ckpt", prepared / task, load_params().evaluate, NullRun(), reports)
        export(folder, reports, prepared / task, config, NullRun())
    tokenizer = (prepared / "text" / artifacts.TOKENIZER).read_bytes()
    (root / "models/text" / artifacts.TOKENIZER).write_bytes(tokenizer)
    return root / "models"


@pytest.fixture(scope="session")
def predictor(models: Path) -> Iterator[Predictor]:
    return Predictor(models, load_settings())
