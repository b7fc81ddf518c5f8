"""A data set's files, from its publisher, a mirror or the built-in demo data, into one folder with `source.json`."""

import hashlib
import shutil
from pathlib import Path
from typing import Literal

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, SourceFile
from relu_pipeline.config import Dataset, DatasetFacts, PublishedFile
from relu_pipeline.data import ag_news, cifar10, demo
from relu_pipeline.data.download import fetch, file_digest
from relu_pipeline.errors import DownloadError


def obtain(
    dataset: Dataset, facts: DatasetFacts, source: Literal["published", "demo"], mirror: Path | None, out: Path
) -> Source:
    """Fill `out` with the raw files of `dataset`, checked to the last row. Raises DownloadError, DataError."""
    with artifacts.atomic_dir(out) as partial:
        if source == "demo":
            described = _from_demo(dataset, partial, facts)
        else:
            described = _from_publisher(dataset, facts, mirror, partial)
        artifacts.write(partial / "source.json", described)
    return described


def _from_demo(dataset: Dataset, out: Path, facts: DatasetFacts) -> Source:
    if dataset == "cifar10":
        demo.write_cifar10(out)
        labels = demo.DIGIT_LABELS
    else:
        demo.write_ag_news(out)
        labels = facts.labels
    files = [SourceFile(name=path.name, url=None, sha256=artifacts.sha256_of(path)) for path in sorted(out.iterdir())]
    return _describe(dataset, "demo", files, labels, out)


def _from_publisher(dataset: Dataset, facts: DatasetFacts, mirror: Path | None, out: Path) -> Source:
    files = []
    for file in facts.files:
        path = _from_mirror(file, mirror) if mirror else _from_network(file)
        _place(dataset, path, out, len(facts.labels))
        files.append(SourceFile(name=path.name, url=None if mirror else file.url, sha256=artifacts.sha256_of(path)))
    return _describe(dataset, "mirror" if mirror else "published", files, facts.labels, out)


def _from_network(file: PublishedFile) -> Path:
    path = artifacts.DOWNLOADS / file.mirror
    fetch(file.url, path, file.checksum)
    return path


def _from_mirror(file: PublishedFile, mirror: Path) -> Path:
    path = mirror / file.mirror
    expected = _mirror_checksums(mirror).get(file.mirror)
    if expected is None:
        raise DownloadError(f"{mirror / 'SHA256SUMS'}: has no line for {file.mirror}; make one with `sha256sum`")
    if not path.is_file():
        raise DownloadError(f"{path}: no such file; RELU_DATA_MIRROR must name a directory that holds {file.mirror}")
    if file_digest(path, "sha256") != f"sha256:{expected}":
        raise DownloadError(f"{path}: does not match its line in SHA256SUMS; copy the file again")
    return path


def _mirror_checksums(mirror: Path) -> dict[str, str]:
    sums = mirror / "SHA256SUMS"
    try:
        lines = sums.read_text().splitlines()
    except OSError as error:
        raise DownloadError(
            f"{sums}: {error.strerror}; RELU_DATA_MIRROR must name a directory with this file"
        ) from error
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {name.lstrip("*"): digest for digest, name in pairs}


def _place(dataset: Dataset, path: Path, out: Path, num_classes: int) -> None:
    if dataset == "cifar10":
        cifar10.unpack(path, out)
    else:
        ag_news.read(path, num_classes)  # here, so that an error names the file that the user can look at
        shutil.copyfile(path, out / path.name)


def _describe(
    dataset: Dataset,
    source: Literal["published", "mirror", "demo"],
    files: list[SourceFile],
    labels: list[str],
    out: Path,
) -> Source:
    digest = hashlib.sha256("".join(f"{file.sha256}  {file.name}\n" for file in files).encode()).hexdigest()
    rows = _count_rows(dataset, out, len(labels))
    return Source(dataset=dataset, source=source, sha256=digest, files=files, labels=labels, rows=rows)


def _count_rows(dataset: Dataset, folder: Path, num_classes: int) -> dict[Literal["train", "test"], int]:
    if dataset == "cifar10":
        splits = (cifar10.read(folder, files, num_classes)[1] for files in (cifar10.TRAIN_FILES, cifar10.TEST_FILES))
    else:
        splits = (ag_news.read(folder / name, num_classes)[1] for name in (ag_news.TRAIN_FILE, ag_news.TEST_FILE))
    train, test = splits
    return {"train": len(train), "test": len(test)}
