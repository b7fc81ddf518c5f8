"""Verified, resumable HTTP download."""

import hashlib
import time
from pathlib import Path

import requests
from tqdm import tqdm

from relu_pipeline.errors import DownloadError

CHUNK_BYTES = 1 << 16
HELP = (
    "check the network, or set RELU_DATA_MIRROR to a directory that holds the data, "
    "or run `make demo`, which needs no network"
)


def fetch(
    url: str,
    path: Path,
    checksum: str,
    *,
    attempts: int = 5,
    backoff_s: float = 1,
    connect_timeout_s: float = 10,
    read_timeout_s: float = 30,
) -> None:
    """Download `url` to `path`, resuming from `path`.part if it exists.

    `path` appears only when its content matches `checksum` ("md5:HEX" or "sha256:HEX").
    Raises DownloadError.
    """
    if path.exists() and file_digest(path, checksum.split(":")[0]) == checksum:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    problem = "no attempt made"
    for attempt in range(attempts):
        try:
            _receive(url, part, (connect_timeout_s, read_timeout_s))
            break
        except (requests.RequestException, OSError) as error:
            problem = _short(error)
            time.sleep(backoff_s * 2**attempt)
    else:
        raise DownloadError(f"{url}: {problem} ({attempts} attempts); {HELP}")
    _verify(url, part, checksum)
    part.replace(path)


def file_digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _receive(url: str, part: Path, timeout: tuple[float, float]) -> None:
    done = part.stat().st_size if part.exists() else 0
    # No compression: Content-Length and Range would count compressed bytes, not those written.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == requests.codes.range_not_satisfiable:
            return
        response.raise_for_status()
        if not _continues(response, done):
            done = 0
        expected = done + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        with (
            part.open("ab" if done else "wb") as file,
            tqdm(
                desc=part.stem, initial=done, total=expected, unit="B", unit_scale=True, mininterval=1, disable=None
            ) as progress,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                progress.update(len(chunk))
    if expected is not None and part.stat().st_size < expected:
        raise OSError(f"the connection closed after {part.stat().st_size} of {expected} bytes")


def _continues(response: requests.Response, done: int) -> bool:
    """Return whether the response starts at byte `done`; a server may ignore Range or send another part."""
    return response.status_code == requests.codes.partial_content and response.headers.get(
        "Content-Range", ""
    ).startswith(f"bytes {done}-")


def _verify(url: str, part: Path, checksum: str) -> None:
    found = file_digest(part, checksum.split(":")[0])
    if found != checksum:
        part.unlink()
        raise DownloadError(f"{url}: checksum is {found}, expected {checksum}; the file was discarded; {HELP}")


def _short(error: Exception) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
