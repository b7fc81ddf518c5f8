from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.data import ag_news
from relu_pipeline.errors import DataError

WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1).filter(str.strip)


@given(rows=st.lists(st.tuples(st.integers(0, 3), WORDS, WORDS), min_size=1, max_size=5))
def test_reading_inverts_writing(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    labels = [label for label, _, _ in rows]
    ag_news.write(path, [(title, text) for _, title, text in rows], labels)
    assert ag_news.read(path, 4) == ([f"{title} {text}".strip() for _, title, text in rows], labels)


def test_an_empty_title_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"1","","All in one column"\n')
    assert ag_news.read(tmp_path / "a.csv", 4) == (["All in one column"], [0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"1","title"', "2 columns, expected 3"),
        ('"1","title","text","more"', "4 columns"),
        ('"5","title","text"', "class '5', expected 1 to 4"),
        ('"0","title","text"', "class '0'"),
        ('"World","title","text"', "class 'World'"),
        ('"1",""," "', "both empty"),
        ('"1","title","te"xt"', "expected after"),
        ('"1","title","cut off', "unexpected end of data"),
    ],
)
def test_a_row_of_the_wrong_form_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f'"1","title","text"\n{line}\n')
    with pytest.raises(DataError, match=rf"a\.csv, line [23]: .*{message}"):
        ag_news.read(tmp_path / "a.csv", 4)


def test_bytes_that_are_no_utf8_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'"1","caf\xe9","text"\n')
    with pytest.raises(DataError, match=r"a\.csv, line 1: byte 0xe9 is not UTF-8"):
        ag_news.read(tmp_path / "a.csv", 4)
    (tmp_path / "b.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.csv: has no rows"):
        ag_news.read(tmp_path / "b.csv", 4)


def test_a_byte_order_mark_windows_line_ends_empty_lines_and_long_fields_are_read(tmp_path: Path) -> None:
    long = "word " * 40_000
    (tmp_path / "a.csv").write_bytes(f'"1","title","{long}"\r\n\r\n"2","b","c"\r\n\r\n'.encode("utf-8-sig"))
    assert ag_news.read(tmp_path / "a.csv", 4) == ([f"title {long}".strip(), "b c"], [0, 1])
