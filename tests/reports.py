"""Reports that the card of a model shows, without the minutes that their stages take."""

from dataclasses import asdict
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import DataReport, PreparedMeta
from relu_pipeline.drift.detection import DriftRow


def write_reports(prepared: Path, reports: Path) -> None:
    """Write `data.json` of data without a fault, and a `drift.csv` of made-up figures."""
    source = artifacts.read(prepared / "meta.json", PreparedMeta).source
    rows = {split: dict.fromkeys(source.labels, count // len(source.labels)) for split, count in source.rows.items()}
    report = DataReport(source=source, rows=rows, sizes={}, duplicates=[], contradictions=[], left_out=[], findings=[])
    artifacts.write(reports / artifacts.DATA_REPORT, report)
    drift = [asdict(drift_row("unshifted", 0.5, None, 0.0)), asdict(drift_row("noise", 0.9, 100, 1.0))]
    artifacts.write_table(reports / artifacts.DRIFT_CSV, list(drift[0]), drift)


def drift_row(shift: str, auroc: float, delay: int | None, alarms: float | None) -> DriftRow:
    """The same of each signal."""
    return DriftRow(shift, 2000, auroc, auroc, auroc, delay, delay, delay, alarms, alarms, alarms)
