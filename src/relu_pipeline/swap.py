"""`relu-pipeline swap`: other model files in the place of those that a service answers with."""

import os
import shutil
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.config import TaskName


def swap(task: TaskName, source: Path, target: Path) -> str:
    """Put the files that the manifest of `source` names into `target`, all in one step where the file system knows
    how to exchange two folders; give the version.

    What else lies in `target` stays. Nothing changes unless all files are what the manifest says. A service that runs
    checks them again, and answers with the earlier model until then. Raises ArtifactError.
    """
    manifest = artifacts.read_manifest(source, task)
    for name in manifest.files:
        artifacts.read_verified(source, manifest, name)
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
