import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relu_pipeline.data import cifar10
from relu_pipeline.errors import DataError

NAMES = cifar10.TRAIN_FILES + cifar10.TEST_FILES
RECORD = bytes(cifar10.RECORD_BYTES)


def archive(path: Path, *extra: tarfile.TarInfo, names: tuple[str, ...] = NAMES) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(RECORD)
            tar.addfile(member, io.BytesIO(RECORD))
        for member in extra:
            tar.addfile(member)
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_the_batches_are_unpacked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    cifar10.place(archive(tmp_path / "a.tar.gz", tarfile.TarInfo(f"{cifar10.FOLDER}/readme.html")), out, 10)
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tarfile.TarInfo("../escaped.bin"), "'../escaped.bin' lies outside"),
        (tarfile.TarInfo(f"{cifar10.FOLDER}/../../escaped.bin"), "lies outside"),
        (tarfile.TarInfo(f"{cifar10.FOLDER}/.."), "lies outside"),
        (tarfile.TarInfo("/tmp/escaped.bin"), "lies outside"),
        (tarfile.TarInfo("elsewhere/data_batch_1.bin"), "lies outside"),
        (link(f"{cifar10.FOLDER}/data_batch_1.bin", "/etc/passwd", tarfile.SYMTYPE), "is a link"),
        (link(f"{cifar10.FOLDER}/data_batch_1.bin", "/etc/passwd", tarfile.LNKTYPE), "is a link"),
        (link(f"{cifar10.FOLDER}/data_batch_1.bin", "", tarfile.FIFOTYPE), "is a link or device"),
    ],
)
def test_a_member_that_leaves_its_folder_is_refused(tmp_path: Path, member: tarfile.TarInfo, message: str) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(DataError, match=message) as caught:
        cifar10.place(archive(tmp_path / "a.tar.gz", member), out, 10)
    assert "a.tar.gz" in str(caught.value)
    assert not list(tmp_path.rglob("escaped.bin"))


def test_a_truncated_archive_and_a_missing_batch_are_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.tar\.gz: truncated"):
        cifar10.place(tmp_path / "b.tar.gz", tmp_path, 10)
    with pytest.raises(DataError, match=r"does not contain test_batch\.bin"):
        cifar10.place(archive(tmp_path / "c.tar.gz", names=NAMES[:-1]), tmp_path, 10)


def test_a_cut_record_and_a_wrong_label_name_file_and_record(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(RECORD + RECORD[:100])
    with pytest.raises(DataError, match=r"a\.bin: record 2 is cut off: 100 of 3073"):
        cifar10.read(tmp_path, ("a.bin",), 10)
    (tmp_path / "b.bin").write_bytes(RECORD + b"\x0a" + RECORD[1:])
    with pytest.raises(DataError, match=r"b\.bin: record 2 has label 10, expected 0 to 9"):
        cifar10.read(tmp_path, ("b.bin",), 10)


@given(
    images=arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(32), st.just(32), st.just(3))),
    label=st.integers(0, 9),
)
def test_reading_inverts_writing(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray, label: int) -> None:
    folder = tmp_path_factory.mktemp("cifar")
    labels = np.full(len(images), label, dtype=np.uint8)
    cifar10.write(folder / "a.bin", images, labels)
    read_images, read_labels = cifar10.read(folder, ("a.bin",), 10)
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)
