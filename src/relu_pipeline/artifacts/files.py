"""Readers, writers and digests of artifacts: JSON of a `Format`, JSON lines and CSV."""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from relu_pipeline.artifacts.atomic import atomic_file
from relu_pipeline.errors import ArtifactError


class Format(BaseModel):
    """Base class of the JSON artifacts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FormatT = TypeVar("FormatT", bound=Format)


def read(path: Path, form: type[FormatT]) -> FormatT:
    """Read a JSON artifact. Raises ArtifactError if it is missing or has another format."""
    try:
        return form.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a valid {form.__name__}; remake it with `dvc repro --force`") from error


def write(path: Path, content: Format) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines. Raises ArtifactError if the file is missing or invalid."""
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON lines; remake it with `dvc repro --force`") from error


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table of `write_table`. Raises ArtifactError if it is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise _missing(path) from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write CSV; columns that a row lacks are empty."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def copy(source: Path, target: Path) -> None:
    """Copy a file. Raises ArtifactError if `source` is missing."""
    if not source.exists():
        raise _missing(source)
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)


def _missing(path: Path) -> ArtifactError:
    return ArtifactError(f"{path}: no such file; check the path, or make it with `dvc repro`")


def sha256_of(*paths: Path) -> str:
    """Return one SHA-256 digest over the contents of the files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
