"""Batch prediction for a folder of images or a table of texts, in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from relu_pipeline.errors import DataError, in_one_line
from relu_pipeline.prediction import tables
from relu_pipeline.prediction.items import Items, image_items, text_items
from relu_pipeline.prediction.model import Item, Model, Precision, Prediction
from relu_pipeline.prediction.score import SHOWN_LABELS, Score

THREADS = os.cpu_count() or 1
WAITING = 4 * THREADS  # limit of batches in memory


def predict_images(location: Path, out: Path, models: Path, precision: Precision) -> str:
    """Write a row for each file that `image_items` yields for `location`, and return a summary.

    Raises ArtifactError, and DataError if no file is a readable image; `out` does not change then.
    """
    tables.check_target(out, location)
    model = Model("image", models / "image", precision)
    with image_items(location, model.manifest.labels) as items:
        summary = _predict(model, items, "images", ("file", str), location, out)
    if location.is_dir() and not items.labelled:
        summary += "\nno metrics: no folder has the name of a class"
    return summary


def predict_texts(
    table: Path, text: Sequence[str], label: str | None, out: Path, models: Path, precision: Precision
) -> str:
    """Write a row for each row of `table` and return a summary; see `text_items`.

    Raises ArtifactError, and DataError if the table is malformed or no row has a text; `out` does not change then.
    """
    tables.check_target(out, table)
    model = Model("text", models / "text", precision)
    return _predict(model, text_items(table, text, label), "texts", ("row", int), table, out)


def _predict(model: Model, items: Items, kind: str, place: tuple[str, type], location: Path, out: Path) -> str:
    columns = dict([place, ("label", str), ("probability", float), ("actual", str), ("error", str)])
    if not items.labelled:
        del columns["actual"]
    report = Report(model, kind, place[0], location)
    predictions = report.of(_predictions(model, items, kind))
    tables.write(out, columns, (dict(zip(columns, _values(model, items, one), strict=True)) for one in predictions))
    return f"{out}: {report.summary()}"


def _predictions(model: Model, items: Items, kind: str) -> Iterator[Prediction]:
    """Yield the predictions in the order of the items. A thread pool decodes the batches and runs the graph."""
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=items.total, desc=kind, unit="", unit_scale=True, disable=None) as progress,
    ):
        for predictions in _in_order(pool, model, tables.batches(items.stream, model.reader.batch_size)):
            yield from predictions
            progress.update(len(predictions))


def _in_order(pool: ThreadPoolExecutor, model: Model, batches: Iterable[list[Item]]) -> Iterator[list[Prediction]]:
    """Yield the predictions of each batch in order, like `Executor.map`, but read only `WAITING` batches ahead."""
    waiting: deque[Future[list[Prediction]]] = deque()
    for batch in batches:
        waiting.append(pool.submit(model.predict, batch))
        if len(waiting) == WAITING:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _values(model: Model, items: Items, prediction: Prediction) -> list[Any]:
    item, label, probability, error = prediction
    name = None if label is None else model.manifest.labels[label]
    return [item.place, name, probability, *([item.actual] if items.labelled else []), error]


class Report:
    """Counter of predictions, errors and the confusion matrix of a stream, with a summary at its end."""

    def __init__(self, model: Model, kind: str, place: str, location: Path) -> None:
        self.model = model
        self.kind = kind
        self.place = place
        self.location = location
        self.score = Score(model.manifest.labels)
        self.count = 0
        self.errors = 0
        self.first_error: Prediction | None = None

    def of(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions while counting them. Raises DataError at the end if all were errors."""
        for prediction in predictions:
            self.count += 1
            if prediction.label is None:
                self.errors += 1
                self.first_error = self.first_error or prediction
            elif prediction.item.actual is not None:
                self.score.add(prediction.item.actual, prediction.label)
            yield prediction
        if self.errors == self.count:
            first = f"; the first of {self.count:,}: {self._first()}" if self.first_error else ""
            raise DataError(f"{self.location}: no readable {self.kind}{first}")

    def summary(self) -> str:
        manifest = self.model.manifest
        model = f"{manifest.name} {manifest.version} ({self.model.precision})"
        lines = [f"{self.count - self.errors:,} {self.kind} by {model}"]
        if self.errors:
            lines.append(f"{self.errors:,} could not be read, see the column error; the first: {self._first()}")
        if self.score.count:
            lines += self._metrics()
        return "\n".join(lines)

    def _first(self) -> str:
        assert self.first_error
        place = str(self.first_error.item.place)
        return f"{self.place} {in_one_line(place)}: {self.first_error.error}"

    def _metrics(self) -> list[str]:
        score = self.score
        unknown = _listed(score.unknown, len(score.unknown) == SHOWN_LABELS)
        if score.count_unknown == score.count:
            labels = self.model.manifest.labels
            known = _listed(labels[:SHOWN_LABELS], len(labels) > SHOWN_LABELS)
            return [f"no metrics: no label ({unknown}) is a class of the model ({known})"]
        metrics = (
            f"accuracy {score.accuracy:.4f}, balanced accuracy {score.balanced_accuracy:.4f}, "
            f"macro F1 {score.f1_macro:.4f} on {score.count:,} labelled {self.kind}"
        )
        if not score.count_unknown:
            return [metrics]
        return [metrics, f"labels that the model does not have count as mistakes: {score.count_unknown:,} ({unknown})"]


def _listed(labels: Sequence[str], more: bool) -> str:
    return ", ".join([*map(in_one_line, labels), *(["..."] if more else [])])
