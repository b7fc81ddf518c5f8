"""Adapter of the user's own images: a folder or an archive with one folder per class, or per split and class."""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from relu_inputs.errors import InputError
from relu_inputs.images import image_size
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import ImageDataConfig
from relu_pipeline.data import own
from relu_pipeline.data.own import Example, Found
from relu_pipeline.data.pictures import PictureFile, read_image
from relu_pipeline.errors import DataError

UNPACKED = "files"  # folder of an unpacked archive, beside the lists of examples
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # besides names that begin with a dot
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class Candidate(NamedTuple):
    split: Split
    label: str
    path: Path


def gather(location: Path, config: ImageDataConfig, out: Path) -> list[str]:
    """List all images in `out`, after unpacking an archive, and return the labels. Raises DataError."""
    root = location if location.is_dir() else unpack(location, out / UNPACKED)
    candidates, strangers, folders = _candidates(root)
    found = Found({"train": []}, dict.fromkeys(strangers, "is not in a class folder"))
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda candidate: _look(candidate, root), candidates)
        for candidate, look in zip(candidates, tqdm(looks, "images", len(candidates), disable=None), strict=True):
            if isinstance(look, Example):
                found.examples.setdefault(candidate.split, []).append(look)
            else:
                found.left_out[_shown(candidate.path, root)] = look
    labels = {example.label for examples in found.examples.values() for example in examples}
    hollow = (_shown(folder, root) for folder in folders if folder.name not in labels)
    found.left_out.update((f"{folder}/", "has no readable image and is not a class") for folder in hollow)
    return own.store(found, config.test_fraction, location, out)


def read_split(raw: Path, split: Split, num_classes: int) -> tuple[list[PictureFile], NDArray[np.int64]]:
    folder = artifacts.read(raw / artifacts.SOURCE, Source).folder
    root = Path(folder) if folder else raw / UNPACKED
    rows = own.read(raw, split)
    files = [PictureFile(root / row["file"], row["sha256"], (row["width"], row["height"])) for row in rows]
    return files, np.array([row["label"] for row in rows], dtype=np.int64)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


def unpack(archive: Path, out: Path) -> Path:
    """Unpack the archive into `out`, never outside of it, and return `out`. Raises DataError."""
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(out)  # noqa: S202  # zipfile removes absolute and parent paths
        elif is_archive(archive):
            with tarfile.open(archive) as opened:
                opened.extractall(out, filter="data")
        else:
            raise DataError(
                f"{archive}: neither a folder nor an archive; its name must end in one of {' '.join(ARCHIVES)}"
            )
    except FileNotFoundError as error:
        raise DataError(f"{archive}: no such file or folder; see `tasks` in params.yaml") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise DataError(f"{archive}: cannot be unpacked: {error}") from error
    return out


def _candidates(root: Path) -> tuple[list[Candidate], list[str], list[Path]]:
    """Return the files in class folders, the files outside of them, and the class folders."""
    top = without_wrapping(root)
    tops = split_folders(top)
    folders = [(split, label) for above, split in tops.items() for label in _folders(above)]
    candidates = [Candidate(split, label.name, path) for split, label in folders for path in files(label)]
    strangers = [_shown(path, root) for above in {root, top, *tops} for path in _visible(above) if not path.is_dir()]
    strangers += [f"{_shown(folder, root)}/" for folder in _folders(top) if top not in tops and folder not in tops]
    return candidates, strangers, [label for _, label in folders]


def without_wrapping(folder: Path) -> Path:
    """Skip a single top-level folder that contains folders, as archives often have one."""
    while len(inner := _folders(folder)) == 1 and _folders(inner[0]):
        folder = inner[0]
    return folder


def split_folders(top: Path) -> dict[Path, Split]:
    """Return the parents of the class folders: one folder per split, or `top` alone.

    Folders named after splits are splits if no other folder is beside them, or if they are two splits with folders in
    each; else they are classes.
    """
    folders = _folders(top)
    named = {folder: SPLIT_FOLDERS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_FOLDERS}
    if named and (len(named) == len(folders) or (len(set(named.values())) > 1 and all(map(_folders, named)))):
        return named
    return {top: "train"}


def files(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder` in natural order. Symbolic links are followed, except to a parent folder."""
    seen = {_inode(around) for around in folder.absolute().parents}
    for parent, folders, names in os.walk(folder, followlinks=True):
        inode = _inode(Path(parent))
        if inode in seen:
            folders.clear()
            continue
        seen.add(inode)
        folders[:] = sorted(filter(_counts, folders), key=own.natural_order)
        yield from (Path(parent, name) for name in sorted(filter(_counts, names), key=own.natural_order))


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _look(candidate: Candidate, root: Path) -> Example | str:
    """Return the example, or the reason why the file is not one."""
    place = _shown(candidate.path, root)
    try:
        content = read_image(candidate.path)
        width, height = image_size(content)
        name = candidate.path.relative_to(root).as_posix()
        name.encode()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except InputError as error:
        return str(error)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    digest = hashlib.sha256(content).hexdigest()
    described = {"file": name, "sha256": digest, "width": width, "height": height}
    return Example(place, candidate.label, digest, described)


def _shown(path: Path, root: Path) -> str:
    """Return the path relative to `root` as one printable line."""
    name = path.relative_to(root).as_posix()
    return name if name.isprintable() else ascii(name)


def _visible(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if _counts(path.name)), key=lambda path: own.natural_order(path.name)
    )


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED
