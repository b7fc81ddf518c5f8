"""Writes that take the place of a file or folder in one step, and only when they are complete."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """As `atomic_file`, for a new folder with all that is in it."""
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    _clear(path, partial, old)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists() and not exchange(partial, path):
            path.replace(old)
        if not path.exists():
            partial.replace(path)
    finally:
        _clear(path, partial, old)


def _clear(path: Path, partial: Path, old: Path) -> None:
    """Without the exchange, a stop between its two renames leaves nothing but `old`."""
    if old.exists() and not path.exists():
        old.replace(path)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Two folders, in one step: renameat2(2). False where the system or its file system knows no such thing."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
