"""docs/web_page.png: the web page of the service, with a classified image and a classified text."""

import base64
import io
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from benchmarks.reliability.bench import samples, serve
from docs.pictures import common
from relu_pipeline import artifacts
from relu_pipeline.demo import TEXT

WIDTH = 1080  # CSS pixels
HEIGHT = 900
SCALE = 1.25
MARGIN = 24  # below the card of the image model
DRAWN_LABEL = "ship"

BARS_AT_REST = """
bars => Promise.all(bars.flatMap(bar => bar.getAnimations()).map(animation => animation.finished))
"""


def draw(project: Path) -> Path:
    model = project / artifacts.models_dir("image")
    picture = choose_image(model)
    with serve(project / "models", project) as bench, common.browser_page(WIDTH, HEIGHT, SCALE) as page:
        page.goto(bench.server.url)
        page.locator("#file").set_input_files({"name": "picture.png", "mimeType": "image/png", "buffer": picture})
        page.locator("#words").fill(TEXT)
        page.get_by_role("button", name="Classify").click()
        for task in ("image", "text"):
            expect(page.locator(f"#{task} .answer .label")).to_be_visible()
        png = screenshot(page)
    return common.save_png(png, common.DOCS / "web_page.png")


def choose_image(model: Path) -> bytes:
    """Return a drawing where the model knows ships, as that of CIFAR-10 does; else a sample of the model, as PNG.

    CIFAR-10 states no licence, so none of its images may be in a picture of this repository.
    """
    manifest = artifacts.read_manifest(model, "image")
    return draw_ship() if DRAWN_LABEL in manifest.labels else base64.b64decode(samples(model)[0])


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


def screenshot(page: Page) -> bytes:
    """Return a PNG from the head of the page to the first model's card, without the samples of the data sets."""
    page.locator(".samples-block").evaluate_all("blocks => blocks.forEach(block => block.remove())")
    page.locator(".fill").evaluate_all(BARS_AT_REST)
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    card = page.locator(".model").first
    expect(card.locator(".map img")).to_have_js_property("complete", True)
    box = card.bounding_box()
    bottom = box["y"] + box["height"] + MARGIN
    return page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom})


if __name__ == "__main__":
    common.run(draw)
