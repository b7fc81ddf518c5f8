import subprocess
from pathlib import Path

import pytest

from relu_pipeline.errors import ConfigError
from relu_pipeline.provenance import git_commit


def git(*words: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)


def test_a_folder_outside_git_and_one_without_a_commit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ConfigError, match=r"not a git checkout.*git clone"):
        git_commit()
    git("init")
    with pytest.raises(ConfigError, match="not a git checkout with a commit"):
        git_commit()


def test_a_changed_file_makes_the_commit_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a")
    git("init")
    git("add", "file")
    git("commit", "-m", "first")
    clean = git_commit()
    assert len(clean) == 40
    (tmp_path / "file").write_text("b")
    assert git_commit() == f"{clean}-dirty"
