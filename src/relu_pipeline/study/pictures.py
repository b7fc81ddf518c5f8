"""The figures of the study. Lines are means over the seeds, shaded areas range from the minimum to the maximum."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.config import ActivationName
from relu_pipeline.figures import save_figure
from relu_pipeline.health.record import Row
from relu_pipeline.study.cells import INITIALISATION
from relu_pipeline.study.results import Results

COLOURS = {name: f"C{index}" for index, name in enumerate(CATALOGUE)}
CUTTING = ("relu", "leaky_relu", "prelu", "elu", "gelu")  # functions whose units can be off for every example


def draw_activations(path: Path) -> None:
    """Plot ReLU with its derivative, all functions, and all derivatives."""
    x = np.linspace(-4, 4, 801)
    figure = Figure(figsize=(13, 4), layout="constrained")
    alone, functions, derivatives = figure.subplots(1, 3)
    relu = CATALOGUE["relu"]
    alone.plot(x, relu.function(x), label="ReLU: max(0, x)", linewidth=2)
    alone.plot(x, relu.derivative(x), label="derivative, 0 at 0", linestyle="--", linewidth=2)
    alone.set(title="ReLU", xlabel="x", ylim=(-0.5, 4))
    for name, activation in CATALOGUE.items():
        functions.plot(x, activation.function(x), label=name, color=COLOURS[name])
        derivatives.plot(x, activation.derivative(x), label=name, color=COLOURS[name])
    functions.set(title="activation functions", xlabel="x", ylim=(-1.3, 4))
    derivatives.set(title="their derivatives", xlabel="x", ylim=(-0.2, 1.3))
    for axes in (alone, functions, derivatives):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper left")
    save_figure(figure, path)


def draw_overview(results: Results, path: Path) -> None:
    """Plot accuracy, gradients and dead units side by side."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    accuracy, gradients, dead = figure.subplots(1, 3)
    _accuracy(accuracy, results, results.deep, results.normal)
    _gradients(gradients, results)
    _dead(dead, results)
    _name_lines(figure, accuracy)
    save_figure(figure, path)


def draw_accuracy(results: Results, path: Path) -> None:
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, depth in zip(panels, (results.shallow, results.deep), strict=True):
        for axes, rate in zip(row, (results.normal, results.high), strict=True):
            _accuracy(axes, results, depth, rate)
    _name_lines(figure, panels[0, 0])
    save_figure(figure, path)


def draw_gradients(results: Results, path: Path) -> None:
    _draw_alone(_gradients, results, path)


def draw_dead_units(results: Results, path: Path) -> None:
    _draw_alone(_dead, results, path)


def _draw_alone(panel: Callable[[Axes, Results], None], results: Results, path: Path) -> None:
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    panel(axes, results)
    _name_lines(figure, axes)
    save_figure(figure, path)


def draw_synthetic(rows: Sequence[Row], path: Path) -> None:
    """Plot loss, accuracy and gradient norm of the network of `study.synthetic`."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    figure = Figure(figsize=(13, 4), layout="constrained")
    loss, accuracy, norm = figure.subplots(1, 3)
    loss.plot(columns["epoch"], columns["train_loss"], label="20-64-32-1, Adam, batches of 32")
    loss.plot(columns["epoch"], columns["reference_loss"], label="20-64-2, hand-written full-batch descent")
    loss.set(title="training loss", ylabel="cross-entropy, nats", yscale="log")
    for part, label in (("train_accuracy", "training examples"), ("val_accuracy", "validation examples")):
        accuracy.plot(columns["epoch"], [100 * value for value in columns[part]], label=label)
    accuracy.set(title="accuracy", ylabel="%")
    norm.plot(columns["epoch"], columns["gradient_norm"], label="mean over the epoch's steps")
    norm.set(title="gradient norm", yscale="log")
    for axes in (loss, accuracy, norm):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, path)


def _accuracy(axes: Axes, results: Results, depth: int, rate: float) -> None:
    for name in INITIALISATION:
        curves = [[100 * row["val_accuracy"] for row in result.epochs] for result in results.of(name, depth, rate)]
        _lines(axes, range(1, 1 + len(curves[0])), np.array(curves), name)
    axes.set(title=f"{depth} hidden layers, learning rate {rate:g}", xlabel="epochs", ylabel="validation accuracy, %")
    axes.grid(alpha=0.3)


def _gradients(axes: Axes, results: Results) -> None:
    for name in INITIALISATION:
        norms = [result.gradient_norms for result in results.of(name, results.deep, results.normal)]
        _lines(axes, range(1, 1 + len(norms[0])), np.array(norms), name)
    axes.set(
        title=f"gradients in the first epoch, learning rate {results.normal:g}",
        xlabel="layer (1: the first, last: the head)",
        ylabel="gradient norm",
        yscale="log",
    )
    axes.grid(alpha=0.3)


def _dead(axes: Axes, results: Results) -> None:
    for name in CUTTING:
        shares = np.array([results.dead(name, results.shallow, rate).values for rate in results.learning_rates]).T
        _lines(axes, results.learning_rates, shares, name)
    axes.set(
        title=f"dead units, {results.shallow} hidden layers",
        xlabel="learning rate",
        ylabel="units with no input above 0, %",
        xscale="log",
    )
    axes.set_ylim(0)
    axes.grid(alpha=0.3)


def _lines(axes: Axes, x: Sequence[float], values: NDArray[np.floating], name: ActivationName) -> None:
    """Plot the mean and the range over the seeds of `values` `[seeds, x]`."""
    axes.plot(x, values.mean(axis=0), label=name, color=COLOURS[name], marker="o", markersize=3)
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=COLOURS[name], alpha=0.15, linewidth=0)


def _name_lines(figure: Figure, axes: Axes) -> None:
    """Add one legend for all panels."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=7, fontsize=9, frameon=False)
