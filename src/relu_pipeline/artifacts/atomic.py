"""Atomic replacement of files and folders."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` if the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder; it replaces the folder `path` if the block ends without an exception."""
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
    """Remove temporary folders, and restore `old` if the process was stopped between two renames without `exchange`."""
    if old.exists() and not path.exists():
        old.replace(path)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders atomically by renameat2(2). Return False if the system or file system does not support it."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    at_fdcwd, rename_exchange = -100, 2
    return rename is not None and rename(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0
