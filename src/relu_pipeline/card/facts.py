"""The contents of a model card, read from the reports of the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import ColumnBaseline, DataReport, Int8, Metrics, Parity, PreparedMeta, Pruning
from relu_pipeline.card.intervals import Interval, accuracy_interval, macro_intervals
from relu_pipeline.config import ImageConfig, Params, TaskName, TextConfig
from relu_pipeline.task import Task

TableRow = Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """Contents of a model card.

    `settled` is the task's section of params.yaml with a number instead of each `auto`. `confusion` `[C, C]` has the
    number of test examples by true class (row) and predicted class (column).
    """

    task: TaskName
    params: Params
    settled: ImageConfig | TextConfig
    meta: PreparedMeta
    data: DataReport
    metrics: Metrics
    intervals: Mapping[str, Interval]
    confusion: NDArray[np.int64]
    by_class: Sequence[TableRow]
    mistakes: Sequence[TableRow]
    drift: Sequence[TableRow]
    pruning: Pruning
    parity: Parity
    int8: Int8
    relu_baseline: Mapping[str, ColumnBaseline]
    model_sha256: str

    @property
    def labels(self) -> list[str]:
        return self.meta.source.labels


def collect(
    task: Task[Any],
    params: Params,
    prepared: Path,
    reports: Path,
    models: Path,
    int8: Int8,
    relu_baseline: Mapping[str, ColumnBaseline],
) -> Facts:
    """Read the reports of the task and the graph in `models`. Raises ArtifactError."""
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    labels = meta.source.labels
    confusion = _confusion(artifacts.read_table(reports / artifacts.PREDICTIONS_CSV), labels)
    accuracy = accuracy_interval(int(confusion.trace()), int(confusion.sum()))
    return Facts(
        task=task.name,
        params=params,
        settled=task.settle(getattr(params, task.name), task.load(prepared, "train"), len(labels)),
        meta=meta,
        data=artifacts.read(reports / artifacts.DATA_REPORT, DataReport),
        metrics=artifacts.read(reports / artifacts.METRICS, Metrics),
        intervals={"accuracy": accuracy} | macro_intervals(confusion),
        confusion=confusion,
        by_class=artifacts.read_table(reports / artifacts.BY_CLASS_CSV),
        mistakes=artifacts.read_table(reports / artifacts.MISTAKES_CSV),
        drift=artifacts.read_table(reports / artifacts.DRIFT_CSV),
        pruning=artifacts.read(reports / artifacts.PRUNING, Pruning),
        parity=artifacts.read(reports / artifacts.PARITY, Parity),
        int8=int8,
        relu_baseline=relu_baseline,
        model_sha256=artifacts.sha256_of(models / artifacts.ONNX_MODEL),
    )


def _confusion(predictions: Sequence[TableRow], labels: Sequence[str]) -> NDArray[np.int64]:
    number = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for row in predictions:
        counts[number[row["actual"]], number[row["predicted"]]] += 1
    return counts
