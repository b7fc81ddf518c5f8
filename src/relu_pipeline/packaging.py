"""The service and its models in one `.bento`, by BentoML's own commands."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TASKS
from relu_pipeline.errors import PackageError

NAME = "relu_pipeline"
VERSION_CHARS = 16


def build_bento(root: Path, out: Path) -> str:
    """Build from `root`/bentofile.yaml and export to `out`; gives the tag. Raises PackageError."""
    manifests = [root / artifacts.models_dir(task) / artifacts.MANIFEST for task in TASKS]
    for manifest in manifests:
        artifacts.read(manifest, Manifest)
    tag = f"{NAME}:{artifacts.sha256_of(*manifests)[:VERSION_CHARS]}"
    # A store of its own: the user's may hold this version already, and is not ours to fill.
    with tempfile.TemporaryDirectory() as home, artifacts.atomic_file(out) as partial:
        exported = partial.with_name(f"{partial.name}.bento").resolve()  # BentoML takes a relative path as from /
        _bentoml(home, "build", str(root), "--version", tag.split(":")[1])
        _bentoml(home, "export", tag, str(exported))
        exported.replace(partial)
    return tag


def _bentoml(home: str, *words: str) -> None:
    environment = os.environ | {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "true"}
    result = subprocess.run(
        [sys.executable, "-m", "bentoml", *words], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        last_lines = "\n".join((result.stdout + result.stderr).strip().splitlines()[-5:])
        raise PackageError(f"`bentoml {' '.join(words)}` failed:\n{last_lines}")
