"""Against a real HTTP server on loopback that stalls, truncates and lies."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from relu_pipeline.data.download import fetch
from relu_pipeline.errors import DownloadError

CONTENT = bytes(range(256)) * 4096
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
Behaviour = Callable[[BaseHTTPRequestHandler, int], None]


class Publisher:
    """Serves CONTENT by the next of `behaviours`, and by the last one from then on; keeps the Range headers."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.ranges: list[str | None] = []
        self.released = threading.Event()
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = len(publisher.ranges)
                publisher.ranges.append(self.headers["Range"])
                start = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
                behaviours[min(number, len(behaviours) - 1)](self, start)

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/data.bin"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def publish() -> Iterator[Callable[..., Publisher]]:
    started: list[Publisher] = []

    def start(*behaviours: Behaviour) -> Publisher:
        started.append(Publisher(*behaviours))
        return started[-1]

    yield start
    for publisher in started:
        publisher.released.set()
        publisher.server.shutdown()


def head(request: BaseHTTPRequestHandler, status: int, length: int, start: int = 0) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(length))
    if status == 206:
        request.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    request.end_headers()


def whole(request: BaseHTTPRequestHandler, start: int) -> None:
    head(request, 200, len(CONTENT))
    request.wfile.write(CONTENT)


def resuming(request: BaseHTTPRequestHandler, start: int) -> None:
    head(request, 206 if start else 200, len(CONTENT) - start, start)
    request.wfile.write(CONTENT[start:])


def truncating(request: BaseHTTPRequestHandler, start: int) -> None:
    head(request, 206 if start else 200, len(CONTENT) - start, start)
    request.wfile.write(CONTENT[start : start + 300_000])


def lying(request: BaseHTTPRequestHandler, start: int) -> None:
    head(request, 200, len(CONTENT))
    request.wfile.write(CONTENT[::-1])


def lying_about_the_range(request: BaseHTTPRequestHandler, start: int) -> None:
    head(request, 206, len(CONTENT), 0)
    request.wfile.write(CONTENT)


def failing(request: BaseHTTPRequestHandler, start: int) -> None:
    request.send_error(503)


def get(publisher: Publisher, path: Path, attempts: int = 5) -> None:
    fetch(publisher.url, path, CHECKSUM, attempts=attempts, backoff_s=0, read_timeout_s=0.5)


def test_a_file_is_fetched_once(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    publisher = publish(whole)
    get(publisher, tmp_path / "a" / "data.bin")
    get(publisher, tmp_path / "a" / "data.bin")
    assert (tmp_path / "a" / "data.bin").read_bytes() == CONTENT
    assert len(publisher.ranges) == 1
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "data.bin"]


def test_a_cut_connection_is_resumed_where_it_broke(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    publisher = publish(truncating, truncating, resuming)
    get(publisher, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    first, second, third = (int((asked or "bytes=0-")[len("bytes=") : -1]) for asked in publisher.ranges)
    assert first == 0 < second <= 300_000 < third <= 600_000


def test_what_an_earlier_process_left_is_resumed(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    publisher = publish(resuming)
    get(publisher, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert publisher.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("ignoring_range", [whole, lying_about_the_range])
def test_a_server_without_ranges_starts_over(
    tmp_path: Path, publish: Callable[..., Publisher], ignoring_range: Behaviour
) -> None:
    get(publish(truncating, ignoring_range), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_stalled_server_is_left_and_asked_again(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    def stalling(request: BaseHTTPRequestHandler, start: int) -> None:
        head(request, 200, len(CONTENT))
        request.wfile.write(CONTENT[:500_000])
        request.wfile.flush()
        publisher.released.wait(30)

    publisher = publish(stalling, resuming)
    get(publisher, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(publisher.ranges) == 2


def test_a_wrong_checksum_is_refused_and_leaves_nothing(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    with pytest.raises(DownloadError, match=r"data\.bin: checksum is sha256:.*expected sha256:.*RELU_DATA_MIRROR"):
        get(publish(lying), tmp_path / "data.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_server_and_none_at_all_are_one_clear_line(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    publisher = publish(failing)
    with pytest.raises(DownloadError, match=r"answered 503 .*\(2 attempts\).*RELU_DATA_MIRROR.*make demo"):
        get(publisher, tmp_path / "data.bin", attempts=2)
    publisher.server.shutdown()
    publisher.server.server_close()
    with pytest.raises(DownloadError, match="no connection"):
        get(publisher, tmp_path / "data.bin", attempts=1)


def test_a_part_that_is_too_long_is_no_dead_end(tmp_path: Path, publish: Callable[..., Publisher]) -> None:
    def refusing_range(request: BaseHTTPRequestHandler, start: int) -> None:
        request.send_response(416)
        request.send_header("Content-Length", "0")
        request.end_headers()

    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"x")
    with pytest.raises(DownloadError, match="discarded"):
        get(publish(refusing_range), tmp_path / "data.bin")
    get(publish(whole), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
