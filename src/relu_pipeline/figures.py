"""How every picture is written."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from relu_pipeline import artifacts

DPI = 120


def save_figure(figure: Figure, path: Path) -> None:
    """PNG, in one step, without the version of the library: the same figure gives the same bytes."""
    with artifacts.atomic_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a class name may have any characters; unknown ones are boxes
        figure.savefig(partial, dpi=DPI, format="png", bbox_inches="tight", metadata={"Software": None})
