"""docs/model_card.png: the first sections of the model card's page, `models/image/card.html`."""

from pathlib import Path

from docs.pictures import common
from relu_pipeline import artifacts

WIDTH = 960  # CSS pixels
TALLEST = 1200
SCALE = 1.35
MARGIN = 24  # below the last section, and above the line that begins the next one

LAST_BOTTOM = """
(sections, tallest) => Math.max(...sections.map(one => one.getBoundingClientRect().bottom).filter(y => y <= tallest))
"""


def draw(project: Path) -> Path:
    card = project / artifacts.models_dir("image") / artifacts.CARD_PAGE
    with common.browser_page(WIDTH, TALLEST, SCALE) as page:
        page.goto(card.as_uri())
        bottom = page.locator("section").evaluate_all(LAST_BOTTOM, TALLEST)
        png = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom + MARGIN})
    return common.save_png(png, common.DOCS / "model_card.png")


if __name__ == "__main__":
    common.run(draw)
