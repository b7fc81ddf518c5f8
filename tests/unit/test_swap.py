import shutil
from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.errors import ArtifactError
from relu_pipeline.swap import swap


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_of_the_model_are_replaced_and_others_stay(models: Path, tmp_path: Path) -> None:
    source, target = models / "text", tmp_path / "served"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    (target / artifacts.ONNX_MODEL).write_text("an earlier graph")
    kept = (target / "notes.txt").stat().st_ino
    manifest = artifacts.read_manifest(source, "text")
    assert swap("text", source, target) == manifest.version
    names = {*manifest.files, artifacts.MANIFEST}
    expected = {name: content for name, content in contents(source).items() if name in names}
    assert contents(target) == expected | {"notes.txt": b"mine"}
    assert (target / "notes.txt").stat().st_ino == kept
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_to_the_served_folder_stays_a_link(models: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("served")
    swap("text", models / "text", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "served" / artifacts.MANIFEST).is_file()


def test_an_altered_model_leaves_the_served_one(models: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "served"
    for folder in (source, target):
        shutil.copytree(models / "text", folder)
    (source / artifacts.ONNX_MODEL).write_bytes(b"altered")
    before = contents(target)
    with pytest.raises(ArtifactError, match=artifacts.ONNX_MODEL):
        swap("text", source, target)
    with pytest.raises(ArtifactError, match="task text"):
        swap("image", models / "text", target)
    assert contents(target) == before
