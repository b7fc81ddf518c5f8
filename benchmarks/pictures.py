"""Figure of accuracy against training time, for all sides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from relu_pipeline.figures import save_figure


def draw_curves(sides: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """Plot a line per run: validation accuracy by epoch, or test accuracy if a side has no validation split.

    `sides` has the results of `run_side` by side: seconds, and accuracies from 0 to 1. A star is the test accuracy of
    the kept network.
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
        title="lines: validation split for recipes, test split for others; stars: test split",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
