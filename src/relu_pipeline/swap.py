"""The command `relu-pipeline swap`: replace the model files of a running service."""

import os
import shutil
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.config import TaskName


def swap(task: TaskName, source: Path, target: Path) -> str:
    """Copy the model in `source` to `target`, atomically if the file system can exchange folders; return its version.

    The files are verified against the manifest first; other files in `target` stay. A running service verifies them
    again, and uses the previous model until it has loaded the new one. Raises ArtifactError.
    """
    manifest = artifacts.read_manifest(source, task)
    for name in manifest.files:
        artifacts.read_verified(source, manifest, name)
    target = target.resolve()  # replace the folder, not a link to it
    with artifacts.atomic_dir(target) as partial:
        if target.exists():
            shutil.copytree(target, partial, copy_function=_link, dirs_exist_ok=True)
        for name in (*manifest.files, artifacts.MANIFEST):
            artifacts.copy(source / name, partial / name)
    return manifest.version


def _link(source: str, target: str) -> None:
    """Create a hard link, or a copy if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
