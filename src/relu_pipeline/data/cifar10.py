"""CIFAR-10's binary format: a record is 1 label byte and the R, G and B planes of a 32x32 image.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from relu_pipeline.artifacts import Split
from relu_pipeline.data.pictures import Pixels
from relu_pipeline.errors import DataError

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE


def place(archive: Path, out: Path, num_classes: int) -> None:
    """Extract the batches of the archive to `out`.

    Raises DataError if a member is not a regular file of the expected folder, or if a batch is missing.
    """
    wanted = set(TRAIN_FILES + TEST_FILES)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tqdm(tar, archive.name, unit=" files", disable=None):
                name = _checked_name(archive, member)
                if name in wanted:
                    content = tar.extractfile(member)
                    assert content is not None  # `_checked_name` accepts only regular files
                    (out / name).write_bytes(content.read())
                    wanted.remove(name)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: truncated or not a tar.gz: {error}") from error
    if wanted:
        raise DataError(f"{archive}: does not contain {', '.join(sorted(wanted))}")


def _checked_name(archive: Path, member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if member.isdir() and path.parts == (FOLDER,):
        return None
    if not member.isfile():
        raise DataError(f"{archive}: member {member.name!r} is a link or device; only regular files are accepted")
    if len(path.parts) != 2 or path.parts[0] != FOLDER or path.name == "..":
        raise DataError(f"{archive}: member {member.name!r} lies outside {FOLDER}/")
    return path.name


def read_split(raw: Path, split: Split, num_classes: int) -> tuple[list[Pixels], NDArray[np.int64]]:
    """Return the images and labels of a split. Raises DataError, as `read`."""
    images, labels = read(raw, {"train": TRAIN_FILES, "test": TEST_FILES}[split], num_classes)
    return [Pixels(pixels) for pixels in images], labels


def read(folder: Path, files: tuple[str, ...], num_classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 `[N, 32, 32, 3]` and labels `[N]`. Raises DataError naming the file and the record."""
    parts = [_read_records(folder / name, num_classes) for name in files]
    records = np.concatenate(parts)
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _read_records(path: Path, num_classes: int) -> NDArray[np.uint8]:
    content = np.fromfile(path, dtype=np.uint8)
    whole, rest = divmod(len(content), RECORD_BYTES)
    if rest or not whole:
        raise DataError(f"{path}: record {whole + 1} is cut off: {rest} of {RECORD_BYTES} bytes")
    records = content.reshape(-1, RECORD_BYTES)
    wrong = np.flatnonzero(records[:, 0] >= num_classes)
    if len(wrong):
        first = wrong[0]
        raise DataError(f"{path}: record {first + 1} has label {records[first, 0]}, expected 0 to {num_classes - 1}")
    return records


def write(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write one file in the format that `read` reads."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    np.concatenate((labels[:, None], planes), axis=1).astype(np.uint8).tofile(path)
