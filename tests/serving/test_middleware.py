"""ServiceMiddleware in front of a small Starlette application and a stand-in for BentoML, message by message."""

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from serving.app import answer_bug, answer_disconnect, answer_http_exception, answer_request_error
from serving.batching import RequestQueue, Slots
from serving.drain import Drain
from serving.errors import RequestError
from serving.middleware import BENTOML_PATHS, CLIENT_LEFT, HOLD_S, PUBLIC_PATHS, Intake, ServiceMiddleware
from serving.settings import QueueSettings
from tests.serving.asgi import Exchange, Headers, Request, Response

KEY = "the-Key-1"
MAX_BYTES = 100
BUFFERED_BYTES = 250
SLOTS = 3
TIMEOUT_S = 10
TEXT = [("Content-Type", "text/plain")]
READ = Request(path="/read")
REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


class Service:
    """The middleware, the application behind it, and what has reached that."""

    def __init__(self, **changes: Any) -> None:
        self.bentoml_requests: list[str] = []
        self.release = asyncio.Event()
        self.slots = Slots(SLOTS)
        self.drain = Drain(0, 1, lambda: self.slots.used)
        self.intakes = {
            path: Intake(("text/plain", "image/"), MAX_BYTES, self.slots)
            for path in ("/echo", "/stream", "/wait", "/broken", "/odd")
        }
        self.options: dict[str, Any] = {
            "key": None,
            "deadline_s": TIMEOUT_S,
            "buffered_bytes": BUFFERED_BYTES,
            "access_log": False,
        }
        self.middleware = ServiceMiddleware(
            self.bentoml, self.application(), self.intakes, self.drain, **self.options | changes
        )

    def application(self) -> Starlette:
        async def read(request: StarletteRequest) -> StarletteResponse:
            return StarletteResponse("read")

        async def echo(request: StarletteRequest) -> StarletteResponse:
            return StarletteResponse(await request.body())

        async def stream(request: StarletteRequest) -> StarletteResponse:
            return StarletteResponse(str([len(chunk) async for chunk in request.stream()]))

        async def wait(request: StarletteRequest) -> StarletteResponse:
            await request.body()
            await self.release.wait()
            return StarletteResponse("released")

        async def broken(request: StarletteRequest) -> StarletteResponse:
            raise ZeroDivisionError

        async def odd(request: StarletteRequest) -> StarletteResponse:
            raise RequestError(400, "odd", "The number is odd.", {"X-Number": "3"})

        return Starlette(
            routes=[
                Route("/read", read),
                Route("/broken_read", broken),
                *(
                    Route(f"/{endpoint.__name__}", endpoint, methods=["POST"])
                    for endpoint in (echo, stream, wait, broken, odd)
                ),
            ],
            exception_handlers={
                RequestError: answer_request_error,
                HTTPException: answer_http_exception,
                ClientDisconnect: answer_disconnect,
                Exception: answer_bug,
            },
        )

    async def bentoml(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bentoml_requests.append(scope.get("path", scope["type"]))
        if scope["type"] == "http":
            await StarletteResponse("BentoML")(scope, receive, send)

    async def __call__(self, request: Request) -> Response:
        return await Exchange(request).run(self.middleware)

    async def until_waiting(self, count: int) -> None:
        """Wait until so many requests wait for `release`, with their bodies read."""
        while self.slots.used < count:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)


def post(path: str = "/echo", body: bytes | Sequence[bytes] = b"body", headers: Headers = TEXT, **more: Any) -> Request:
    return Request("POST", path, headers, [body] if isinstance(body, bytes) else body, **more)


def ask_all(*requests: Request, **changes: Any) -> list[Response]:
    """Return the responses to requests that come one after the other, to a service with the given options."""

    async def run() -> list[Response]:
        service = Service(**changes)
        return [await service(request) for request in requests]

    return asyncio.run(run())


def ask(request: Request, **changes: Any) -> Response:
    return ask_all(request, **changes)[0]


def summary(response: Response) -> tuple[int, str]:
    return response.status, response.error["code"]


def count(name: str, **labels: object) -> float:
    return REGISTRY.get_sample_value(name, {label: str(value) for label, value in labels.items()}) or 0.0


# Request ids


