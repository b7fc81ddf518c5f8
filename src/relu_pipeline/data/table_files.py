"""Readers of table files with named columns: CSV with any usual delimiter, JSON lines and Parquet."""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from relu_pipeline.errors import DataError

DELIMITERS = ",;\t|"
MAX_FIELD_CHARS = 1 << 24  # Python's own limit is 131,072
CSV, JSON_LINES, PARQUET = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson"), (".parquet",)
SUFFIXES = (*CSV, *JSON_LINES, *PARQUET)

PlacedRow = tuple[str, Mapping[str, Any]]  # location such as "line 12" or "row 12", and the values by column


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[PlacedRow]:
    """Yield the rows, each with at least these `columns`. Raises DataError naming the line."""
    suffix = path.suffix.lower()
    if suffix in CSV:
        return _named_csv_rows(path, columns)
    if suffix in JSON_LINES:
        return _json_lines(path, columns)
    if suffix in PARQUET:
        return _parquet_rows(path, columns)
    raise DataError(f"{path}: not a table; its name must end in one of {' '.join(SUFFIXES)}")


def csv_rows(path: Path, delimiter: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its line number; empty lines are skipped. The file is UTF-8, or UTF-16 with a BOM.

    `strict`: a misplaced quote is an error. Raises DataError naming the line.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    with _opened(path, newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=strict)
        start = 1  # first line of the current row
        try:
            for row in rows:
                if row:
                    yield rows.line_num, row
                start = rows.line_num + 1
        except UnicodeDecodeError as error:
            raise _not_unicode(path, error) from error
        except (csv.Error, UnicodeError) as error:
            raise DataError(
                f"{path}, line {rows.line_num}: {error}, in the row that starts at line {start}; "
                f"a quote is not closed, or not doubled within quotes"
            ) from error


def _named_csv_rows(path: Path, columns: Sequence[str]) -> Iterator[PlacedRow]:
    delimiter = _delimiter(path, columns)
    rows = csv_rows(path, delimiter)
    _, header = next(rows)
    header = [name.strip() for name in header]
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: has {len(row)} columns, but the header has {len(header)}")
        yield f"line {line}", dict(zip(header, row, strict=True))


def _delimiter(path: Path, columns: Sequence[str]) -> str:
    """Return the delimiter by which the header contains all `columns`."""
    headers = {delimiter: next(csv_rows(path, delimiter, strict=False), (1, []))[1] for delimiter in DELIMITERS}
    names = {delimiter: [name.strip() for name in header] for delimiter, header in headers.items()}
    for delimiter, found in names.items():
        if set(columns) <= set(found):
            return delimiter
    raise _no_column(path, columns, max(names.values(), key=len))


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[PlacedRow]:
    with _opened(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {number}", _json_object(path, line, columns)
        except UnicodeDecodeError as error:
            raise _not_unicode(path, error) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def _json_object(path: Path, line: str, columns: Sequence[str]) -> dict[str, Any]:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if not set(columns) <= set(values):
        raise _no_column(path, columns, list(values))
    return values


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[PlacedRow]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                raise _no_column(path, columns, file.schema_arrow.names)
            batches = file.iter_batches(columns=list(columns))
            for number, values in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
                yield f"row {number}", values
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _opened(path: Path, newline: str | None = None) -> TextIO:
    try:
        with path.open("rb") as file:
            start = file.read(2)
        encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        return path.open(encoding=encoding, newline=newline)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _not_unicode(path: Path, error: UnicodeDecodeError) -> DataError:
    line = next((number for number, line in enumerate(path.read_bytes().split(b"\n"), 1) if not _is_utf8(line)), 1)
    where = f"{path}, line {line}" if error.encoding == "utf-8" else f"{path}"
    return DataError(
        f"{where}: byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()}; "
        f"convert the file, for example by `iconv -f latin1 -t utf-8`"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_column(path: Path, columns: Sequence[str], found: Sequence[str]) -> DataError:
    if not found:
        return DataError(f"{path}: is empty; its first line must name the columns")
    if any("\0" in name for name in found):
        return DataError(
            f"{path}: has NUL characters, perhaps UTF-16 without its byte order mark; "
            f"convert the file, for example by `iconv -f utf-16le -t utf-8`"
        )
    missing = ", ".join(name for name in columns if name not in found)
    there = ", ".join(found)[:500] or "none"
    return DataError(
        f"{path}: has no column {missing}; its columns are {there}; "
        f"name them with --text COLUMN and --label COLUMN of `relu-pipeline use text` or `predict text`"
    )
