"""Markdown text and tables from content with arbitrary characters."""

import re
from collections.abc import Iterable, Sequence

# Markup in CommonMark and GitHub's extensions, anywhere or at the start of a block. An underscore within a word is not
# markup.
MARKUP = re.compile(r"[\\`*~|<>\[\]&$]|(?<![^\W_])_|_(?![^\W_])|^[#+-]")
NUMBERED_ITEM = re.compile(r"^(\d+)(?=[.)]( |$))")


def plain(text: str) -> str:
    """Return the text escaped as one line, for a paragraph, a list or a table.

    White space is replaced by single spaces. A text with other unprintable characters is written as a Python literal.
    """
    line = " ".join(text.split())
    line = MARKUP.sub(r"\\\g<0>", line if line.isprintable() else ascii(line))
    return NUMBERED_ITEM.sub(r"\1\\", line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of `plain` cells; the last `numbers` columns are aligned to the right."""
    rules = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [head, rules, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