@pytest.mark.parametrize("given_id", ["a", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "a_b.c:d/e+f=g@h", "x" * 128])
def test_a_request_id_is_taken_from_the_request(given_id: str) -> None:
    response = ask(Request(path="/read", headers=[("X-Request-ID", given_id)]))
    assert (response.status, response.header("x-request-id")) == (200, given_id)


@pytest.mark.parametrize("given_id", [None, "", "x" * 129, "a b", "a\tb", 'a"b', "é", "a,b", "a\n"])
def test_a_request_id_is_made_if_there_is_none_or_a_bad_one(given_id: str | None) -> None:
    headers = [] if given_id is None else [("X-Request-ID", given_id)]
    ids = [response.header("x-request-id") for response in ask_all(*[Request(path="/read", headers=headers)] * 2)]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    assert ids[0] != ids[1]


def test_an_error_of_the_open_inference_protocol_has_its_form() -> None:
    response = ask(Request(path="/v2/nothing"))
    assert response.status == 404
    assert json.loads(response.body) == {"error": "/v2/nothing does not exist; /docs lists the endpoints."}


ERRORS = {
    "middleware": post(headers=[("X-Request-ID", "id-1")]),
    "endpoint": post("/odd", headers=[*TEXT, ("X-Request-ID", "id-1")]),
    "router": Request(path="/nothing", headers=[("X-Request-ID", "id-1")]),
}


@pytest.mark.parametrize("request_", ERRORS.values(), ids=ERRORS)
def test_an_error_has_the_request_id_in_its_body_and_header(request_: Request) -> None:
    response = ask(request_)
    assert response.status >= 400
    assert response.error["request_id"] == response.header("x-request-id") == "id-1"


# The key


@pytest.mark.parametrize(
    "authorization",
    [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}", f"Bearer  {KEY}", f"Bearer {KEY} ", f" Bearer {KEY}"],
)
def test_the_key_is_accepted_however_its_header_is_spaced(authorization: str) -> None:
    assert ask(Request(path="/read", headers=[("Authorization", authorization)]), key=KEY).status == 200


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    KEY,
    f"Basic {KEY}",
    f"Bearer{KEY}",
    f"Bearer {KEY[:-1]}",
    f"Bearer {KEY}1",
    f"Bearer {KEY.swapcase()}",
    f"Bearer {KEY} {KEY}",
    f"Bearer {KEY}, Bearer {KEY}",
    "Bearer Schlüssel",
    "Bearer " + "a" * 10_000,
]


@pytest.mark.parametrize("path", ["/read", "/nothing", "/classify_text", "/metrics", "/static", "/livez/"])
@pytest.mark.parametrize("authorization", WRONG)
def test_every_path_that_is_not_public_wants_the_key(authorization: str | None, path: str) -> None:
    headers = [] if authorization is None else [("Authorization", authorization)]
    response = ask(Request(path=path, headers=headers), key=KEY)
    assert summary(response) == (401, "unauthorized")
    assert response.header("www-authenticate") == "Bearer"


def test_a_body_is_not_read_without_the_key() -> None:
    response = ask(post(), key=KEY)
    assert (response.status, response.received) == (401, 0)


@pytest.mark.parametrize("path", [*PUBLIC_PATHS, "/static/app.js", "/static_content/swagger-ui.css"])
def test_a_public_path_wants_no_key(path: str) -> None:
    assert ask(Request(path=path), key=KEY).status in (200, 404)  # this application does not have them all


def test_without_a_key_everybody_may_ask() -> None:
    assert ask(READ, key=None).status == 200


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append({one, other})
        return False

    monkeypatch.setattr("serving.middleware.hmac.compare_digest", compare)
    response = ask(Request(path="/read", headers=[("Authorization", f"Bearer {KEY}")]), key=KEY)
    assert response.status == 401
    assert compared == [{KEY.encode()}]


# The head: Host, Upgrade, media type, encoding


@pytest.mark.parametrize("hosts", [(), ("one", "two"), ("one", "one")])
def test_a_request_has_one_host(hosts: tuple[str, ...]) -> None:
    assert summary(ask(Request(path="/read", hosts=hosts))) == (400, "invalid_http")


def test_http_1_0_needs_no_host() -> None:
    assert ask(Request(path="/read", hosts=(), http_version="1.0")).status == 200


