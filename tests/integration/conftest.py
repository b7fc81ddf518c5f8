"""The demo, run once for all that build on it."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from relu_pipeline.demo import run_demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A copy of this project in which the demo has run, for all workers of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    copy = (own if worker_id == "master" else own.parent) / "demo/project"
    copy.parent.mkdir(exist_ok=True)
    with FileLock(copy.with_name("lock")):
        if not copy.exists():
            run_demo(ROOT, copy)
    return copy


@pytest.fixture(scope="session")
def project(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo, which tests change."""
    return shutil.copytree(demo, tmp_path_factory.mktemp("changed") / "project", symlinks=True)


@pytest.fixture
def finished(demo: Path, tmp_path: Path) -> Path:
    """The test's own copy of the demo."""
    return shutil.copytree(demo, tmp_path / "project", symlinks=True)
