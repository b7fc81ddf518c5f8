"""The parts of a model card, and helpers that format its numbers and names."""

from collections.abc import Sequence
from dataclasses import dataclass

from relu_pipeline.errors import in_one_line

MANY_CLASSES = 20  # with more, a card lists only the extreme classes, and has no confusion matrix
EXTREMES = 10


@dataclass(frozen=True)
class Section:
    """Section of a card. `text` is Markdown; `picture` names an image of the reports, which `alt` describes."""

    title: str
    text: str
    picture: str | None = None
    alt: str = ""


@dataclass(frozen=True)
class Card:
    """Model card; `lead` is the Markdown above the first section."""

    title: str
    lead: str
    sections: Sequence[Section]


def paragraphs(*blocks: str) -> str:
    return "\n\n".join(blocks)


def bullets(*items: str) -> str:
    return "\n".join(f"- {item}" for item in items)


def percent(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:.{digits}f} %"


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(in_one_line, names[:MANY_CLASSES]))
    return f"{shown} and {len(names) - MANY_CLASSES:,} more" if len(names) > MANY_CLASSES else shown
