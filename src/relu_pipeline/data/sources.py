"""Collection of a task's raw data: published, from a mirror, built-in demo data, or the user's own."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source, SourceFile, Split
from relu_pipeline.config import DataConfig, PublishedData, PublishedFile, PublishedFormat, TaskName, load_published
from relu_pipeline.data import demo, own
from relu_pipeline.data.download import fetch, file_digest
from relu_pipeline.data.formats import FORMATS, OWN, OWN_ADAPTERS, PUBLISHED
from relu_pipeline.errors import ConfigError, DownloadError

DEMOS: dict[PublishedFormat, Callable[[Path], None]] = {"cifar10": demo.write_cifar10, "ag_news": demo.write_ag_news}
DESCRIPTIONS = (".yaml", ".yml")


def is_own(location: str) -> bool:
    return not location.endswith(DESCRIPTIONS)


def obtain(task: TaskName, location: str, config: DataConfig, mirror: Path | None, out: Path) -> Source:
    """Write the raw data and `source.json` to `out`, after checking every row.

    `location` is a file of `configs/data/` or the path of the user's own data. Raises ConfigError, DownloadError,
    DataError.
    """
    with artifacts.atomic_dir(out) as partial:
        path = Path(location)
        source = _own(task, path, config, partial) if is_own(location) else _described(task, path, mirror, partial)
        artifacts.write(partial / artifacts.SOURCE, source)
    return source


def _own(task: TaskName, location: Path, config: DataConfig, out: Path) -> Source:
    labels = OWN_ADAPTERS[OWN[task]].gather(location, config, out)
    splits = own.stored_splits(out)
    lists = [
        SourceFile(name=f"{split}.jsonl", url=None, sha256=artifacts.sha256_of(out / f"{split}.jsonl"))
        for split in splits
    ]
    return Source(
        name=location.name,
        format=OWN[task],
        source="own",
        sha256=_digest_of(lists),
        files=lists,
        labels=labels,
        rows={split: len(own.read(out, split)) for split in splits},
        folder=str(location) if location.is_dir() else None,
    )


def _described(task: TaskName, description: Path, mirror: Path | None, out: Path) -> Source:
    data = load_published(description)
    if data.format not in FORMATS[task]:
        raise ConfigError(
            f"{description}: the task {task} does not support format {data.format}, only {', '.join(FORMATS[task])}; "
            f"set tasks.{task} in params.yaml to another file of configs/data/ or to your own data"
        )
    files = _from_demo(data, out) if data.source == "demo" else _from_publisher(data, mirror, out)
    splits: tuple[Split, ...] = ("train", "test")
    adapter = PUBLISHED[data.format]
    return Source(
        name=description.stem,
        format=data.format,
        source="mirror" if mirror and data.source == "published" else data.source,
        sha256=_digest_of(files),
        files=files,
        labels=data.labels,
        rows={split: len(adapter.read_split(out, split, len(data.labels))[1]) for split in splits},
    )


def _from_demo(data: PublishedData, out: Path) -> list[SourceFile]:
    DEMOS[data.format](out)
    return [SourceFile(name=path.name, url=None, sha256=artifacts.sha256_of(path)) for path in sorted(out.iterdir())]


def _from_publisher(data: PublishedData, mirror: Path | None, out: Path) -> list[SourceFile]:
    files = []
    for file in data.files:
        path = find_in_mirror(file, mirror) if mirror else _from_network(file)
        PUBLISHED[data.format].place(path, out, len(data.labels))
        files.append(SourceFile(name=path.name, url=None if mirror else file.url, sha256=artifacts.sha256_of(path)))
    return files


def _from_network(file: PublishedFile) -> Path:
    path = artifacts.DOWNLOADS / file.mirror
    fetch(file.url, path, file.checksum)
    return path


def find_in_mirror(file: PublishedFile, mirror: Path) -> Path:
    """Return the path of the file in the mirror, after checking it against SHA256SUMS. Raises DownloadError."""
    path = mirror / file.mirror
    expected = _mirror_checksums(mirror).get(file.mirror)
    if expected is None:
        raise DownloadError(f"{mirror / 'SHA256SUMS'}: has no line for {file.mirror}; create one with `sha256sum`")
    if not path.is_file():
        raise DownloadError(f"{path}: no such file; RELU_DATA_MIRROR must name a directory that contains {file.mirror}")
    if file_digest(path, "sha256") != f"sha256:{expected}":
        raise DownloadError(f"{path}: does not match its line in SHA256SUMS; copy the file again")
    return path


def _mirror_checksums(mirror: Path) -> dict[str, str]:
    sums = mirror / "SHA256SUMS"
    try:
        lines = sums.read_text().splitlines()
    except OSError as error:
        raise DownloadError(
            f"{sums}: {error.strerror}; RELU_DATA_MIRROR must name a directory that contains this file"
        ) from error
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {name.lstrip("*"): digest for digest, name in pairs}


def _digest_of(files: list[SourceFile]) -> str:
    return hashlib.sha256("".join(f"{file.sha256}  {file.name}\n" for file in files).encode()).hexdigest()
