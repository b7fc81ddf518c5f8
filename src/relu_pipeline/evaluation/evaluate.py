"""The test split's figures and pictures of one checkpoint, into one folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Metrics, PreparedMeta
from relu_pipeline.config import EvaluateConfig
from relu_pipeline.data.batches import AnySplit, load_split
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.evaluation import pictures
from relu_pipeline.evaluation.metrics import confident_mistakes, confusion_counts, measure, reliability
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tracking.run import Run, flatten

CONFUSION_CSV, CONFUSION_PNG = "confusion_matrix.csv", "confusion_matrix.png"
RELIABILITY_PNG = "reliability.png"
MISTAKES_CSV, MISTAKES_PNG = "mistakes.csv", "mistakes.png"
PREDICTIONS_CSV = "predictions.csv"
LOGGED = (CONFUSION_CSV, CONFUSION_PNG, RELIABILITY_PNG, MISTAKES_CSV, MISTAKES_PNG, artifacts.METRICS)


def evaluate(checkpoint: Path, prepared: Path, config: EvaluateConfig, run: Run, out: Path) -> Metrics:
    """Fill `out` and log the same to `run`. Raises ArtifactError."""
    meta = artifacts.read(prepared / "meta.json", PreparedMeta)
    names = meta.source.labels
    split = load_split(meta.task, prepared, "test")
    labels = split.labels.numpy()
    probabilities = predict(load_network(checkpoint), split)
    metrics = measure(probabilities, labels, names, config.calibration_bins)
    artifacts.write(out / artifacts.METRICS, metrics)
    _write_confusion(confusion_counts(probabilities, labels), names, out)
    _write_predictions(probabilities, labels, names, out / PREDICTIONS_CSV)
    pictures.draw_reliability(reliability(probabilities, labels, config.calibration_bins), out / RELIABILITY_PNG)
    mistakes = confident_mistakes(probabilities, labels, config.gallery_size)
    _write_mistakes(mistakes, probabilities, labels, names, split, prepared, out)
    scalars = flatten(metrics.model_dump(), "test.")
    run.log_metrics({name.replace(".", "/"): value for name, value in scalars.items()})
    run.log_files([out / name for name in LOGGED], "evaluation")
    return metrics


def _write_confusion(counts: NDArray[np.int64], names: Sequence[str], out: Path) -> None:
    cells = ((names[true], names[predicted], count) for (true, predicted), count in np.ndenumerate(counts))
    _write_csv(out / CONFUSION_CSV, ("actual", "predicted", "rows"), cells)
    pictures.draw_confusion(counts, names, out / CONFUSION_PNG)


def _write_predictions(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], names: Sequence[str], path: Path
) -> None:
    """A line a row: DVC's confusion template counts by itself."""
    pairs = zip(labels, probabilities.argmax(axis=1), strict=True)
    _write_csv(path, ("actual", "predicted"), ((names[actual], names[predicted]) for actual, predicted in pairs))


def _write_mistakes(
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
    split: AnySplit,
    prepared: Path,
    out: Path,
) -> None:
    actual = [names[label] for label in labels[rows]]
    predicted = [names[label] for label in probabilities[rows].argmax(axis=1)]
    top = [float(value) for value in probabilities[rows].max(axis=1)]
    table = zip(rows.tolist(), actual, predicted, (f"{value:.4f}" for value in top), strict=True)
    _write_csv(out / MISTAKES_CSV, ("row", "actual", "predicted", "probability"), table)
    captions = [f"{a}, not {p}\n{t:.0%} sure" for a, p, t in zip(actual, predicted, top, strict=True)]
    if isinstance(split, ImageSplit):
        pictures.draw_image_gallery(split.images_BHWC[torch.from_numpy(rows)].numpy(), captions, out / MISTAKES_PNG)
    else:
        flat = [caption.replace("\n", ", ") for caption in captions]
        pictures.draw_text_gallery(_decode(split, rows, prepared), flat, out / MISTAKES_PNG)


def _decode(split: TextSplit, rows: NDArray[np.int64], prepared: Path) -> list[str]:
    """The texts as the network sees them: cleaned, lower case, unknown words marked."""
    tokenizer = Tokenizer.from_file(str(prepared / artifacts.TOKENIZER))
    offsets = split.offsets.tolist()
    return [
        tokenizer.decode(split.tokens[offsets[row] : offsets[row + 1]].tolist(), skip_special_tokens=False)
        for row in rows
    ]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    artifacts.write_table(path, header, (dict(zip(header, row, strict=True)) for row in rows))
