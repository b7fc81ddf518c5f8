"""Figure of the ReLU health of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from relu_pipeline.figures import save_figure
from relu_pipeline.health.record import Row


def draw_health(rows: Sequence[Row], path: Path) -> None:
    """Draw heat maps of layers by epoch: fraction of zeros, dead units, and size of activations and gradients.

    Grey: no value, or a gradient of 0, which has no logarithm.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(layers)), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    measured = _table(rows, layers)
    _draw(panels[0, 0], measured(lambda row: 100 * row["zero_share"]), "outputs that are 0, %", "viridis", (0, 100))
    dead = measured(lambda row: 100 * row["dead_units"] / row["units"])
    _draw(panels[0, 1], dead, "dead units, %", "magma", (0, float(np.nanmax(dead, initial=1.0))))
    _draw(panels[1, 0], measured(lambda row: row["p99"]), "activations, 99th percentile", "cividis", (0, None))
    norms = measured(lambda row: np.log10(row["gradient_norm"] or np.nan))
    _draw(panels[1, 1], norms, "gradient norm, power of ten", "plasma", (None, None))
    for axes in panels[:, 0]:
        axes.set_yticks(np.arange(len(layers)), layers)
    for axes in panels[1]:
        axes.set_xlabel("epoch, from 0")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def _table(rows: Sequence[Row], layers: Sequence[str]) -> Callable[[Callable[[Row], float]], NDArray[np.float64]]:
    """Return a function from a value of a row to the table `[layers, epochs]` of it, with NaN where it is missing."""
    epochs = sorted({row["epoch"] for row in rows})

    def table(value: Callable[[Row], float]) -> NDArray[np.float64]:
        cells = np.full((len(layers), len(epochs)), np.nan)
        for row in rows:
            try:
                cells[layers.index(row["layer"]), epochs.index(row["epoch"])] = value(row)
            except KeyError:
                continue
        return cells

    return table


def _draw(
    axes: Axes, cells: NDArray[np.float64], title: str, colours: str, limits: tuple[float | None, float | None]
) -> None:
    axes.set_facecolor("0.9")
    edges = (-0.5, cells.shape[1] - 0.5, cells.shape[0] - 0.5, -0.5)
    low, high = limits
    picture = axes.imshow(
        cells, cmap=colours, aspect="auto", vmin=low, vmax=high, interpolation="nearest", extent=edges
    )
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(picture, ax=axes)