@pytest.mark.parametrize("length", [("Content-Length", "4"), ("Transfer-Encoding", "chunked")])
def test_an_offer_to_upgrade_with_a_body_is_refused_and_ends_the_connection(length: tuple[str, str]) -> None:
    """Or uvicorn could take the body for the next request."""
    offer = [("Connection", "Upgrade"), ("Upgrade", "h2c"), length]
    response = ask(post(headers=[*TEXT, *offer]))
    assert summary(response) == (400, "invalid_http")
    assert (response.header("connection"), response.received) == ("close", 0)


@pytest.mark.parametrize("more", [[], [("Content-Length", "0")]])
def test_an_offer_to_upgrade_without_a_body_is_ignored(more: list[tuple[str, str]]) -> None:
    assert ask(Request(path="/read", headers=[("Upgrade", "h2c"), *more])).status == 200


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding", "Authorization"])
def test_a_header_that_decides_how_a_request_is_admitted_comes_once(name: str) -> None:
    """Or what the middleware checks could be another than what the endpoint reads."""
    assert summary(ask(post(headers=[*TEXT, (name, "a"), (name, "text/plain")]))) == (400, "invalid_http")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "TEXT/PLAIN", "text/plain; charset=utf-8", " text/plain ;", "image/png", "Image/x"]
)
def test_a_media_type_is_accepted_in_any_case_and_with_parameters(content_type: str) -> None:
    assert ask(post(headers=[("Content-Type", content_type)])).body == b"body"


@pytest.mark.parametrize(
    "content_type", [None, "", "text/html", "text", "text/", "image", "images/png", "text/plainer", "é"]
)
def test_another_media_type_is_refused_before_the_body_is_read(content_type: str | None) -> None:
    response = ask(post(headers=[] if content_type is None else [("Content-Type", content_type)]))
    assert summary(response) == (415, "unsupported_media_type")
    assert "send text/plain or image/*" in response.error["message"]
    assert response.received == 0


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, gzip", "é"])
def test_a_compressed_body_is_refused_before_it_is_read(encoding: str) -> None:
    response = ask(post(headers=[*TEXT, ("Content-Encoding", encoding)]))
    assert summary(response) == (415, "unsupported_media_type")
    assert (response.header("accept-encoding"), response.received) == ("identity", 0)


@pytest.mark.parametrize("encoding", ["identity", "Identity"])
def test_the_encoding_identity_is_accepted(encoding: str) -> None:
    assert ask(post(headers=[*TEXT, ("Content-Encoding", encoding)])).status == 200


# The size of bodies


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read() -> None:
    response = ask(post(headers=[*TEXT, ("Content-Length", str(MAX_BYTES + 1))]))
    assert summary(response) == (413, "body_too_large")
    assert response.received == 0


@pytest.mark.parametrize("declared", [None, "1", str(MAX_BYTES)])
@pytest.mark.parametrize("path", ["/echo", "/stream"])
def test_a_body_that_turns_out_too_large_is_refused_whatever_its_header_declares(
    path: str, declared: str | None
) -> None:
    headers = TEXT if declared is None else [*TEXT, ("Content-Length", declared)]
    response = ask(post(path, [b"x" * 40] * 100, headers))
    assert summary(response) == (413, "body_too_large")
    assert response.received == 120  # the chunk that is too much is the last one to be read


@pytest.mark.parametrize("declared", [[], [("Content-Length", str(MAX_BYTES))]])
def test_a_body_of_the_largest_size_is_accepted(declared: Headers) -> None:
    response = ask(post(body=[b"x" * 99, b"y"], headers=[*TEXT, *declared]))
    assert response.body == b"x" * 99 + b"y"


def test_all_bodies_together_are_bounded_and_their_bytes_are_given_back() -> None:
    async def statuses() -> tuple[list[int], str, int]:
        service = Service()
        waiting = [asyncio.create_task(service(post("/wait", b"x" * MAX_BYTES))) for _ in range(2)]
        await service.until_waiting(2)
        refused = await service(post(body=b"x" * 51))
        accepted = await service(post(body=b"x" * 50))
        service.release.set()
        found = [refused, accepted, *await asyncio.gather(*waiting), await service(post(body=b"x" * 51))]
        return [response.status for response in found], refused.error["code"], service.middleware.budget.used

    assert asyncio.run(statuses()) == ([429, 200, 200, 200, 200], "overloaded", 0)


