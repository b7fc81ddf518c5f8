"""Streaming, atomic writes of tables of predictions, as CSV or Parquet."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.errors import ArtifactError

SUFFIXES = (".csv", ".parquet")
GROUP_ROWS = 65_536  # of a row group of Parquet, which is in memory as a whole


def check_target(out: Path, source: Path) -> None:
    """Raise ArtifactError if `out` has another suffix, or is `source` itself."""
    if out.suffix.lower() not in SUFFIXES:
        raise ArtifactError(f"{out}: the name must end in one of {' '.join(SUFFIXES)}; change --out")
    if out.exists() and source.exists() and out.samefile(source):
        raise ArtifactError(f"{out}: the output would overwrite the input; change --out")


def write(out: Path, columns: Mapping[str, type], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` with `columns` of int, float or str; None becomes an empty cell. Raises ArtifactError."""
    try:
        if out.suffix.lower() == ".parquet":
            _write_parquet(out, columns, rows)
        else:
            artifacts.write_table(out, list(columns), rows)
    except OSError as error:
        raise ArtifactError(f"{error.filename or out}: {error.strerror}; change --out") from error


def _write_parquet(out: Path, columns: Mapping[str, type], rows: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {int: pyarrow.int64(), float: pyarrow.float32(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with artifacts.atomic_file(out) as partial, parquet.ParquetWriter(partial, schema) as table:
        for group in batches(rows, GROUP_ROWS):
            table.write_batch(pyarrow.RecordBatch.from_pylist(group, schema))


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size` items; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
