"""The demo's copy of the project, and what it says where a step fails; tests/integration runs the whole."""

import os
import shutil
from pathlib import Path

import pytest

from relu_pipeline.demo import copy_project, run_demo, serving
from relu_pipeline.errors import PipelineError
from tests.repository import commit_all

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, an empty folder."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_copy_has_uncommitted_changes_and_no_outputs_and_replaces_no_earlier_one(
    project: Path, tmp_path: Path
) -> None:
    files = {"kept": "1", "changed": "1", "deleted": "1", "dvc.lock": "1", ".gitignore": "/ignored\n"}
    for name, content in files.items():
        (project / name).write_text(content)
    commit_all(project)
    (project / "changed").write_text("2")
    (project / "deleted").unlink()
    (project / "deep").mkdir()
    (project / "deep/new").write_text("3")
    (project / "ignored").write_text("4")
    scratch = tmp_path / "demo"
    copy_project(project, scratch)
    shutil.rmtree(scratch / ".git")
    found = {str(path.relative_to(scratch)): path.read_text() for path in scratch.rglob("*") if path.is_file()}
    assert found == {"kept": "1", "changed": "2", "deep/new": "3", ".gitignore": "/ignored\n"}
    with pytest.raises(PipelineError, match="is an earlier demo; to start anew, delete it first"):
        copy_project(project, scratch)


def test_a_pipeline_that_fails_is_one_line(project: Path, tmp_path: Path) -> None:
    (project / "configs").mkdir()
    for name in ("params.yaml", "configs/demo.yaml"):  # there is no dvc.yaml
        shutil.copyfile(ROOT / name, project / name)
    commit_all(project)
    with pytest.raises(PipelineError, match=r"`dvc repro` failed in .*demo; see its output above"):
        run_demo(project, tmp_path / "demo")


def test_a_service_that_is_not_ready_in_time_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relu_pipeline.demo.START_TIMEOUT_S", 0)
    late = pytest.raises(PipelineError, match=r"was not ready within 0 s; see .*serve\.log")
    with late, serving(tmp_path, os.environ):
        pass
