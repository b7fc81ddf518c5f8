"""Accuracy over seconds, both sides in one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from relu_pipeline.figures import save_figure


def draw_curves(sides: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """A line a run: validation accuracy by epoch, or the test accuracy where a side has no validation split.

    `sides` holds runs by side, as `run_side` gives them: seconds, and accuracies from 0 to 1. A star is the test
    accuracy of the network that is kept.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (side, runs) in enumerate(sides.items()):
        for run in runs:
            label = side if run is runs[0] else None
            curve = run.get("curve", [])
            seconds = [point["seconds"] for point in curve]
            accuracy = [100 * point.get("val_accuracy", point.get("test_accuracy")) for point in curve]
            axes.plot(seconds, accuracy, "o-", color=f"C{number}", markersize=3, linewidth=1, label=label)
            if "test_accuracy" in run:
                axes.plot(run["train_s"], 100 * run["test_accuracy"], "*", color=f"C{number}", markersize=11)
    axes.set(
        xlabel="seconds of training",
        ylabel="accuracy, %",
        title="ours by epoch on validation rows; others, and stars: test split",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
