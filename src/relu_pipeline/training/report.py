"""What a training leaves for people to look at."""

from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.config import TrainConfig
from relu_pipeline.health.pictures import draw_health
from relu_pipeline.health.record import COLUMNS
from relu_pipeline.training.fit import Fitted
from relu_pipeline.training.pictures import draw_schedule


def write_report(fitted: Fitted, config: TrainConfig, reports: Path) -> list[Path]:
    """Tables and pictures into `reports`; gives their paths."""
    paths = [reports / name for name in (artifacts.HISTORY, artifacts.SCHEDULE, artifacts.HEALTH, artifacts.HEALTH_MAP)]
    history, schedule, health, health_map = paths
    artifacts.write_table(history, list(fitted.history[0]), fitted.history)
    draw_schedule(config, fitted.steps_per_epoch, schedule)
    artifacts.write_table(health, COLUMNS, fitted.health)
    draw_health(fitted.health, health_map)
    return paths
