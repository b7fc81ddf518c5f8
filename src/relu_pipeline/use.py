"""`relu-pipeline use`: params.yaml names own data as the data of a task."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import PARAMS, TaskName, load_params
from relu_pipeline.data.sources import is_own, obtain
from relu_pipeline.errors import DataError
from relu_pipeline.params_file import edited, end_kept, put

LINKS = Path("data/own")  # of tables that lie in different places


def use(task: TaskName, location: Path, settings: Mapping[str, Any], params: Path = PARAMS) -> Source:
    """Read the data at `location` once; write their path, and the `settings` of the section `TASK.data`, into `params`.

    Other tasks are removed if their data are of configs/data/. Raises DataError, ConfigError, and changes nothing.
    """
    place = _from_project(location)
    config = getattr(load_params(params), task).data.model_copy(update=settings)
    with tempfile.TemporaryDirectory() as scratch:
        source = obtain(task, place, config, None, Path(scratch) / "raw")
    with edited(params, "the command line") as content:
        with end_kept(content["tasks"]):
            for other, its_place in dict(content["tasks"]).items():
                if other != task and not is_own(its_place):
                    del content["tasks"][other]
            content["tasks"][task] = place
        for name, value in settings.items():
            put(content[task]["data"], name, value)
    return source


def link_tables(files: Mapping[Split, Path]) -> Path:
    """Return a folder with a link to the table of each split, named as its split is. Raises DataError."""
    folder = LINKS / "text"
    with artifacts.atomic_dir(folder) as partial:
        for split, file in files.items():
            if not file.is_file():
                raise DataError(f"{file}: no such file")
            (partial / f"{split}{file.suffix.lower()}").symlink_to(file.resolve())
    return folder


def _from_project(location: Path) -> str:
    """Return the path relative to the project where it lies inside, else absolute. Raises DataError."""
    if not location.exists():
        raise DataError(f"{location}: no such file or folder")
    absolute = Path(os.path.abspath(location))  # noqa: PTH100  # a link stays a link
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
