"""Tables that describe a finished training."""

from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.health.record import COLUMNS
from relu_pipeline.training.fit import Fitted


def write_report(fitted: Fitted, reports: Path) -> list[Path]:
    """Write the tables of metrics and of ReLU health by epoch to `reports`; return their paths."""
    history, health = reports / artifacts.HISTORY, reports / artifacts.HEALTH
    artifacts.write_table(history, list(fitted.history[0]), fitted.history)
    artifacts.write_table(health, COLUMNS, fitted.health)
    return [history, health]
