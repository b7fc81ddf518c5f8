"""docs/web_page.png: the web page of the service, with a classified image and a classified text."""

from pathlib import Path

from playwright.sync_api import FilePayload, Page, expect

from benchmarks.reliability.bench import serve
from docs.pictures import common
from relu_pipeline.demo import TEXT

WIDTH = 1080  # CSS pixels
HEIGHT = 900
SCALE = 1.25
MARGIN = 24  # below the card of the image model

BARS_AT_REST = """
bars => Promise.all(bars.flatMap(bar => bar.getAnimations()).map(animation => animation.finished))
"""


def draw(project: Path) -> Path:
    picture = FilePayload(name="picture.png", mimeType="image/png", buffer=common.example_image(project))
    with serve(project / "models", project) as bench, common.browser_page(WIDTH, HEIGHT, SCALE) as page:
        page.goto(bench.server.url)
        page.locator("#file").set_input_files(picture)
        page.locator("#words").fill(TEXT)
        page.get_by_role("button", name="Classify").click()
        for task in ("image", "text"):
            expect(page.locator(f"#{task} .answer .label")).to_be_visible()
        png = screenshot(page)
    return common.save_png(png, common.DOCS / "web_page.png")


def screenshot(page: Page) -> bytes:
    """Return a PNG from the head of the page to the first model's card, without the samples of the data sets."""
    page.locator(".samples-block").evaluate_all("blocks => blocks.forEach(block => block.remove())")
    page.locator(".fill").evaluate_all(BARS_AT_REST)
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    card = page.locator(".model").first
    expect(card.locator(".map img")).to_have_js_property("complete", True)
    bottom = card.evaluate("card => card.getBoundingClientRect().bottom")
    return page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom + MARGIN})


if __name__ == "__main__":
    common.run(draw)