# Load


def test_requests_above_the_number_of_slots_are_refused_and_slots_are_given_back() -> None:
    async def run() -> tuple[list[int], Response]:
        service = Service()
        waiting = [asyncio.create_task(service(post("/wait"))) for _ in range(SLOTS)]
        await service.until_waiting(SLOTS)
        refused = await service(post())
        read = await service(READ)
        service.release.set()
        found = [*await asyncio.gather(*waiting), read, await service(post())]
        return [response.status for response in found], refused

    statuses, refused = asyncio.run(run())
    assert statuses == [200] * (SLOTS + 2)
    assert summary(refused) == (429, "overloaded")
    assert (refused.header("retry-after"), refused.received) == ("1", 0)


def full_queue() -> RequestQueue[Any, Any]:
    """Return one that never runs: a request is taken, and as many wait as may."""
    limits = QueueSettings(max_requests=9, max_batches=9, max_depth=1, min_depth=1, micro_batch_size=1)
    queue: RequestQueue[Any, Any] = RequestQueue(list, limits)
    queue.waiting.append(("item", asyncio.get_running_loop().create_future()))
    return queue


def test_requests_for_a_full_queue_are_refused_before_their_bodies_are_read() -> None:
    async def run() -> list[Response]:
        service = Service()
        service.intakes["/echo"] = Intake(("text/plain",), MAX_BYTES, service.slots, full_queue())
        return [await service(post()), await service(post("/stream"))]

    refused, other = asyncio.run(run())
    assert summary(refused) == (429, "overloaded")
    assert (refused.header("retry-after"), refused.received) == ("1", 0)
    assert other.status == 200


def test_a_refusal_for_overload_is_held_back_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < HOLD_S[0] < HOLD_S[1]
    monkeypatch.setattr("serving.middleware.HOLD_S", (0.3, 0.4))

    async def duration_s(service: Service, **more: Any) -> float:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        await service(post(**more))
        return loop.time() - started_s

    async def durations_s() -> list[float]:
        service = Service()
        other_s = [await duration_s(service, headers=[]), await duration_s(service, path="/odd")]
        service.slots.limit = 0
        return [await duration_s(service), *other_s]

    overloaded_s, *other_s = asyncio.run(durations_s())
    assert overloaded_s >= 0.3
    assert max(other_s) < 0.3


# The deadline


def test_a_body_that_is_not_complete_in_time_is_the_clients_error_and_ends_the_connection() -> None:
    response = ask(post(end="stall"), deadline_s=0.05)
    assert summary(response) == (408, "request_timeout")
    assert (response.header("connection"), response.header("retry-after")) == ("close", "1")


def test_an_answer_that_is_not_ready_in_time_is_the_services_error() -> None:
    response = ask(post("/wait"), deadline_s=0.05)
    assert summary(response) == (503, "deadline_exceeded")
    assert (response.header("connection"), response.header("retry-after")) == (None, "1")


def test_a_client_that_does_not_read_its_answer_is_disconnected_at_the_deadline() -> None:
    """The exception makes uvicorn close the connection."""

    class Unread(Exchange):
        async def send(self, message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()
            await super().send(message)

    async def run() -> tuple[int, int]:
        service = Service(deadline_s=0.05)
        exchange = Unread(post())
        with pytest.raises(TimeoutError):
            await exchange.run(service.middleware)
        return len(exchange.sent), service.slots.used

    assert asyncio.run(run()) == (1, 0)


# Shutdown


def drained(requests: list[Request], refusing: bool) -> list[Response]:
    async def run() -> list[Response]:
        service = Service()
        service.drain.began = True
        service.drain.refusing = refusing
        return [await service(request) for request in requests]

    return asyncio.run(run())


def test_once_the_shutdown_has_begun_each_answer_closes_its_connection() -> None:
    requests = [post(), READ, Request(path="/nothing"), Request(path="/readyz"), post(headers=[])]
    responses = drained(requests, refusing=False)
    assert [response.status for response in responses] == [200, 200, 404, 200, 415]
    assert [response.header("connection") for response in responses] == ["close"] * len(requests)


def test_before_the_shutdown_connections_stay_open() -> None:
    assert ask(READ).header("connection") is None


def test_late_in_the_shutdown_requests_for_the_models_are_refused() -> None:
    refused, read = drained([post(), READ], refusing=True)
    assert summary(refused) == (503, "draining")
    assert (refused.header("retry-after"), refused.received) == ("1", 0)
    assert read.status == 200


# Routes


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [*BENTOML_PATHS, "/static_content/swagger-ui.css"])
def test_bentoml_answers_its_own_paths(path: str, method: str) -> None:
    async def run() -> tuple[Response, list[str]]:
        service = Service()
        return await service(Request(method, path)), service.bentoml_requests

    response, reached = asyncio.run(run())
    assert (response.status, reached) == (200, [path])
    assert response.header("x-request-id")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", BENTOML_PATHS)
