"""Any text is shown as it is, wherever it stands in Markdown."""

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from relu_pipeline.markdown import plain, table

# With raw HTML and all of GitHub's extensions that markdown-it has: the most that a renderer could read into a text.
RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render
ODD = [
    "<script>alert(1)</script>",
    "a | b",
    "two\nlines",
    "# no title",
    "- no list",
    "+ no list",
    "1. no list",
    "123456789) no list",
    "*no* _emphasis_ **at** __all__ ~~here~~",
    "[no](javascript:link)",
    "![no](picture)",
    "`no code`",
    "&lt;no entity&gt; &amp; &#35;",
    "a\\|b \\",
    "---",
    "===",
    "C++",
    "> no quotation",
    "<b@c.de>",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def shown(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page)).strip("\n")


def expected(text: str) -> str:
    line = " ".join(text.split())
    return line if line.isprintable() else ascii(line)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_shown_as_they_are(text: str) -> None:
    assert (
        RENDER(f"text {plain(text)}")
        == f"<p>text {html.escape(expected(text), quote=True).replace('&#x27;', chr(39))}</p>\n"
    )
    assert shown(RENDER(f"- {plain(text)}")) == expected(text)


@given(texts)
@example("1. a")
def test_a_paragraph_and_an_item_of_a_list_show_the_text(text: str) -> None:
    for before, elements in (("", ["p", "/p"]), ("- ", ["ul", "li", "/li", "/ul"])):
        if not text.strip():
            continue
        page = RENDER(before + plain(text))
        assert re.findall(r"<([^>]*)>", page) == elements
        assert shown(page) == expected(text)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_a_table_shows_each_cell(rows: list[tuple[str, str]]) -> None:
    page = RENDER(table(("one", "two"), rows, 1))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert [html.unescape(cell) for cell in cells] == [expected(cell).strip() for row in rows for cell in row]
    assert page.count("<tr>") == len(rows) + 1
    assert len(re.findall(r'<t[hd] style="text-align:right">', page)) == len(rows) + 1
