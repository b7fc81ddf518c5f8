import subprocess
from pathlib import Path

import pytest

from relu_pipeline.errors import ConfigError
from relu_pipeline.provenance import command_to_repeat, git_commit


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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a git checkout with one committed file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a")
    git("init")
    git("add", "file")
    git("commit", "-m", "first")
    return tmp_path


def test_a_changed_file_makes_the_commit_dirty(checkout: Path) -> None:
    clean = git_commit()
    assert len(clean) == 40
    (checkout / "file").write_text("b")
    assert git_commit() == f"{clean}-dirty"


def test_a_source_that_was_not_added_makes_the_commit_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("no source")
    assert not git_commit().endswith("-dirty")
    (checkout / "src").mkdir()
    (checkout / "src/network.py").write_text("")
    assert git_commit().endswith("-dirty")


def test_what_dvc_writes_makes_no_commit_dirty_and_the_command_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1\nimage:\n  name: mlp\n  widths: [1, 2]\n  old: 3\n")
    (tmp_path / "dvc.lock").write_text("first")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git_commit()
    assert command_to_repeat(clean) == f"git checkout {clean} && dvc repro"
    params.write_text("seed: 2\nimage:\n  name: the mlp\n  widths: [1, 2]\n  new: null\n")
    (tmp_path / "dvc.lock").write_text("second")
    assert git_commit() == clean
    changes = "-S seed=2 -S 'image.name=\"the mlp\"' -S image.new=null -S '~image.old'"
    assert command_to_repeat(clean) == f"git checkout {clean} && dvc exp run {changes}"