def test_bentomls_paths_take_no_other_method(path: str, method: str) -> None:
    async def run() -> tuple[Response, list[str]]:
        service = Service()
        return await service(Request(method, path)), service.bentoml_requests

    response, reached = asyncio.run(run())
    assert (summary(response), response.header("allow"), reached) == ((405, "method_not_allowed"), "GET, HEAD", [])


@pytest.mark.parametrize("path", ["/classify_image", "/livez/", "/LIVEZ", "//livez", "/static_content", "/nothing"])
def test_no_other_path_reaches_bentoml(path: str) -> None:
    async def run() -> tuple[Response, list[str]]:
        service = Service()
        return await service(post(path)), service.bentoml_requests

    response, reached = asyncio.run(run())
    assert (summary(response), reached) == ((404, "not_found"), [])


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_no_http_request_goes_to_bentoml(kind: str) -> None:
    async def run() -> list[str]:
        service = Service(key=KEY)
        await service(Request(path=f"/{kind}", type=kind))
        return service.bentoml_requests

    assert asyncio.run(run()) == [f"/{kind}"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/echo", {"POST"}), ("DELETE", "/echo", {"POST"}), ("POST", "/read", {"GET", "HEAD"})],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    response = ask(Request(method, path, TEXT))
    assert summary(response) == (405, "method_not_allowed")
    assert set(response.header("allow").split(", ")) == allowed


def test_an_error_of_an_endpoint_keeps_its_status_code_message_and_headers() -> None:
    response = ask(post("/odd"))
    assert summary(response) == (400, "odd")
    assert (response.error["message"], response.header("x-number")) == ("The number is odd.", "3")


@pytest.mark.parametrize("request_", [post("/broken"), Request(path="/broken_read")], ids=["POST", "GET"])
def test_a_bug_is_answered_in_the_shape_of_all_errors_and_logged(
    request_: Request, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> tuple[Response, int, int]:
        service, exchange = Service(), Exchange(request_)
        with pytest.raises(ZeroDivisionError):  # for uvicorn, which logs its traceback
            await exchange.run(service.middleware)
        return exchange.response(), service.slots.used, service.middleware.budget.used

    response, *held = asyncio.run(run())
    assert summary(response) == (500, "internal_error")
    assert response.error["request_id"] in caplog.text
    assert held == [0, 0]


# Logs and metrics


def log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "relu_pipeline.access"]


def test_the_access_log_has_one_json_line_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask_all(post(headers=[*TEXT, ("X-Request-ID", "id-1")]), Request(path='/no"thing\n'), access_log=True)
    first, second = log_lines(caplog)
    assert first["duration_ms"] > 0
    assert first == {
        "request_id": "id-1",
        "client": "192.0.2.1",
        "method": "POST",
        "path": "/echo",
        "status": 200,
        "duration_ms": first["duration_ms"],
    }
    assert (second["method"], second["path"], second["status"]) == ("GET", '/no"thing\n', 404)
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_the_access_log_can_be_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask(post(), access_log=False)
    assert log_lines(caplog) == []


@pytest.mark.parametrize(
    ("request_", "endpoint", "status"),
    [
        (post(), "/echo", 200),
        (post(headers=[]), "/echo", 415),
        (READ, "/read", 200),
        (Request(path="/nothing/1"), "other", 404),
        (Request(path="/livez"), "other", 200),
        (post(end="disconnect"), "/echo", CLIENT_LEFT),
        (post("/stream", end="disconnect"), "/stream", CLIENT_LEFT),
    ],
)
def test_each_request_is_counted_and_timed_by_endpoint_and_status(
    request_: Request, endpoint: str, status: int
) -> None:
    def counts() -> list[float]:
        return [
            count("relu_requests_total", endpoint=endpoint, status=status),
            count("relu_request_duration_seconds_count", endpoint=endpoint),
        ]

    before = counts()
    ask(request_)
    assert counts() == [value + 1 for value in before]


def test_a_cancelled_request_is_counted_as_left_and_gives_back_what_it_held() -> None:
    async def run() -> tuple[int, int]:
        service = Service()
        task = asyncio.create_task(service(post("/wait")))
        await service.until_waiting(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return service.slots.used, service.middleware.budget.used

    before = count("relu_requests_total", endpoint="/wait", status=CLIENT_LEFT)
    assert asyncio.run(run()) == (0, 0)
    assert count("relu_requests_total", endpoint="/wait", status=CLIENT_LEFT) == before + 1


def test_paths_that_are_none_make_no_series() -> None:
    ask_all(*(Request(path=f"/unknown/{number}") for number in range(3)))
    endpoints = {
        sample.labels["endpoint"]
        for family in REGISTRY.collect()
        for sample in family.samples
        if "endpoint" in sample.labels
    }
    assert not {endpoint for endpoint in endpoints if "unknown" in endpoint}


REJECTED = {
    "unsupported_media_type": post(headers=[]),
    "body_too_large": post(body=b"x" * (MAX_BYTES + 1)),
    "odd": post("/odd"),
    "not_found": Request(path="/nothing"),
    "method_not_allowed": Request(path="/echo"),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_each_rejected_request_is_counted_once_by_its_code(reason: str) -> None:
    before = count("relu_rejected_requests_total", reason=reason)
    assert ask(REJECTED[reason]).error["code"] == reason
    assert count("relu_rejected_requests_total", reason=reason) == before + 1


# All of it


HEADERS = [
    ("Content-Type", "text/plain"),
    ("Content-Type", "image/png"),
    ("Content-Type", "multipart/form-data"),
    ("Content-Encoding", "gzip"),
    ("Content-Length", "3"),
    ("Content-Length", "1000"),
    ("Content-Length", "-1"),
    ("Transfer-Encoding", "chunked"),
    ("Upgrade", "h2c"),
    ("X-Request-ID", "a b"),
    ("X-Request-ID", "id-1"),
    ("Authorization", f"Bearer {KEY}"),
    ("Authorization", "Bearer \xff"),
    ("\xff", "\xff"),
]
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["POST"] * 6 + ["GET", "HEAD", "PUT", "OPTIONS", "get", "X"]),
    path=st.one_of(st.sampled_from(["/echo", "/stream", "/odd", "/read", "/livez", "/", "", "//echo"]), st.text()),
    headers=st.lists(st.sampled_from(HEADERS), max_size=5).map(lambda headers: [*headers, *TEXT]),
    body=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    end=st.sampled_from(["complete", "disconnect", "leave"]),
    hosts=st.sampled_from([("service",)] * 6 + [(), ("a", "b")]),
    http_version=st.sampled_from(["1.0", "1.1"]),
)


@given(requests=st.lists(REQUESTS, min_size=1, max_size=4), key=st.sampled_from([None, KEY]))
@settings(deadline=None)
def test_every_request_has_one_response_and_what_it_held_is_given_back(
    requests: list[Request], key: str | None
) -> None:
    async def run() -> list[Response]:
        service = Service(key=key)
        responses = await asyncio.gather(*map(service, requests))
        assert (service.slots.used, service.middleware.budget.used) == (0, 0)
        return responses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.middleware.HOLD_S", (0, 0))
        responses = asyncio.run(run())
    for request, response in zip(requests, responses, strict=True):
        left = request.end == "disconnect" and response.status == CLIENT_LEFT
        assert left or response.status in (200, 400, 401, 404, 405, 413, 415, 429)
        assert REQUEST_ID.fullmatch(response.header("x-request-id") or "")
        if response.status >= 400 and not left and request.method != "HEAD":
            assert response.error["request_id"] == response.header("x-request-id")
