"""Writing of the model card."""

from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.card.describe import describe
from relu_pipeline.card.facts import Facts
from relu_pipeline.card.page import as_html, as_markdown


def write_card(facts: Facts, reports: Path, models: Path) -> None:
    """Write `card.md` and `card.html`, with images of `reports`, to `models`."""
    card = describe(facts)
    for name, content in ((artifacts.CARD, as_markdown(card)), (artifacts.CARD_PAGE, as_html(card, reports))):
        with artifacts.atomic_file(models / name) as partial:
            partial.write_text(content, encoding="utf-8")
