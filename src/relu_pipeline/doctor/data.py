"""Checks of the data of a task: they are present, or their source can be reached."""

import os
from pathlib import Path

import requests

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source
from relu_pipeline.config import PublishedData, PublishedFile, TaskName, load_published
from relu_pipeline.data.download import HELP
from relu_pipeline.data.sources import find_in_mirror, is_own
from relu_pipeline.doctor.check import Check
from relu_pipeline.errors import ArtifactError, ConfigError, DownloadError

URL_TIMEOUT_S = 5


def check_data(task: TaskName, location: str) -> Check:
    """Check the data of a task in params.yaml: own data, or a file of configs/data/."""
    name = f"data {task}"
    if is_own(location):
        if Path(location).exists():
            return Check(name, "ok", f"own data in {location}")
        return Check(name, "error", f"{location}: no such file or folder", f"relu-pipeline use {task} PATH")
    try:
        data = load_published(Path(location))
    except ConfigError as error:
        return Check(name, "error", str(error), f"git checkout {location}")
    if data.source == "demo":
        return Check(name, "ok", f"{location}: built-in data")
    if mirror := os.environ.get("RELU_DATA_MIRROR"):
        return _check_mirror(name, location, data, Path(mirror))
    if _is_present(task, location, data.files):
        return Check(name, "ok", f"{location}: downloaded")
    if problem := next(filter(None, (_unreachable(file.url) for file in data.files)), None):
        return Check(name, "error", problem, HELP)
    return Check(name, "ok", f"{location}: not downloaded yet, the publisher can be reached")


def _check_mirror(name: str, location: str, data: PublishedData, mirror: Path) -> Check:
    try:
        for file in data.files:
            find_in_mirror(file, mirror)
    except DownloadError as error:
        fix = f"complete the mirror, or `unset RELU_DATA_MIRROR` to download {location}"
        return Check(name, "error", str(error), fix)
    return Check(name, "ok", f"{location}: in the mirror {mirror}")


def _is_present(task: TaskName, location: str, files: list[PublishedFile]) -> bool:
    """Return whether the stage `download` needs no network: its output, or all files to download, are present."""
    try:
        source = artifacts.read(artifacts.raw_dir(task) / artifacts.SOURCE, Source)
    except ArtifactError:
        return all((artifacts.DOWNLOADS / file.mirror).exists() for file in files)
    return source.name == Path(location).stem


def _unreachable(url: str) -> str | None:
    """Return why the file cannot be downloaded, or None if it can."""
    try:
        response = requests.head(url, timeout=URL_TIMEOUT_S, allow_redirects=True)
    except (requests.ConnectionError, requests.Timeout):
        return f"no network: {url} does not respond"
    except requests.RequestException as error:
        return f"{url}: {error}"
    return None if response.ok else f"{url}: status {response.status_code} {response.reason}"
