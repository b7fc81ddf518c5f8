"""Git repositories of tests."""

import subprocess
from pathlib import Path

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")


def commit_all(folder: Path) -> None:
    """Make `folder` a repository, with all its files in a first commit."""
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "Start")):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
