"""What the scripts share: their command line, an example image, a browser, and how a picture is written."""

import argparse
import base64
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page, ViewportSize, sync_playwright

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Samples
from relu_pipeline.config import TASK_NAMES
from relu_pipeline.errors import PipelineError

DOCS = Path(__file__).resolve().parent.parent
MAX_BYTES = 250_000
COLOURS = 256
DRAWN_LABEL = "ship"


class PictureError(PipelineError):
    """A picture cannot be made: a program is missing, or the picture is too large."""


def run(draw: Callable[[Path], Path]) -> None:
    """Call `draw` with the project that the command line names, and print the path of the picture."""
    parser = argparse.ArgumentParser(description=sys.modules[draw.__module__].__doc__)
    parser.add_argument("project", type=Path, metavar="PROJECT", help="after `dvc repro`: demo/, or . for this one")
    project = parser.parse_args().project.resolve()
    try:
        for task in TASK_NAMES:
            artifacts.read_manifest(project / artifacts.models_dir(task), task)
        print(draw(project))
    except PipelineError as error:
        sys.exit(f"error: {error}")


def find_program(name: str) -> str:
    """Return the path of a program. Raises PictureError if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise PictureError(f"{name} is not on the PATH; on Debian: `apt-get install {name}`")
    return path


@contextmanager
def browser_page(width: int, height: int, scale: float) -> Iterator[Page]:
    """Yield a page of Chromium. `width` and `height` are in CSS pixels, of which each has `scale` pixels."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=["--no-sandbox"])
        try:
            yield browser.new_page(viewport=ViewportSize(width=width, height=height), device_scale_factor=scale)
        finally:
            browser.close()


def save_png(png: bytes, path: Path) -> Path:
    """Write a PNG with a palette, which takes a third of the bytes. Raises PictureError if it is still too large."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return write(path, buffer.getvalue())


def write(path: Path, content: bytes) -> Path:
    """Write a picture. Raises PictureError if it is too large for a repository."""
    if len(content) > MAX_BYTES:
        raise PictureError(f"{path}: {len(content):,} bytes, at most {MAX_BYTES:,}; draw it smaller")
    with artifacts.atomic_file(path) as partial:
        partial.write_bytes(content)
    return path


def example_image(project: Path) -> bytes:
    """Return a PNG: a drawing where the model knows ships, as that of CIFAR-10 does; else a sample of the model.

    CIFAR-10 states no licence, so none of its images may be in a picture of this repository.
    """
    model = project / artifacts.models_dir("image")
    if DRAWN_LABEL in artifacts.read_manifest(model, "image").labels:
        return draw_ship()
    return base64.b64decode(artifacts.read(model / artifacts.SAMPLES, Samples).samples[0].input)


def draw_ship() -> bytes:
    """Return a PNG of 128x128."""
    image = Image.new("RGB", (128, 128), "#a9cfe8")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 82, 128, 128), fill="#1f5f8b")
    pen.polygon(((14, 72), (114, 72), (102, 92), (26, 92)), fill="#27303f")
    pen.rectangle((36, 56, 92, 72), fill="#f3f1ea")
    pen.rectangle((46, 44, 80, 56), fill="#f3f1ea")
    pen.rectangle((66, 24, 76, 44), fill="#c0392b")
    for left in range(42, 88, 9):
        pen.rectangle((left, 61, left + 4, 65), fill="#27303f")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
