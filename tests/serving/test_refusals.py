"""What is refused before it is parsed, over real sockets: only in overload, and by the rules of every connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from types import SimpleNamespace

import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.connections import RENEWED, Connection
from serving.drain import Drain
from serving.guard import Endpoint, Guard
from serving.http import Reply, Request, json_reply
from serving.lanes import Lane
from serving.listening import LONG_NAP_S, NAP_S, Courtesy
from serving.metrics import TALLY
from serving.settings import load_settings

PATH = "/classify_text"
MAX_REQUESTS = 5
PLAIN = b"POST /classify_text HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"


async def answer(request: Request) -> Reply:
    return json_reply("long" * 8_000 if request.body == b"[]" else "parsed")


def with_header(line: bytes) -> bytes:
    return PLAIN.replace(b"Host: a", b"Host: a\r\n" + line)


@asynccontextmanager
async def listening(
    state: ServerState, lane: "Lane[int, int] | None" = None, draining: bool = False, **changes: object
) -> AsyncIterator[int]:
    """The port of a service that knows PATH alone."""
    drain = Drain(0, 1)
    drain.began = draining
    guard = Guard(answer, {PATH: Endpoint(answer, ("text/plain",), 100)}, (), "/none", None, 5, 1000, drain)
    config = Config(guard, lifespan="off", log_config=None)
    config.load()
    lanes = {PATH: lane} if lane else {}
    limits = {"deadline_s": 5.0, "max_connections": 10, "max_requests": MAX_REQUESTS, "drain": drain, "lanes": lanes}
    protocol = type("Limited", (Connection,), limits | changes)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def lane_of(waiting: int) -> Lane[int, int]:
    """One that is full if any wait."""
    lane: Lane[int, int] = Lane(list, load_settings().queue.model_copy(update={"max_waiting": 1}))
    lane.waiting.extend((number, asyncio.get_running_loop().create_future()) for number in range(waiting))
    return lane


def ask(request: bytes, times: int = 1, overloaded: bool = True, draining: bool = False) -> list[bytes]:
    """The answers of one connection, each with its head; shorter where the service closed it."""

    async def run() -> list[bytes]:
        async with listening(ServerState(), lane_of(int(overloaded)), draining) as port:
            return await converse(port, request, times)

    return asyncio.run(run())


async def converse(port: int, request: bytes, times: int) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for _ in range(times):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        answers.append(head + await reader.readexactly(length))
        if b"connection: close" in head:
            assert await reader.read() == b""
            break
    writer.close()
    return answers


def statuses(answers: list[bytes]) -> list[int]:
    return [int(one.split()[1]) for one in answers]


def test_in_overload_plain_requests_are_refused_unparsed() -> None:
    (refused,) = ask(PLAIN)
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused
    assert statuses(ask(with_header(b"Connection: keep-alive"))) == [429]


def test_without_overload_nothing_is() -> None:
    assert statuses(ask(PLAIN, overloaded=False)) == [200]


@pytest.mark.parametrize("line", [b"Connection: close", b"connection:  Close", b"Upgrade: h2c"])
def test_whatever_changes_how_a_request_is_answered_is_parsed(line: bytes) -> None:
    assert statuses(ask(with_header(line))) == [200]


LENGTHS = [b"3", b"2\r\nContent-Length: 3", b"9" * 5000, b"2, 2"]


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", *(b"Content-Length: " + one for one in LENGTHS)])
def test_a_length_in_doubt_is_no_plain_request(line: bytes) -> None:
    (answered,) = ask(with_header(line))
    assert answered.startswith(b"HTTP/1.1 400 ")


def closings(max_requests: int) -> list[int]:
    """After how many refusals of a worker in overload its client, which asks on and on, had to connect anew."""
    found, refused = [], 0

    async def run() -> None:
        nonlocal refused
        async with listening(ServerState(), lane_of(1), max_requests=max_requests, refusals=count(1)) as port:
            while refused < 3 * RENEWED:
                answers = await converse(port, PLAIN, 3 * RENEWED - refused)
                assert set(statuses(answers)) == {429}
                refused += len(answers)
                found.extend([refused] * (b"connection: close" in answers[-1]))

    asyncio.run(run())
    return found


def test_who_is_refused_may_soon_come_to_a_worker_that_has_time() -> None:
    assert closings(max_requests=1000) == [RENEWED, 2 * RENEWED, 3 * RENEWED]
    assert closings(max_requests=20)[0] == 20


def keep_little(self: Connection, transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    Connection.connection_made(self, transport)


def test_a_client_that_leaves_little_unread_is_closed_too() -> None:
    """As little as an event loop would keep without a word, behind what the kernel takes."""

    async def run() -> None:
        state = ServerState()
        async with listening(state, deadline_s=0.1, connection_made=keep_little) as port:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, PLAIN.replace(b"{}", b"[]"))
                async with asyncio.timeout(5):
                    while not state.total_requests or state.connections:
                        await asyncio.sleep(0.05)

    uvloop.run(run())


@pytest.mark.parametrize(("in_flight", "nap_s", "naps"), [(0, 0, 2), (0, 2 * LONG_NAP_S, 1), (1, 0, 0)])
def test_a_worker_leaves_others_time_to_take_the_next_connection_unless_it_or_its_core_is_busy(
    monkeypatch: pytest.MonkeyPatch, in_flight: int, nap_s: float, naps: int
) -> None:
    slept: list[float] = []
    now_s = count(1.0, nap_s)
    monkeypatch.setattr("serving.listening.time", SimpleNamespace(sleep=slept.append, monotonic=lambda: next(now_s)))
    monkeypatch.setattr(TALLY, "in_flight", in_flight)

    async def run() -> None:
        async with listening(ServerState(), courtesy=Courtesy()) as port:
            for _ in range(2):
                await converse(port, PLAIN, 1)

    asyncio.run(run())
    assert slept == [NAP_S] * naps


@pytest.mark.parametrize(("overloaded", "status"), [(False, 200), (True, 429)])
def test_a_service_that_ends_says_so_in_each_answer(overloaded: bool, status: int) -> None:
    answers = ask(PLAIN, times=2, overloaded=overloaded, draining=True)
    assert statuses(answers) == [status]
    assert b"connection: close" in answers[0]


def ask_guard(endpoint: Endpoint, key: str | None = None) -> list[dict[str, object]]:
    """What the guard sends as the answer to a GET without a key."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    receive: Callable[[], Awaitable[None]] = asyncio.Event().wait
    scope = {"type": "http", "path": "/a", "method": "GET", "headers": [(b"authorization", b"Bearer wrong")]}
    guard = Guard(answer, {"/a": endpoint}, (), "/none", key, 5, 1000, Drain(0, 1))
    asyncio.run(guard(scope, receive, send))
    return sent


def test_a_bug_of_ours_has_the_shape_of_all_errors_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Reply:
        raise ZeroDivisionError

    start, body = ask_guard(Endpoint(broken))
    assert start["status"] == 500
    assert body["body"] == b'{"error":{"code":"internal_error","message":"the service failed; its log says why"}}'
    assert "ZeroDivisionError" in caplog.text


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr("serving.guard.hmac.compare_digest", lambda one, other: compared.append((one, other)))
    start, _ = ask_guard(Endpoint(answer), key="right")
    assert start["status"] == 401
    assert compared == [(b"Bearer wrong", b"Bearer right")]
