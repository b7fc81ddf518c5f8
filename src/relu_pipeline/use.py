"""The command `relu-pipeline use`: set own data as the data of a task in params.yaml."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import PARAMS, TaskName, load_params
from relu_pipeline.data.own import read_left_out
from relu_pipeline.data.sources import is_own, obtain
from relu_pipeline.errors import DataError
from relu_pipeline.params_file import edited, end_kept, put

LINKS = Path("data/own")  # links to the tables of the splits


def use(
    task: TaskName, location: Path, settings: Mapping[str, Any], params: Path = PARAMS
) -> tuple[Source, dict[str, str]]:
    """Check the data at `location`, and write the path and the `settings` of the section `TASK.data` to `params`.

    Return what was found, and the reason for each excluded place.

    Other tasks are removed unless they have own data, too. Raises DataError or ConfigError; `params` does not change
    then.
    """
    place = _from_project(location)
    config = getattr(load_params(params), task).data.model_copy(update=settings)
    with tempfile.TemporaryDirectory() as scratch:
        source = obtain(task, place, config, None, Path(scratch) / "raw")
        left_out = read_left_out(Path(scratch) / "raw")
    with edited(params, "the command line") as content:
        with end_kept(content["tasks"]):
            for other, its_place in dict(content["tasks"]).items():
                if other != task and not is_own(its_place):
                    del content["tasks"][other]
            content["tasks"][task] = place
        for name, value in settings.items():
            put(content[task]["data"], name, value)
    return source, left_out


@contextmanager
def linked_tables(files: Mapping[Split, Path]) -> Iterator[Path]:
    """Yield a folder with a link to the table of each split, named after the split.

    If the block raises an error, the links of an earlier call are restored. Raises DataError, with the original names
    of the files.
    """
    folder = LINKS / "text"
    LINKS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=LINKS) as scratch:
        earlier, existed = Path(scratch) / folder.name, folder.exists()
        try:
            if existed:
                folder.replace(earlier)
            yield _link(files, folder)
        except BaseException as error:
            if earlier.exists() or not existed:
                shutil.rmtree(folder, ignore_errors=True)
            if earlier.exists():
                earlier.replace(folder)
            if isinstance(error, DataError):
                raise DataError(_with_own_names(str(error), files, folder)) from error
            raise


def _link(files: Mapping[Split, Path], folder: Path) -> Path:
    folder.mkdir()
    for split, file in files.items():
        if not file.is_file():
            raise DataError(f"{file}: no such file")
        _link_of(split, file, folder).symlink_to(file.resolve())
    return folder


def _link_of(split: Split, file: Path, folder: Path) -> Path:
    return folder / f"{split}{file.suffix.lower()}"


def _with_own_names(message: str, files: Mapping[Split, Path], folder: Path) -> str:
    for split, file in files.items():
        message = message.replace(str(_link_of(split, file, folder)), str(file))
    return message


def _from_project(location: Path) -> str:
    """Return the path relative to the project if it is inside, else the absolute path. Raises DataError."""
    if not location.exists():
        raise DataError(f"{location}: no such file or folder")
    absolute = Path(os.path.abspath(location))  # noqa: PTH100  # does not resolve links
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
