"""Figure of a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from relu_pipeline.artifacts import DataFacts
from relu_pipeline.figures import NAMED_CLASSES, class_name, save_figure

MANY_CLASSES = 20  # above it, class names are drawn small
SIZES_INCHES = 2.6
BINS = 40
WIDE = 10  # largest to median; above it, the axis is logarithmic


def draw_data(facts: DataFacts, splits: NDArray[np.str_], sizes: Mapping[str, NDArray[np.int64]], path: Path) -> None:
    """Draw the distributions of `sizes` `[N]` and the number of examples of each class, by split (`splits` `[N]`)."""
    many = len(facts.source.labels) > MANY_CLASSES
    classes_inches = 0.8 + min(len(facts.source.labels), NAMED_CLASSES) * (0.13 if many else 0.28)
    figure = Figure(figsize=(9, SIZES_INCHES + classes_inches), layout="constrained")
    panels = figure.subplot_mosaic(
        [list(sizes), ["classes"] * len(sizes)], height_ratios=(SIZES_INCHES, classes_inches)
    )
    for name, values in sizes.items():
        _draw_size(panels[name], name, {split: values[splits == split] for split in facts.rows})
    _draw_classes(panels["classes"], facts, many)
    figure.legend(*panels["classes"].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    save_figure(figure, path)


def _draw_size(axes: Any, name: str, by_split: Mapping[str, NDArray[np.int64]]) -> None:
    values = np.concatenate(list(by_split.values()))
    if len(values):
        wide = values.max() > WIDE * max(1, np.median(values))
        space = np.geomspace if wide else np.linspace
        edges = space(max(0.5, values.min() - 0.5), values.max() + 0.5, min(BINS, int(np.ptp(values)) + 1) + 1)
        axes.hist(list(by_split.values()), edges, stacked=True)
        axes.set_xscale("log" if wide else "linear")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)) if wide else MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=name if name in ("words", "characters") else f"{name}, pixels", ylabel="examples")


def _draw_classes(axes: Any, facts: DataFacts, many: bool) -> None:
    places, left = np.arange(len(facts.source.labels)), np.zeros(len(facts.source.labels))
    for split, classes in facts.rows.items():
        counts = np.array(list(classes.values()))
        axes.barh(places, counts, left=left, label=split)
        left = left + counts
    names = [class_name(name) for name in facts.source.labels]
    if len(names) > NAMED_CLASSES:
        places, names = places[:0], []
    # parse_math: a dollar sign in a class name does not start a formula.
    axes.set_yticks(places, names, fontsize=6 if many else 9, parse_math=False)
    axes.set_ylim(len(facts.source.labels) - 0.5, -0.5)
    axes.set(xlabel="examples", title="Examples of each class")
