"""How every picture is written."""

from pathlib import Path

from matplotlib.figure import Figure

from relu_pipeline import artifacts

DPI = 120


def save_figure(figure: Figure, path: Path) -> None:
    """PNG, in one step, without the version of the library: the same figure gives the same bytes."""
    with artifacts.atomic_file(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png", bbox_inches="tight", metadata={"Software": None})
