"""Own images: folders and archives as people have them, and what hostile ones hold."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source
from relu_pipeline.config import ImageDataConfig
from relu_pipeline.data import image_folder, own
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.sources import obtain
from relu_pipeline.errors import DataError

CONFIG = ImageDataConfig(test_fraction=0.25)


def png(shade: int = 0, size: tuple[int, int] = (40, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(root: Path, *names: str) -> Path:
    """Images of different shades."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number))
    return root


def listed(raw: Path) -> dict[str, list[tuple[str, str]]]:
    """By split: class and file."""
    labels = artifacts.read(raw / artifacts.SOURCE, Source).labels
    return {
        split: [(labels[row["label"]], row["file"]) for row in own.read(raw, split)] for split in own.stored_splits(raw)
    }


def left_out(raw: Path) -> dict[str, str]:
    return {row["place"]: row["why"] for row in artifacts.read_lines(raw / own.LEFT_OUT)}


def test_a_folder_a_class_in_natural_order(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("10", "2", "b", "A") for number in range(8)]
    source = obtain("image", str(fill(tmp_path / "in", *names)), CONFIG, None, tmp_path / "raw")
    assert source.labels == ["2", "10", "A", "b"]
    assert source.rows == {"train": 24, "test": 8}
    assert sorted(file for split in listed(tmp_path / "raw").values() for _, file in split) == sorted(names)
    assert (source.format, source.source) == ("image_folder", "own")


def test_splits_above_the_classes_and_folders_below_them(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "train/a/1.png", "train/b/x/2.png", "Validation/a/3.png", "test/b/4.png")
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    assert listed(tmp_path / "raw") == {
        "train": [("a", "train/a/1.png"), ("b", "train/b/x/2.png")],
        "val": [("a", "Validation/a/3.png")],
        "test": [("b", "test/b/4.png")],
    }


@pytest.mark.parametrize("train", ["train", "train/old"])
def test_a_class_named_train_is_a_class(tmp_path: Path, train: str) -> None:
    root = fill(tmp_path / "in", *(f"{name}/{number}.png" for name in (train, "tram") for number in range(2)))
    assert obtain("image", str(root), CONFIG, None, tmp_path / "raw").labels == ["train", "tram"]


def test_a_folder_beside_the_splits_is_named_and_left_out(tmp_path: Path) -> None:
    names = [f"{split}/{label}/{number}.png" for split in ("train", "test") for label in "ab" for number in range(2)]
    source = obtain("image", str(fill(tmp_path / "in", *names, "extra/c/1.png")), CONFIG, None, tmp_path / "raw")
    assert (source.labels, source.rows) == (["a", "b"], {"train": 4, "test": 4})
    assert left_out(tmp_path / "raw") == {"extra/": "is not in a class folder"}


def test_classes_named_train_and_test_beside_another_are_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"{name}/{number}.png" for name in ("train", "test", "tram") for number in range(2)))
    assert obtain("image", str(root), CONFIG, None, tmp_path / "raw").labels == ["test", "train", "tram"]


def test_what_systems_leave_behind_is_ignored(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in "ab" for number in range(2)]
    rest = ["a/.ipynb_checkpoints/0.png", "__MACOSX/a/._0.png", "a/Thumbs.db", ".DS_Store", "b/desktop.ini"]
    obtain("image", str(fill(tmp_path / "in", *names, *rest)), CONFIG, None, tmp_path / "raw")
    assert sorted(file for split in listed(tmp_path / "raw").values() for _, file in split) == names
    assert not left_out(tmp_path / "raw")


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz", "set.tgz", "set.tar"])
def test_an_archive_with_a_folder_on_top_is_the_folder(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path / "in", *(f"set/{label}/{number}.png" for label in "ab" for number in range(4)))
    (root / "LICENSE").write_text("free")
    if name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root))
    else:
        with tarfile.open(tmp_path / name, "w" if name.endswith(".tar") else "w:gz") as archive:
            archive.add(root, ".")
    source = obtain("image", str(tmp_path / name), CONFIG, None, tmp_path / "raw")
    assert (source.labels, source.rows) == (["a", "b"], {"train": 6, "test": 2})
    pictures, _ = read_raw(tmp_path / "raw", "train")
    assert pictures[0].square(32).shape == (32, 32, 3)
    assert left_out(tmp_path / "raw") == {"LICENSE": "is not in a class folder"}


