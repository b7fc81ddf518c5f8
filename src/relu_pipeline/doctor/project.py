"""Checks of the project's files: dvc.yaml and params.yaml."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from relu_pipeline.config import PARAMS, load_params
from relu_pipeline.doctor.check import Check
from relu_pipeline.doctor.environment import SETUP
from relu_pipeline.errors import ConfigError

DVC_FILE = Path("dvc.yaml")
DVC_TIMEOUT_S = 60


def is_project() -> bool:
    """Return whether the working directory is the root of a project."""
    return PARAMS.exists() and DVC_FILE.exists()


def check_project() -> Iterator[Check]:
    """Check dvc.yaml, params.yaml and the data of each task."""
    if not is_project():
        fix = "change to the root of a checkout, or create one with `git clone`"
        yield Check("project", "error", f"{Path.cwd()} has no {PARAMS} and {DVC_FILE}", fix)
        return
    yield Check("project", "ok", str(Path.cwd()))
    yield _check_dvc()
    try:
        params = load_params()
    except ConfigError as error:
        yield Check(
            "params",
            "error",
            str(error),
            f"correct the value; `git checkout {PARAMS}` discards all changes of the file",
        )
        return
    from relu_pipeline.doctor.data import check_data

    yield Check("params", "ok", f"{PARAMS} is valid; tasks: {', '.join(params.tasks)}")
    for task, location in params.tasks.items():
        yield check_data(task, location)


def _check_dvc() -> Check:
    try:
        installed = version("dvc")
    except PackageNotFoundError:
        return Check("dvc", "error", "not installed", SETUP)
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=DVC_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Check("dvc", "error", f"`dvc stage list` did not end within {DVC_TIMEOUT_S} s", "dvc stage list -v")
    if listed.returncode:
        problem = " ".join(listed.stderr.split())
        return Check("dvc", "error", f"{DVC_FILE}: {problem}", f"git checkout {DVC_FILE} {PARAMS}, or `dvc init`")
    return Check("dvc", "ok", f"{installed}, {len(listed.stdout.split())} stages")
