"""The worked examples of CONTRIBUTING.md, applied to a copy of the project."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relu_pipeline.demo import copy_project

ROOT = Path(__file__).resolve().parents[2]
# "Create `PATH`:", or "In `PATH`, below `START OF A LINE`:", and a code block; or a block of commands.
STEP = re.compile(
    r"^(?:Create `(?P<new>[^`]+)`|In `(?P<old>[^`]+)`, (?P<where>above|below) `(?P<anchor>[^\n]+)`):\n\n"
    r"```\w+\n(?P<code>.*?)```$"
    r"|^```sh\n(?P<commands>.*?)```$",
    re.MULTILINE | re.DOTALL,
)


def steps(title: str) -> list[re.Match[str]]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition(f"\n### {title}\n")[2]
    return list(STEP.finditer(re.split(r"\n##+ ", section)[0]))


def insert(path: Path, where: str, anchor: str, code: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    (index,) = [number for number, line in enumerate(lines) if line.strip().startswith(anchor)]
    lines.insert(index + (where == "below"), code)
    path.write_text("".join(lines))


def follow(step: re.Match[str], project: Path) -> None:
    if step["new"]:
        assert not (project / step["new"]).exists()
        (project / step["new"]).write_text(step["code"])
    elif step["old"]:
        insert(project / step["old"], step["where"], step["anchor"], step["code"])
    else:
        execute(step["commands"], project)


def execute(commands: str, project: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RELU_DATA_MIRROR")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", commands],
        cwd=project,
        env=own | {"PATH": path, "PYTHONPATH": f"{project / 'src'}:{project}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "title",
    [
        "Add an activation",
        pytest.param("Add a network", marks=pytest.mark.slow),
        "Add a metric",
        pytest.param("Add a stage", marks=pytest.mark.slow),
        pytest.param("Add a data source", marks=pytest.mark.slow),
    ],
)
def test_an_example_works_as_written_and_is_clean(title: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_project(ROOT, project)
    todo = steps(title)
    assert any(step["code"] for step in todo)
    assert any(step["commands"] for step in todo)
    for step in todo:
        follow(step, project)
    execute("ruff check .\nruff format --check .\nlint-imports", project)


def test_every_example_is_tested() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    titles = re.findall(r"^### (.*)$", text, re.MULTILINE)
    (mark,) = [mark for mark in test_an_example_works_as_written_and_is_clean.pytestmark if mark.name == "parametrize"]
    assert titles == [title if isinstance(title, str) else title.values[0] for title in mark.args[1]]
    blocks = re.findall(r"^```(?!text)\w+$", text, re.MULTILINE)
    assert len(blocks) == sum(len(steps(title)) for title in titles)
