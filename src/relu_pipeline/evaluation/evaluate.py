"""Evaluation of a checkpoint on the test split: metrics, tables and figures in one folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Metrics, PreparedMeta
from relu_pipeline.config import EvaluateConfig
from relu_pipeline.evaluation import pictures
from relu_pipeline.evaluation.metrics import (
    confident_mistakes,
    confusion_counts,
    measure,
    measure_by_class,
    reliability,
)
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.figures import class_name
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.task import Task
from relu_pipeline.tracking.run import Run

LOGGED = (
    artifacts.BY_CLASS_CSV,
    artifacts.CONFUSION_CSV,
    artifacts.CONFUSION_PNG,
    artifacts.RELIABILITY_PNG,
    artifacts.MISTAKES_CSV,
    artifacts.MISTAKES_PNG,
    artifacts.METRICS,
)


def evaluate(task: Task[Any], checkpoint: Path, prepared: Path, config: EvaluateConfig, run: Run, out: Path) -> Metrics:
    """Write metrics, tables and figures to `out`, log them to `run` and return the metrics. Raises ArtifactError."""
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    names = meta.source.labels
    split = task.load(prepared, "test")
    labels = split.labels.numpy()
    probabilities = predict(load_network(checkpoint), split)
    metrics = measure(probabilities, labels, config.calibration_bins)
    artifacts.write(out / artifacts.METRICS, metrics)
    by_class = measure_by_class(probabilities, labels)
    named = ({"class": name} | row for name, row in zip(names, by_class, strict=True))
    artifacts.write_table(out / artifacts.BY_CLASS_CSV, ("class", *by_class[0]), named)
    _write_confusion(confusion_counts(probabilities, labels), names, out)
    pairs = ((names[true], names[top]) for true, top in zip(labels, probabilities.argmax(axis=1), strict=True))
    _write_csv(out / artifacts.PREDICTIONS_CSV, ("actual", "predicted"), pairs)  # for DVC's confusion template
    bins = reliability(probabilities, labels, config.calibration_bins)
    pictures.draw_reliability(bins, metrics.calibration_error, out / artifacts.RELIABILITY_PNG)
    mistakes = confident_mistakes(probabilities, labels, config.gallery_size)
    shown = task.shown(split, mistakes, prepared)
    _write_mistakes(mistakes, probabilities, labels, names, shown, out)
    run.log_datasets(meta, "test")
    run.log_metrics({f"test/{name}": value for name, value in metrics.model_dump().items()})
    run.log_files([out / name for name in LOGGED], "evaluation")
    return metrics


def _write_confusion(counts: NDArray[np.int64], names: Sequence[str], out: Path) -> None:
    cells = ((names[true], names[predicted], count) for (true, predicted), count in np.ndenumerate(counts))
    _write_csv(out / artifacts.CONFUSION_CSV, ("actual", "predicted", "rows"), cells)
    pictures.draw_confusion(counts, names, out / artifacts.CONFUSION_PNG)


def _write_mistakes(
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
    shown: list[Any],
    out: Path,
) -> None:
    actual = [names[label] for label in labels[rows]]
    predicted = [names[label] for label in probabilities[rows].argmax(axis=1)]
    top = [float(value) for value in probabilities[rows].max(axis=1)]
    texts = [item if isinstance(item, str) else "" for item in shown]
    table = zip(rows.tolist(), actual, predicted, (f"{value:.4f}" for value in top), texts, strict=True)
    _write_csv(out / artifacts.MISTAKES_CSV, ("row", "actual", "predicted", "probability", "text"), table)
    captions = [
        f"{class_name(a)}, not {class_name(p)}\n{t:.0%} sure" for a, p, t in zip(actual, predicted, top, strict=True)
    ]
    pictures.draw_gallery(shown, captions, out / artifacts.MISTAKES_PNG)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    artifacts.write_table(path, header, (dict(zip(header, row, strict=True)) for row in rows))
