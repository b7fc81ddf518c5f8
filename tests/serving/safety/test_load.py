"""Expensive requests leave time for the others, and no more is computed than clients wait for."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import wire
from tests.serving.safety.answers import TIMEOUT_S, Caller, refusal
from tests.serving.safety.pictures import RGB, jpeg_of_segments, photograph, picture, plain, png, scan_bomb, zeros

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SOON_S = 1.0
PAUSE_S = 0.02
BATCH_SIZE = 256


@dataclass
class Stream:
    """Statuses of requests that were sent one after the other, and the seconds that each took."""

    statuses: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)


@contextmanager
def repeating(send: Callable[[requests.Session], requests.Response], pause_s: float = 0) -> Iterator[Stream]:
    """Send requests from another thread until the block ends."""
    stream, ended = Stream(), threading.Event()

    def repeat() -> None:
        with requests.Session() as session:
            while True:
                began = time.monotonic()
                stream.statuses.add(send(session).status_code)
                stream.seconds.append(time.monotonic() - began)
                if ended.wait(pause_s):
                    return

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(repeat)
        try:
            yield stream
        finally:
            ended.set()
            sender.result()


def post_text(server: Server) -> Callable[[requests.Session], requests.Response]:
    return lambda session: session.post(f"{server.url}/classify_text", json={"text": "goal"}, timeout=TIMEOUT_S)


def post_batch(server: Server) -> Callable[[requests.Session], requests.Response]:
    files = [("images", ("a.png", plain(picture())))] * BATCH_SIZE
    return lambda session: session.post(f"{server.url}/classify_images", files=files, timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(scan_bomb(side=5000, scans=20_000), id="25-megapixels-of-20000-scans"),
        pytest.param(scan_bomb(side=256, scans=5_416), id="small-image-of-5416-scans"),
        pytest.param(jpeg_of_segments(8_388_000), id="800000-exif-segments"),
    ],
)
def test_a_jpeg_that_would_take_minutes_is_refused_at_once(server: Server, caller: Caller, content: bytes) -> None:
    with repeating(post_text(server), PAUSE_S) as others:
        for _ in range(5):
            response = caller.image(content, "image/jpeg")
            assert refusal(response) == (400, "invalid_image")
            assert response.elapsed.total_seconds() < SOON_S
        batch = caller.post("/classify_images", files=[("images", ("a.jpg", content))] * 4)
        assert {item["error"]["code"] for item in batch.json()["predictions"]} == {"invalid_image"}
        assert batch.elapsed.total_seconds() < 2 * SOON_S
    assert others.statuses == {200}
    assert max(others.seconds) < SOON_S


@pytest.mark.parametrize("count", [20, 100])
def test_photographs_that_arrive_at_once_are_all_answered(server: Server, count: int) -> None:
    """Each takes a few milliseconds: together they are no overload."""
    photographs = [photograph(seed) for seed in range(5)]
    gate = threading.Barrier(count)

    def send(number: int) -> int:
        content = photographs[number % len(photographs)]
        gate.wait()
        headers = {"Content-Type": "image/jpeg"}
        return requests.post(f"{server.url}/classify_image", content, headers=headers, timeout=TIMEOUT_S).status_code

    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(send, range(count))) == {200}


def test_a_photograph_is_answered_soon_beside_large_batches(server: Server, caller: Caller) -> None:
    content = photograph()
    with repeating(post_batch(server)) as first, repeating(post_batch(server)) as second:
        time.sleep(0.5)
        for _ in range(8):
            response = caller.image(content, "image/jpeg")
            assert response.status_code == 200
            assert response.elapsed.total_seconds() < 3 * SOON_S
            time.sleep(0.1)
    assert first.statuses == second.statuses == {200}


def test_batches_whose_clients_have_left_are_not_computed(server: Server, caller: Caller) -> None:
    """They are counted with nginx's status 499. The four batches would take 40 s of processor time."""
    large = png(2000, 2000, 8, RGB, zeros(2000 * 6001))
    files = [("images", ("a.png", large))] * BATCH_SIZE
    prepared = requests.Request("POST", server.url, files=files).prepare()
    left_before, cpu_before_s = count_left(server), cpu_s(server)
    headers = {name.replace("-", "_"): value for name, value in prepared.headers.items()}
    for _ in range(4):
        with wire.connect(server) as connection:
            connection.sendall(wire.head("/classify_images", **headers) + prepared.body)
    response = caller.image(photograph(), "image/jpeg")
    assert response.status_code == 200
    assert response.elapsed.total_seconds() < 3 * SOON_S
    end = time.monotonic() + TIMEOUT_S
    while count_left(server) != left_before + 4:
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(2 * SOON_S)
    assert cpu_s(server) - cpu_before_s < 2


def count_left(server: Server) -> float:
    """Return how many batches of images have been counted with status 499."""
    line = 'relu_requests_total{endpoint="/classify_images",status="499"} '
    shown = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    return sum(float(found.removeprefix(line)) for found in shown.splitlines() if found.startswith(line))


def cpu_s(server: Server) -> float:
    """Return the processor time that the workers have taken, in seconds."""
    return sum(worker.cpu_times().user for worker in server.workers())