def test_an_archive_writes_nothing_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("../../escaped.png")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(DataError, match=r"evil\.tar: cannot be unpacked"):
        obtain("image", str(tmp_path / "evil.tar"), CONFIG, None, tmp_path / "deep/raw")
    assert not list(tmp_path.rglob("escaped.png"))


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar.gz", "picture.png", "missing.zip"])
def test_what_is_no_archive_is_named_and_the_earlier_data_stay(tmp_path: Path, name: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"PK\3\4 cut off")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/earlier").touch()
    with pytest.raises(DataError, match=name):
        obtain("image", str(tmp_path / name), CONFIG, None, tmp_path / "raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["earlier"]


def test_a_hostile_folder_is_read_and_each_odd_file_is_named(tmp_path: Path) -> None:
    odd = ["a/with space.png", "a/quote'\".png", "b/🐈.png", "b/new\nline.png", "b/$(touch x);.png"]
    root = fill(tmp_path / "in", *odd, "a/0.png", "b/0.png")
    (root / "a/empty.png").touch()
    (root / "a/text.jpg").write_text("no image")
    (root / "a/drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/loop to all").symlink_to(root)
    (root / "loop").symlink_to(root)
    (root / "a/nowhere.png").symlink_to(root / "nothing")
    (root / "a/circle.png").symlink_to(root / "a/circle.png")
    (root / os.fsdecode(b"a/latin\xe9.png")).write_bytes(png(99))
    (root / "b/cut.png").write_bytes(png()[:20])
    (root / "b/long.png").write_bytes(png(1, (20_000, 2)))
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    files = {file for split in listed(tmp_path / "raw").values() for _, file in split}
    assert files >= {*odd, "a/0.png", "b/0.png"}
    reasons = left_out(tmp_path / "raw")
    assert reasons.pop(ascii(os.fsdecode(b"a/latin\xe9.png"))) == "its name is not UTF-8"
    assert reasons.keys() >= {"a/empty.png", "a/text.jpg", "a/drawing.eps", "a/nowhere.png", "a/circle.png"}
    assert "empty" in reasons["a/empty.png"]
    assert reasons["loop/"] == "has no readable image and is not a class"
    assert not any("loop" in file for file in files)
    for line in (tmp_path / "raw" / own.LEFT_OUT).read_text().splitlines():
        json.loads(line)


def test_a_file_that_cannot_be_decoded_or_has_changed_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"{label}/{number}.png" for label in "ab" for number in range(2)))
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    pictures, _ = read_raw(tmp_path / "raw", "train")
    pictures[0].path.write_bytes(png(200))
    with pytest.raises(DataError, match=rf"{pictures[0].path}: has changed since it was listed; run `dvc repro`"):
        pictures[0].square(32)
    pictures[0].path.unlink()
    with pytest.raises(DataError, match=rf"{pictures[0].path}: No such file"):
        pictures[0].square(32)


def test_equal_images_are_never_in_training_and_test(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for label in "ab":
        for number in range(20):
            fill(root, f"{label}/{number}.png")
            (root / f"{label}/{number}.png").write_bytes(png(number % 5 + 10 * (label == "b")))
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    digests = {split: {row["sha256"] for row in own.read(tmp_path / "raw", split)} for split in ("train", "test")}
    assert digests["test"]
    assert not digests["train"] & digests["test"]


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has one class \(a\), but at least two are needed$"):
        obtain("image", str(fill(tmp_path / "in", "a/0.png", "a/1.png")), CONFIG, None, tmp_path / "raw")
    with pytest.raises(DataError, match=r"has no class, .*; left out: 2, the first: 0\.png is not in a class folder"):
        obtain("image", str(fill(tmp_path / "flat", "0.png", "1.png")), CONFIG, None, tmp_path / "raw")


def test_labels_and_rows_belong_together(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"{label}/{number}.png" for label in "ab" for number in range(3)))
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    pictures, labels = image_folder.read_split(tmp_path / "raw", "train", 2)
    assert [picture.path.parent.name for picture in pictures] == ["ab"[label] for label in labels]
    assert np.asarray(labels).dtype == np.int64


def test_a_file_larger_than_any_image_is_left_out_and_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"{label}/{number}.png" for label in "ab" for number in range(2)))
    with (root / "a/video.png").open("wb") as video:
        video.truncate(400_000_001)
    obtain("image", str(root), CONFIG, None, tmp_path / "raw")
    why = "The file has 400,000,001 bytes; images have at most 400,000,000."
    assert left_out(tmp_path / "raw") == {"a/video.png": why}
