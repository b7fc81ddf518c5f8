"""Own tables: whatever form they have, the same rows; what is wrong is named by its line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from relu_pipeline.config import TextDataConfig
from relu_pipeline.data import own, table
from relu_pipeline.errors import DataError

CONFIG = TextDataConfig(text=["text"], label="label", test_fraction=0.25)
ROWS = [
    ("My card, again", "card"),
    ('They said "no"\nand hung up', "support"),
    ("Où est ma carte ?", "card"),
    ("私のカードはどこ", "10"),
    ("No answer; none", "support"),
    ("Two | bars\tand a tab", "2"),
]


def write_csv(path: Path, encoding: str = "utf-8", delimiter: str = ",", end: str = "\n") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        rows = csv.writer(file, delimiter=delimiter, lineterminator=end)
        rows.writerows([("id", "text", "label"), *((number, *row) for number, row in enumerate(ROWS))])


def write_json_lines(path: Path) -> None:
    lines = (json.dumps({"label": label, "text": text}) for text, label in ROWS)
    path.write_text("\n".join(lines) + "\n\n")


def write_parquet(path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    parquet.write_table(pyarrow.table({"text": texts, "more": range(len(ROWS)), "label": labels}), path)


FORMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "csv": ("a.csv", write_csv),
    "semicolons": ("a.csv", lambda path: write_csv(path, delimiter=";")),
    "tsv": ("a.tsv", lambda path: write_csv(path, delimiter="\t")),
    "bars": ("a.txt", lambda path: write_csv(path, delimiter="|")),
    "byte order mark": ("a.csv", lambda path: write_csv(path, "utf-8-sig")),
    "utf-16": ("A.CSV", lambda path: write_csv(path, "utf-16", end="\r\n")),
    "windows": ("a.csv", lambda path: write_csv(path, end="\r\n")),
    "json lines": ("a.jsonl", write_json_lines),
    "parquet": ("a.parquet", write_parquet),
}


def gathered(location: Path, out: Path, config: TextDataConfig = CONFIG) -> tuple[list[str], list[tuple[str, str]]]:
    """Labels, and the rows of all splits with their labels."""
    out.mkdir(exist_ok=True)
    labels = table.gather(location, config, out)
    rows = []
    for split in own.stored_splits(out):
        texts, numbers = table.read_split(out, split, len(labels))
        rows += [(text, labels[number]) for text, number in zip(texts, numbers, strict=True)]
    return labels, rows


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_rows_and_labels_in_natural_order(tmp_path: Path, form: str) -> None:
    name, write = FORMS[form]
    write(tmp_path / name)
    labels, rows = gathered(tmp_path / name, tmp_path / "out")
    assert labels == ["2", "10", "card", "support"]
    assert sorted(rows) == sorted(ROWS)


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).filter(str.strip)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=8, unique_by=lambda row: row[1].strip()))
def test_any_text_and_label_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    labels, read = gathered(folder, folder / "out")
    assert read == 2 * [(text.strip(), label.strip()) for text, label in rows]
    assert sorted(labels) == sorted(label.strip() for _, label in rows)


def test_columns_are_joined_and_numbers_are_kept_as_written(tmp_path: Path) -> None:
    lines = [{"title": "Good", "body": "Works.", "stars": 5}, {"title": None, "body": 12, "stars": 10.0}]
    lines += [{"title": "Bad", "body": None, "stars": True}, {"title": "Bad", "body": "!", "stars": 5}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = TextDataConfig(text=["title", "body"], label="stars", test_fraction=0.5)
    labels, rows = gathered(tmp_path / "a.jsonl", tmp_path / "out", config)
    assert labels == ["5", "10", "true"]
    assert sorted(rows) == [("12", "10"), ("Bad", "true"), ("Bad !", "5"), ("Good Works.", "5")]


def test_rows_without_text_or_label_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\na,x\n"two\nlines",y\n ,x\nb,\n\nc,y\nd,x\n')
    gathered(tmp_path / "a.csv", tmp_path / "out")
    left_out = [json.loads(line) for line in (tmp_path / "out" / own.LEFT_OUT).read_text().splitlines()]
    assert left_out == [
        {"place": "a.csv, line 5", "why": "has no text"},
        {"place": "a.csv, line 6", "why": "has no label"},
    ]


def test_a_folder_has_its_own_splits_and_a_test_split_without_a_class_shifts_no_label(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\nc,z\n")
    (tmp_path / "valid.tsv").write_text("label\ttext\nz\td\n")
    (tmp_path / "test.jsonl").write_text('{"text": "e", "label": "z"}\n')
    labels, rows = gathered(tmp_path, tmp_path / "out")
    assert (labels, rows) == (["x", "y", "z"], [("a", "x"), ("b", "y"), ("c", "z"), ("d", "z"), ("e", "z")])


@given(texts=st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60))
def test_equal_texts_are_never_in_training_and_test(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("equal")
    texts += list("ijkl")  # each class has two texts at least
    (folder / "a.csv").write_text("text,label\n" + "".join(f"{text},{ord(text) % 2}\n" for text in texts))
    gathered(folder / "a.csv", folder / "out")
    train, test = (set(table.read_split(folder / "out", split, 2)[0]) for split in ("train", "test"))
    assert test
    assert not train & test


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\na,x\nb,y,z\n", r"a\.csv, line 3: has 3 columns, but the header has 2"),
        ("a.csv", b"text,label\na,x\nb\n", r"a\.csv, line 3: has 1 columns"),
        (
            "a.csv",
            b'text,label\na,x\n"cut off,y\n',
            r"a\.csv, line 3: unexpected end of data, .* starts at line 3; a quote",
        ),
        ("a.csv", b'text,label\na,x\n"cut off,y\nb,x\nc,y\n', r"a\.csv, line 5: .* in the row that starts at line 3;"),
        ("a.csv", b"text,label\na,x\ncaf\xe9,y\n", r"a\.csv, line 3: byte 0xe9 is not UTF-8; .*iconv"),
        ("a.csv", b"words,label\na,x\n", r"a\.csv: has no column text; its columns are words, label; .*--text COLUMN"),
        ("a.csv", b"", r"a\.csv: is empty; its first line must name the columns"),
        ("a.csv", b"text,label\n", r"a\.csv: has no row with a text and a label"),
        ("a.csv", b"text,label\na,x\nb,x\n", r"a\.csv: has one class \(x\), but at least two are needed$"),
        ("a.csv", b"\xff\xfeno utf-16", r"a\.csv"),
        ("a.csv", "text,label\na,x\n".encode("utf-16-le"), r"a\.csv: has NUL characters, perhaps UTF-16 .*iconv"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": ', r"a\.jsonl, line 2: "),
        (
            "a.jsonl",
            b'{"text": "a", "label": "x"}\n{"text": "\\ud800", "label": "y"}\n',
            r"a\.jsonl, line 2: .*surrogates",
        ),
        ("a.jsonl", b'["a", "x"]\n', r"a\.jsonl, line 1: not a JSON object"),
        ("a.jsonl", b'{"text": ["a"], "label": "x"}\n', r"a\.jsonl, line 1: expected a text or a number, not a list"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl, line 1: "),
        ("a.parquet", b"no parquet", r"a\.parquet: not a readable Parquet file"),
        ("a.xlsx", b"", r"a\.xlsx: not a table; its name must end in one of \.csv \.tsv"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        gathered(tmp_path / name, tmp_path / "out")


def test_a_folder_without_a_training_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"has no training table such as train\.csv"):
        gathered(tmp_path, tmp_path / "out")
