"""Common settings of all figures, and how they are saved."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from relu_pipeline import artifacts
from relu_pipeline.errors import in_one_line

DPI = 120
NAMED_CLASSES = 400  # above it, class names are omitted
MAX_CLASS_CHARS = 40


def class_name(name: str) -> str:
    """Return the name as shown in a figure; draw it with `parse_math=False`, as it may contain a dollar sign."""
    return in_one_line(name)[:MAX_CLASS_CHARS]


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, atomically and without Matplotlib's version, so that equal figures give equal bytes."""
    with artifacts.atomic_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # class names may have characters without a glyph, drawn as boxes
        figure.savefig(partial, dpi=DPI, format="png", bbox_inches="tight", metadata={"Software": None})
