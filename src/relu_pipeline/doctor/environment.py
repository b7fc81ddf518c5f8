"""Checks of Python, the installed packages and git."""

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import TYPE_CHECKING

from relu_pipeline.doctor.check import Check
from relu_pipeline.errors import ConfigError
from relu_pipeline.provenance import git_commit

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROJECT = "relu-pipeline"
EXTRAS = ("", "train", "serve")
SETUP = "make setup && . .venv/bin/activate"
SHOWN_PACKAGES = 5


def check_python() -> Iterator[Check]:
    """Check the versions of Python and of the packages against pyproject.toml."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python, place = platform.python_version(), sys.prefix
    try:
        project = distribution(PROJECT)
    except PackageNotFoundError:
        yield Check("python", "error", f"{python}, but {PROJECT} is not installed in {place}", SETUP)
        return
    needed = project.metadata["Requires-Python"]
    if not SpecifierSet(needed).contains(python, prereleases=True):
        yield Check("python", "error", f"{python}, but {needed} is needed", "make setup PYTHON=python3.11")
        return
    yield Check("python", "ok", f"{python} in {place}")
    requirements = [Requirement(line) for line in project.requires or []]
    unmet = list(filter(None, map(_unmet, requirements)))
    if unmet:
        yield Check("packages", "error", "; ".join(unmet[:SHOWN_PACKAGES]), SETUP)
    else:
        yield Check("packages", "ok", f"the versions that {PROJECT} {project.version} needs")


def _unmet(requirement: "Requirement") -> str | None:
    """Return why the installed version does not meet the requirement, or None if it does or need not."""
    if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS):
        return None
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} {installed} is installed, but {requirement.specifier} is needed"


def check_git() -> Iterator[Check]:
    """Check that git is installed and the folder has a commit, which runs are recorded with."""
    if shutil.which("git") is None:
        yield Check("git", "error", "not installed", "install git: https://git-scm.com/downloads")
        return
    try:
        commit = git_commit()
    except ConfigError:
        fix = "git init && git add --all && git commit -m 'Start', or clone the project"
        yield Check("git", "error", "this folder is not a git checkout with a commit", fix)
        return
    shown = commit[:12] + (", with uncommitted changes" if commit.endswith("-dirty") else "")
    yield Check("git", "ok", f"commit {shown}")
