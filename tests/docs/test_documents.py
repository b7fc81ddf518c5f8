"""Every command of a document is executed by a test, or says why it is not; the site builds; references are current."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_command_is_executed_by_a_test_or_says_why_not(document: str) -> None:
    executable = [block for block in blocks(document) if block.language in ("sh", "python") and not block.skipped]
    tests = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert not executable or any(f'"{document}"' in test for test in tests)


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copyfile(ROOT / "zensical.toml", tmp_path / "zensical.toml")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/index.html").is_file()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_to_a_file_leads_to_one(document: str) -> None:
    """The site's builder checks neither pictures nor README.md."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_the_reference_of_params_yaml_is_current(tmp_path: Path) -> None:
    page = ROOT / "docs/reference/params.md"
    code = "import runpy; print(runpy.run_path('docs/reference/generate.py')['params_page'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == page.read_text(), "run `make docs`"
