"""Figures against the pictures in `tests/baseline/`, at which someone has looked."""

from pathlib import Path

from matplotlib.testing.compare import compare_images

BASELINE = Path(__file__).parent / "baseline"
TOLERANCE = 0.5  # root mean square of the differences, of 255; one other digit is more


def expect_picture(path: Path) -> None:
    """Expect the pixels of the picture of the same name in `tests/baseline/`."""
    expected = BASELINE / path.name
    accept = f"look at the new figure; if it is right: cp {path} {expected}"
    assert expected.exists(), accept
    difference = compare_images(str(expected), str(path), TOLERANCE)
    assert difference is None, f"{difference}\n{accept}"
