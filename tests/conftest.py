"""Fixtures that several folders share."""

import os
from pathlib import Path

import numpy as np
import pytest

from relu_pipeline.config import TASK_NAMES, ImagePrepareConfig, TextPrepareConfig, load_params

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def demo_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cifar10/` and `ag_news/` of the built-in data, in these forms."""
    # Imported here and below: tests/gpu runs where neither scikit-learn nor tokenizers are.
    from relu_pipeline.data.sources import obtain

    out, params = tmp_path_factory.mktemp("raw"), load_params(ROOT / "params.yaml")
    obtain("image", str(ROOT / "configs/data/digits.yaml"), params.image.data, None, out / "cifar10")
    obtain("text", str(ROOT / "configs/data/headlines.yaml"), params.text.data, None, out / "ag_news")
    return out


@pytest.fixture(scope="session")
def prepared(demo_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`image/` and `text/` of the built-in data."""
    from relu_pipeline.data.prepare import prepare_images, prepare_texts

    out = tmp_path_factory.mktemp("prepared")
    prepare_images(demo_raw / "cifar10", ImagePrepareConfig(val_fraction=0.2, size="auto"), out / "image")
    config = TextPrepareConfig(tokenizer="word", val_fraction=0.2, vocab_size=500, max_tokens=32)
    prepare_texts(demo_raw / "ag_news", config, out / "text")
    return out


@pytest.fixture(scope="session")
def mirror() -> Path:
    path = os.environ.get("RELU_DATA_MIRROR")
    if not path:
        pytest.skip("RELU_DATA_MIRROR is not set")
    return Path(path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`best.ckpt` and `relu_health.png` in `image/` and `text/`, of four epochs of training on the built-in data.

    After two, the image network can be no better than chance, and calibration makes its probabilities nearly equal.
    """
    from relu_pipeline.health.pictures import draw_health
    from tests.training import train_at_once

    out = tmp_path_factory.mktemp("trained")
    params = load_params(ROOT / "params.yaml")
    for task in TASK_NAMES:
        config = getattr(params, task)
        changes = {"max_epochs": 4, "batch_size": 128, "label_smoothing": 0.2}
        if task == "image":
            changes["horizontal_flip"] = False  # a mirrored digit is another digit or none
        train = config.train.model_copy(update=changes)
        fitted = train_at_once(task, config.model_copy(update={"train": train}), prepared / task, out / task)
        draw_health(fitted.health, out / task / "relu_health.png")
    return out


@pytest.fixture(scope="session")
def models(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/` as `dvc repro` leaves it, of the built-in data."""
    from relu_pipeline import artifacts
    from relu_pipeline.evaluation.evaluate import evaluate
    from relu_pipeline.export.export import export
    from relu_pipeline.tasks.catalogue import TASKS
    from relu_pipeline.tracking.run import NullRun
    from tests.reports import write_reports

    root = tmp_path_factory.mktemp("served")
    params = load_params()
    for task in TASK_NAMES:
        reports = root / "reports" / task
        artifacts.copy(trained / task / artifacts.HEALTH_MAP, reports / artifacts.HEALTH_MAP)
        checkpoint = trained / task / "best.ckpt"
        evaluate(TASKS[task], checkpoint, prepared / task, params.evaluate, NullRun(), reports)
        write_reports(prepared / task, reports)
        export(TASKS[task], checkpoint, reports, prepared / task, params, NullRun(), root / "models" / task)
    return root / "models"


@pytest.fixture(scope="session")
def gelu_models(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/` with a network for images that has no ReLU, and is not trained."""
    from relu_pipeline import artifacts
    from relu_pipeline.evaluation.evaluate import evaluate
    from relu_pipeline.export.export import export
    from relu_pipeline.models.catalogue import build_network
    from relu_pipeline.models.checkpoint import save_checkpoint
    from relu_pipeline.tasks.catalogue import TASKS
    from relu_pipeline.tracking.run import NullRun
    from tests.reports import write_reports

    root, task, params = tmp_path_factory.mktemp("gelu"), TASKS["image"], load_params()
    checkpoint, reports = root / "checkpoints" / artifacts.CHECKPOINT, root / "reports"
    settings = {"hidden_dims": [32], "activation": "gelu", "num_classes": 10, "image_shape": [32, 32, 3]}
    network = build_network("mlp", settings)
    task.fit_input(network, task.load(prepared / "image", "train"))
    save_checkpoint(checkpoint, "mlp", settings, network.state_dict())
    artifacts.copy(trained / "image" / artifacts.HEALTH_MAP, reports / artifacts.HEALTH_MAP)
    evaluate(task, checkpoint, prepared / "image", params.evaluate, NullRun(), reports)
    write_reports(prepared / "image", reports)
    export(task, checkpoint, reports, prepared / "image", params, NullRun(), root / "models/image")
    return root / "models"
