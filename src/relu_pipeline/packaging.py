"""Packaging of the service and its models in one `.bento` file."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TASK_NAMES, TaskName
from relu_pipeline.errors import PackageError

NAME = "relu_pipeline"
VERSION_CHARS = 16
BENTOFILE = "bentofile.yaml"


def build_bento(root: Path, tasks: Sequence[TaskName], out: Path) -> str:
    """Build a Bento from `root`/bentofile.yaml with the models of `tasks`, export it to `out`, and return its tag.

    The tag is a digest of the content. Raises PackageError, ArtifactError.
    """
    for task in tasks:
        artifacts.read(root / artifacts.models_dir(task) / artifacts.MANIFEST, Manifest)
    with tempfile.TemporaryDirectory() as scratch, artifacts.atomic_file(out) as partial:
        # A temporary store, because the user's store may already have this version.
        # A copy of the context, because BentoML rejects hidden folders, and `dvc exp run --temp` works in one.
        home, context, exported = (Path(scratch) / name for name in ("home", "context", "relu_pipeline.bento"))
        _copy_context(root, tasks, context)
        version = content_digest(context)[:VERSION_CHARS]
        _bentoml(home, context, "build", "--version", version)
        _bentoml(home, context, "export", f"{NAME}:{version}", str(exported))
        shutil.copyfile(exported, partial)
    return f"{NAME}:{version}"


def _copy_context(root: Path, tasks: Sequence[TaskName], context: Path) -> None:
    """Copy bentofile.yaml and the files that it includes, except models of other tasks from an earlier `dvc repro`."""
    include = YAML(typ="safe", pure=True).load(root / BENTOFILE)["include"]
    left_out = [root / artifacts.models_dir(task) for task in TASK_NAMES if task not in tasks]
    for file in (path for pattern in (BENTOFILE, *include) for path in root.glob(pattern)):
        if file.parent in left_out:
            continue
        target = context / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def content_digest(folder: Path) -> str:
    """Return one sha256 of the paths and contents of all files in `folder`."""
    digest = hashlib.sha256()
    for name in sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()):
        digest.update(f"{artifacts.sha256_of(folder / name)} {name}\n".encode())
    return digest.hexdigest()


def _bentoml(home: Path, folder: Path, *words: str) -> None:
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    result = subprocess.run(
        [sys.executable, "-m", "bentoml", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last_lines = "\n".join((result.stdout + result.stderr).strip().splitlines()[-5:])
        raise PackageError(f"`bentoml {' '.join(words)}` failed:\n{last_lines}")
