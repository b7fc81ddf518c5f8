"""How every picture is written."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from relu_pipeline import artifacts
from relu_pipeline.errors import in_one_line

DPI = 120
NAMED_CLASSES = 400  # above it, there is no room for their names
MAX_CLASS_CHARS = 40


def class_name(name: str) -> str:
    """Return what a picture shows of the name; draw it with `parse_math=False`, for a dollar sign is no formula."""
    return in_one_line(name)[:MAX_CLASS_CHARS]


def save_figure(figure: Figure, path: Path) -> None:
    """PNG, in one step, without the version of the library: the same figure gives the same bytes."""
    with artifacts.atomic_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a class name may have any characters; unknown ones are boxes
        figure.savefig(partial, dpi=DPI, format="png", bbox_inches="tight", metadata={"Software": None})
