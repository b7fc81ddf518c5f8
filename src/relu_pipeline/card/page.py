"""Rendering of a card as Markdown, and as a self-contained HTML page without scripts."""

import base64
import html
import io
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from relu_pipeline.card.section import Card, Section
from relu_pipeline.markdown import plain

STYLE = Path(__file__).with_name("card.css")
MAX_PICTURE = (1400, 1400)  # pixels
WIDE = 700  # a wider image is not scaled down to the width of a phone, but scrolls, to stay readable
QUALITY = 80
# Raw HTML in the Markdown is shown as text.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{lead}
{sections}
</body>
</html>
"""


def as_markdown(card: Card) -> str:
    """Return the card as Markdown, without images."""
    sections = (f"## {section.title}\n\n{section.text}\n" for section in card.sections)
    return "\n".join((f"# {plain(card.title)}\n", f"{card.lead}\n", *sections))


def as_html(card: Card, reports: Path) -> str:
    """Return the card as an HTML page with the images of `reports` embedded."""
    return PAGE.format(
        title=html.escape(card.title),
        style=STYLE.read_text(encoding="utf-8"),
        lead=_rendered(card.lead),
        sections="\n".join(_section(section, reports) for section in card.sections),
    )


def _section(section: Section, reports: Path) -> str:
    figure = _figure(reports / section.picture, section.alt) if section.picture else ""
    return f"<section>\n<h2>{html.escape(section.title)}</h2>\n{_rendered(section.text)}{figure}</section>"


def _rendered(text: str) -> str:
    """Return HTML without style attributes, which the service's Content-Security-Policy forbids."""
    tokens = MARKDOWN.parse(text)
    for token in tokens:
        if token.attrs.pop("style", None):
            token.attrSet("class", "number")
    page: str = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    page = page.replace("<table>", '<div class="table" tabindex="0">\n<table>')
    return page.replace("</table>", "</table>\n</div>")


def _figure(path: Path, alt: str) -> str:
    """Return the image as an embedded WebP, which is half the size of a PNG."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        drawn = picture.convert("RGB")
    drawn.thumbnail(MAX_PICTURE)
    drawn.save(buffer, "WEBP", quality=QUALITY, method=6)
    content = base64.b64encode(buffer.getvalue()).decode()
    kind = "wide" if drawn.width > WIDE else "narrow"
    return (
        f'<figure tabindex="0"><img src="data:image/webp;base64,{content}" class="{kind}" width="{drawn.width}" '
        f'height="{drawn.height}" alt="{html.escape(alt)}"></figure>\n'
    )
