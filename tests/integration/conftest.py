"""The demo, run once for all that build on it."""

import shutil
from pathlib import Path

import pytest

from relu_pipeline.demo import run_demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project in which the demo has run; tests change it."""
    scratch = tmp_path_factory.mktemp("demo") / "project"
    run_demo(ROOT, scratch)
    shutil.copytree(scratch, scratch.with_name("finished"), symlinks=True)
    return scratch


@pytest.fixture
def finished(project: Path, tmp_path: Path) -> Path:
    """The test's own copy of the project as the demo left it."""
    return shutil.copytree(project.with_name("finished"), tmp_path / "project", symlinks=True)
