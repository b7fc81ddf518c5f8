"""`relu-pipeline swap`: other model files in the place of those that a service answers with."""

import os
import shutil
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TaskName
from relu_pipeline.errors import ArtifactError


def swap(task: TaskName, source: Path, target: Path) -> str:
    """Put the files that the manifest of `source` names into `target`, all in one step where the file system knows
    how to exchange two folders; give the version.

    What else lies in `target` stays. Nothing changes unless all files are what the manifest says. A service that runs
    checks them again, and answers with the earlier model until then. Raises ArtifactError.
    """
    manifest = artifacts.read(source / artifacts.MANIFEST, Manifest)
    if manifest.task != task:
        raise ArtifactError(f"{source}: a model of the task {manifest.task}, not of {task}; name the folder of {task}")
    for name, expected in manifest.files.items():
        _check(source / name, expected)
    target = target.resolve()  # not a link to it
    with artifacts.atomic_dir(target) as partial:
        if target.exists():
            shutil.copytree(target, partial, copy_function=_link, dirs_exist_ok=True)
        for name in (*manifest.files, artifacts.MANIFEST):
            artifacts.copy(source / name, partial / name)
    return manifest.version


def _link(source: str, target: str) -> None:
    """Or a copy, where hard links are not allowed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _check(path: Path, expected: str) -> None:
    if not path.exists():
        raise ArtifactError(f"{path}: no such file, but the manifest beside it names it; run `dvc repro export` there")
    if (found := artifacts.sha256_of(path)) != expected:
        raise ArtifactError(f"{path}: sha256 is {found}, the manifest says {expected}; run `dvc repro export` there")
