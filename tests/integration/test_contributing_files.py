"""What a fork gets for its contributors: the workflow of CI, the templates, and the hooks of pre-commit."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from relu_pipeline.demo import copy_project

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def pre_commit(project: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files"],
        cwd=project,
        env=os.environ | {"PRE_COMMIT_HOME": str(home), "PYTHONPATH": f"{project / 'src'}:{project}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workflow_runs_the_script_of_ci_on_the_versions_that_the_package_names() -> None:
    (job,) = load(GITHUB / "workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert job["timeout-minutes"] == 90
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = job["strategy"]["matrix"]["python-version"]
    assert project["requires-python"] == f">={versions[0]}"
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(project["classifiers"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_github_demands(path: Path) -> None:
    form = load(path)
    assert form.keys() == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    for field in form["body"]:
        assert field["type"] in {"textarea", "input"}
        assert field.keys() <= {"type", "id", "attributes", "validations"}
        assert field["attributes"]["label"]
        assert field["attributes"].keys() <= {"label", "description", "placeholder", "render"}


def test_the_hooks_pass_here_and_stop_what_make_lint_stops(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_project(ROOT, project)
    (project / ".venv").symlink_to(sys.prefix)
    passed = pre_commit(project, tmp_path / "home")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    (project / "serving/errors.py").open("a").write("from relu_pipeline import  artifacts\n")
    failed = pre_commit(project, tmp_path / "home")
    assert failed.returncode == 1
    lines = [line for line in failed.stdout.splitlines() if line.endswith("Failed")]
    assert [line.partition("...")[0] for line in lines] == ["ruff check", "ruff format", "import rules"]
