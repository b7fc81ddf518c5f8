"""Validation of a task's raw data: writes the report and the list of unreadable examples."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, DataFacts, DataReport, LeftOut, Source, Split, Spread, Unreadable
from relu_pipeline.config import TaskName, ValidationConfig
from relu_pipeline.data import own
from relu_pipeline.validation.duplicates import contradictions, duplicates
from relu_pipeline.validation.examples import Examples, Measured
from relu_pipeline.validation.findings import findings
from relu_pipeline.validation.images import measure_images
from relu_pipeline.validation.page import write_page
from relu_pipeline.validation.pictures import draw_data
from relu_pipeline.validation.texts import measure_texts

MEASURES: dict[TaskName, Callable[[Any], Measured]] = {"image": measure_images, "text": measure_texts}


def validate(task: TaskName, raw: Path, thresholds: ValidationConfig, reports: Path, out: Path) -> DataReport:
    """Write the report to the folder `reports` and, if it has no errors, the list of unreadable examples to `out`.

    Raises DataError, ArtifactError.
    """
    examples = Examples.read(raw)
    measured = MEASURES[task](examples.items)
    readable = np.array([row not in measured.unreadable for row in range(len(examples))])
    usable, measures = examples.take(readable), measured.take(readable)
    undecoded = {examples.places[row]: why for row, why in sorted(measured.unreadable.items())}
    facts = _facts(raw, usable, measures, own.read_left_out(raw) | undecoded)
    report = DataReport(**dict(facts), findings=list(findings(task, facts, thresholds)))
    artifacts.write(reports / artifacts.DATA_REPORT, report)
    write_page(report, reports / artifacts.DATA_PAGE)
    draw_data(facts, usable.splits, measures.sizes, reports / artifacts.DATA_PICTURE)
    if not report.errors:
        splits = {split: np.flatnonzero(~readable[examples.splits == split]).tolist() for split in facts.rows}
        artifacts.write(out, Unreadable(rows=splits))
    return report


def _facts(raw: Path, examples: Examples, measured: Measured, left_out: Mapping[str, str]) -> DataFacts:
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    return DataFacts(
        source=source,
        rows={split: _class_counts(examples, split) for split in source.rows},
        sizes={name: _spreads(values, examples) for name, values in measured.sizes.items()},
        duplicates=list(duplicates(examples, measured)),
        contradictions=list(contradictions(examples, measured)),
        left_out=[LeftOut(place=place, why=why) for place, why in left_out.items()],
    )


def _class_counts(examples: Examples, split: Split) -> dict[str, int]:
    counts = np.bincount(examples.labels[examples.splits == split], minlength=len(examples.names))
    return dict(zip(examples.names, counts.tolist(), strict=True))


def _spreads(values: NDArray[np.int64], examples: Examples) -> dict[Split, Spread]:
    spreads = {}
    for split in (split for split in SPLITS if split in examples.splits):
        quantiles = np.quantile(values[examples.splits == split], (0, 0.05, 0.5, 0.95, 1)).tolist()
        spreads[split] = Spread(**dict(zip(Spread.model_fields, quantiles, strict=True)))
    return spreads
