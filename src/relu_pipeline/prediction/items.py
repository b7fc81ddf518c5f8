"""Inputs of batch prediction: the images of a folder or archive, or the rows of a table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from relu_pipeline.data.image_folder import files, is_archive, split_folders, unpack, without_wrapping
from relu_pipeline.data.pictures import read_image
from relu_pipeline.data.table import as_text, joined_text
from relu_pipeline.data.table_files import read_rows
from relu_pipeline.errors import DataError
from relu_pipeline.prediction.model import Item


@dataclass(frozen=True)
class Items:
    """Stream of inputs; `total` is None if not known in advance, `labelled` is true if items may have labels."""

    stream: Iterator[Item]
    total: int | None
    labelled: bool


@contextmanager
def image_items(location: Path, labels: Sequence[str]) -> Iterator[Items]:
    """Yield the files below a folder or in an archive, or one file. An unpacked archive is removed after the block.

    The names of folders are the actual labels, as in training data, if at least one of them is in `labels`. Raises
    DataError.
    """
    if not location.exists():
        raise DataError(f"{location}: no such file or folder")
    if location.is_file() and not is_archive(location):
        yield Items(iter([_image(location, location.parent, [])]), 1, labelled=False)
        return
    with TemporaryDirectory() as scratch:
        root = location if location.is_dir() else unpack(location, Path(scratch))
        tops = _above_classes(root, labels)
        stream = (_image(path, root, tops) for path in files(root))
        yield Items(stream, sum(1 for _ in files(root)), labelled=bool(tops))


def _above_classes(root: Path, labels: Sequence[str]) -> list[Path]:
    """Return the folders that contain class folders, as in training data; none if no folder has a name in `labels`."""
    for tops in ([root], list(split_folders(without_wrapping(root)))):
        if any(path.name in labels and path.is_dir() for top in tops for path in top.iterdir()):
            return tops
    return []


def _image(path: Path, root: Path, tops: Sequence[Path]) -> Item:
    label = _class_of(path, tops)
    return Item(as_utf8(path.relative_to(root).as_posix()), partial(read_image, path), label and as_utf8(label))


def _class_of(path: Path, tops: Sequence[Path]) -> str | None:
    for top in tops:
        if path.is_relative_to(top):
            first, *below = path.relative_to(top).parts
            return first if below else None
    return None


def text_items(table: Path, text: Sequence[str], label: str | None) -> Items:
    """Return the rows of a table, numbered from 1, with the texts of the columns `text` joined by a space.

    Iteration raises DataError, with the line, for a malformed row.
    """
    return Items(_table_rows(table, text, label), None, labelled=label is not None)


def _table_rows(table: Path, text: Sequence[str], label: str | None) -> Iterator[Item]:
    columns = [*text, label] if label else [*text]
    for number, (place, values) in enumerate(read_rows(table, columns), 1):
        try:
            actual = as_text(values[label]) if label else None
        except ValueError as error:
            raise DataError(f"{table}, {place}, column {label}: {error}") from error
        yield Item(number, partial(joined_text, values, text), as_utf8(actual) if actual else None)


def as_utf8(text: str) -> str:
    """Return the text with lone surrogates escaped: file names and JSON may contain them, UTF-8 cannot."""
    return text.encode(errors="backslashreplace").decode()
