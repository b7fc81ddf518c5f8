"""Folders of the stages and names of the files in them. Paths are relative to the project's root."""

from pathlib import Path

from relu_pipeline.config import TaskName

SOURCE = "source.json"
DATA_FILES = DATA_REPORT, DATA_PAGE, DATA_PICTURE = "data.json", "data.md", "data.png"
META = "meta.json"
TOKENIZER = "tokenizer.json"
CHECKPOINT = "best.ckpt"
HISTORY = "history.csv"
HEALTH, HEALTH_MAP = "relu_health.csv", "relu_health.png"
METRICS = "metrics.json"
BY_CLASS_CSV, PREDICTIONS_CSV = "by_class.csv", "predictions.csv"
CONFUSION_CSV, CONFUSION_PNG = "confusion_matrix.csv", "confusion_matrix.png"
RELIABILITY_PNG = "reliability.png"
MISTAKES_CSV, MISTAKES_PNG = "mistakes.csv", "mistakes.png"
DRIFT_CSV, DRIFT_PNG = "drift.csv", "drift.png"
PARITY = "parity.json"
PRUNING = "pruning.json"
ONNX_MODEL, INT8_MODEL = "model.onnx", "model.int8.onnx"
SAMPLES = "samples.json"
CARD, CARD_PAGE = "card.md", "card.html"
MANIFEST = "manifest.json"

DOWNLOADS = Path("data/downloads")
STUDY = Path("reports/study")
BENTO = Path("dist/relu_pipeline.bento")


def raw_dir(task: TaskName) -> Path:
    return Path("data/raw") / task


def unreadable_file(task: TaskName) -> Path:
    return Path("data/validated") / f"{task}.json"


def prepared_dir(task: TaskName) -> Path:
    return Path("data/prepared") / task


def checkpoints_dir(task: TaskName) -> Path:
    return Path("checkpoints") / task


def training_dir(task: TaskName) -> Path:
    """Return the folder with the state of an unfinished training."""
    return checkpoints_dir(task) / "training"


def models_dir(task: TaskName) -> Path:
    """Return the folder with the files that the service needs, and no others."""
    return Path("models") / task


def reports_dir(task: TaskName) -> Path:
    return Path("reports") / task
