"""Text and tables in Markdown, from content that may hold any characters."""

import re
from collections.abc import Iterable, Sequence

# What CommonMark and GitHub's extensions of it read as markup, anywhere or where a block begins. An underscore within
# a word is none.
MARKUP = re.compile(r"[\\`*~|<>\[\]&$]|(?<![^\W_])_|_(?![^\W_])|^[#+-]")
NUMBERED_ITEM = re.compile(r"^(\d+)(?=[.)]( |$))")


def plain(text: str) -> str:
    """Return the text in one line so that Markdown shows it as it is, in a paragraph, a list or a table.

    White space becomes single spaces; a text with other characters that cannot be printed is written as in Python.
    """
    line = " ".join(text.split())
    line = MARKUP.sub(r"\\\g<0>", line if line.isprintable() else ascii(line))
    return NUMBERED_ITEM.sub(r"\1\\", line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of `plain` cells; the last `numbers` of its columns are aligned to the right."""
    rules = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [head, rules, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
