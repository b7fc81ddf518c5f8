"""Figures of an evaluation."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relu_pipeline.evaluation.metrics import Reliability
from relu_pipeline.figures import NAMED_CLASSES, class_name, save_figure

COLUMNS = 6
CHAR_INCHES = 0.09  # width of a character of a class name
CAPTION_CHARS = 28  # width of a caption above an image
MANY_CLASSES = 20  # above it, a confusion matrix has no numbers in its cells


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix, in percent of each true class."""
    many = len(names) > MANY_CLASSES
    shown = [class_name(name) for name in names] if len(names) <= NAMED_CLASSES else []
    longest = CHAR_INCHES * max(map(len, shown), default=0)
    size = 3 + 0.12 * min(len(names), NAMED_CLASSES) if many else 1.5 + longest + 0.62 * len(names)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    ticks = np.arange(len(shown))
    axes.set_xticks(ticks, shown, rotation=90 if many else 45, ha="center" if many else "right", parse_math=False)
    axes.set_yticks(ticks, shown, parse_math=False)
    axes.tick_params(labelsize=5 if many else None)
    axes.set(xlabel="predicted", ylabel="true", title="Fraction of the true class, %")
    for (row, column), value in np.ndenumerate(percent) if not many else ():
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color="white" if value > 50 else "black")
    figure.colorbar(picture, shrink=0.8)
    save_figure(figure, path)


def draw_reliability(bins: Reliability, calibration_error: float, path: Path) -> None:
    """Draw the reliability diagram: accuracy by confidence; the diagonal is perfect calibration."""
    figure = Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    filled = bins.count > 0
    edges = np.linspace(0, 1, len(bins.count) + 1)
    width = edges[1]
    above.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    above.bar(edges[:-1][filled], bins.accuracy[filled], width, align="edge", edgecolor="white")
    above.plot(bins.confidence[filled], bins.accuracy[filled], "o", color="black", markersize=4)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"Calibration error {calibration_error:.3f}")
    below.bar(edges[:-1], bins.count, width, align="edge", edgecolor="white", color="grey")
    below.set(xlabel="confidence", ylabel="examples")
    save_figure(figure, path)


def draw_gallery(shown: Sequence[Any], captions: Sequence[str], path: Path) -> None:
    """Draw images uint8 `[H, W, C]`, or texts, each under its caption of two lines."""
    if shown and isinstance(shown[0], str):
        draw_text_gallery(shown, [caption.replace("\n", ", ") for caption in captions], path)
    else:
        draw_image_gallery(shown, captions, path)


def draw_image_gallery(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], path: Path) -> None:
    rows = -(-max(1, len(images)) // COLUMNS)
    figure = Figure(figsize=(1.7 * COLUMNS, 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, image, caption in zip(panels, images, captions, strict=False):
        axes.imshow(image, interpolation="nearest")
        lines = [textwrap.fill(line, CAPTION_CHARS) for line in caption.split("\n")]
        axes.set_title("\n".join(lines), fontsize=8, parse_math=False)
    save_figure(figure, path)


def draw_text_gallery(texts: Sequence[str], captions: Sequence[str], path: Path) -> None:
    blocks = [f"{caption}\n{textwrap.fill(text, 110)}" for text, caption in zip(texts, captions, strict=True)]
    lines = sum(block.count("\n") + 2 for block in blocks)
    figure = Figure(figsize=(10, max(1.0, 0.18 * lines)))
    # parse_math: a dollar sign in a text does not start a formula.
    figure.text(0.02, 0.99, "\n\n".join(blocks), va="top", fontsize=8, family="monospace", parse_math=False)
    save_figure(figure, path)
