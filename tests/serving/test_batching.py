"""RequestQueue, Slots and WorkPool: order, bounds, load shedding, and that every caller gets one outcome."""

import asyncio
import gc
import math
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from serving.batching import INTERVAL_S, MAX_PAUSE_S, PAUSE_FACTOR, RELAPSE_S, RequestQueue, Slots, WorkPool
from serving.errors import RequestError, overloaded
from serving.settings import QueueSettings

LIMITS = QueueSettings(max_requests=100, max_batches=8, max_depth=8, min_depth=2, micro_batch_size=1)
TIMEOUT_S = 10

both_batch_sizes = pytest.mark.parametrize("batch_size", [1, 4])
inline_and_in_a_thread = pytest.mark.parametrize("threaded", [False, True], ids=["inline", "thread"])


class Panic(BaseException):
    """Stands for the panics of tokenizers, which is written in Rust: no subclass of Exception."""


class ManualExecutor(Executor):
    """Runs one submitted call each time the test calls `run_next`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[..., Any], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, fn, args))
        return future

    def run_next(self) -> None:
        if self.calls:
            future, fn, args = self.calls.pop(0)
            future.set_result(fn(*args))


@dataclass
class Clock:
    """Replaces the monotonic clock of `serving.batching`."""

    now_s: float = 0.0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("serving.batching.time", SimpleNamespace(monotonic=lambda: self.now_s))

    def next_interval(self) -> None:
        self.now_s += INTERVAL_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.install(monkeypatch)
    return clock


def new_queue(
    execute: Callable[[list[Any]], list[Any]], batch_size: int = 1, executor: Executor | None = None
) -> RequestQueue[Any, Any]:
    return RequestQueue(execute, LIMITS, batch_size, executor)


def optional_thread(threaded: bool) -> Any:
    return ThreadPoolExecutor(1) if threaded else nullcontext()


async def settle() -> None:
    """Let the event loop run everything that is ready."""
    for _ in range(10):
        await asyncio.sleep(0)


async def run_all(queue: RequestQueue[Any, Any], executor: ManualExecutor) -> None:
    while queue.busy:
        executor.run_next()
        await settle()


async def request(queue: RequestQueue[Any, Any], item: Any) -> Any:
    """Ask as the middleware does before it reads a body, then submit as the endpoint does."""
    if queue.should_shed():
        raise overloaded()
    return await queue.submit(item)


async def outcome(task: "asyncio.Task[Any]") -> Any:
    """Return the result, the status of a RequestError, the type of another exception, or "cancelled"."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await task
    except RequestError as error:
        return error.status
    except asyncio.CancelledError:
        return "cancelled"
    except Exception as error:
        return type(error)


class Load:
    """Requests to a queue whose runs the test makes; with many at once, the first one is always being run."""

    def __init__(self, batch_size: int = 1) -> None:
        self.executor = ManualExecutor()
        self.queue = new_queue(list, batch_size, self.executor)
        self.tasks: list[asyncio.Task[int]] = []

    async def send(self, count: int) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(request(self.queue, len(self.tasks))))
            await settle()

    async def answer(self, runs: int) -> None:
        for _ in range(runs):
            self.executor.run_next()
            await settle()

    async def outcomes(self) -> list[Any]:
        """Answer all that wait, and return the outcomes since the last call."""
        await run_all(self.queue, self.executor)
        outcomes = [await outcome(task) for task in self.tasks]
        self.tasks = []
        return outcomes

    async def overload(self, clock: Clock) -> list[Any]:
        """Fill the queue, and let it stand; one more request then begins a pause. Return the outcomes."""
        await self.send(1 + LIMITS.max_depth)
        clock.now_s += 1.01 * INTERVAL_S
        await self.send(1)
        return await self.outcomes()

    async def answered(self, count: int) -> int:
        """Of so many requests that come at once."""
        await self.send(count)
        return count - (await self.outcomes()).count(429)


@both_batch_sizes
@inline_and_in_a_thread
@given(items=st.lists(st.integers(), max_size=LIMITS.max_depth))
def test_items_are_run_once_in_the_order_of_arrival_and_each_caller_gets_its_result(
    batch_size: int, threaded: bool, items: list[int]
) -> None:
    runs: list[list[int]] = []

    def execute(batch: list[int]) -> list[str]:
        runs.append(batch)
        return [f"result of {item}" for item in batch]

    async def submit_all() -> list[str]:
        with optional_thread(threaded) as executor:
            queue = new_queue(execute, batch_size, executor)
            return await asyncio.gather(*map(queue.submit, items))

    assert asyncio.run(submit_all()) == [f"result of {item}" for item in items]
    assert [item for run in runs for item in run] == items
    assert all(1 <= len(run) <= batch_size for run in runs)


ACTIONS = ["run", "interval passes", "cancel oldest", "cancel newest"]
FAULTS = {"exception": ValueError("broken"), "panic": Panic(), "own error": RequestError(400, "odd", "Odd.")}
EXPECTED = {"exception": ValueError, "panic": RuntimeError, "own error": 400, "too few results": AssertionError}
KINDS = ["good"] * 8 + list(EXPECTED)


def execute_with_faults(batch: list[tuple[int, str]]) -> list[Any]:
    """Return an item's number, or fail as its kind says: it alone ("own error"), or the whole run."""
    for _, kind in batch:
        if kind in ("exception", "panic"):
            raise FAULTS[kind]
    results: list[Any] = [FAULTS[kind] if kind == "own error" else number for number, kind in batch]
    return results[:-1] if any(kind == "too few results" for _, kind in batch) else results


async def play(
    actions: list[tuple[str, str]], queue: RequestQueue[Any, Any], executor: ManualExecutor, clock: Clock
) -> list[Any]:
    """Return the outcome of each request; their items are numbered from 0."""
    tasks: list[asyncio.Task[Any]] = []
    for action, kind in actions:
        pending = [task for task in tasks if not task.done()]
        if action == "request":
            tasks.append(asyncio.create_task(request(queue, (len(tasks), kind))))
        elif action == "run":
            executor.run_next()
        elif action == "interval passes":
            clock.next_interval()
        elif pending:
            pending[0 if action == "cancel oldest" else -1].cancel()
        await settle()
        assert len(queue.waiting) <= LIMITS.max_depth
    await run_all(queue, executor)
    return [await outcome(task) for task in tasks]


@both_batch_sizes
@given(actions=st.lists(st.tuples(st.sampled_from(["request"] * 4 + ACTIONS), st.sampled_from(KINDS)), max_size=60))
def test_whatever_happens_every_caller_gets_one_outcome_and_the_depth_stays_bounded(
    batch_size: int, actions: list[tuple[str, str]]
) -> None:
    batches: list[list[tuple[int, str]]] = []

    def execute(batch: list[tuple[int, str]]) -> list[Any]:
        batches.append(batch)
        return execute_with_faults(batch)

    async def outcomes() -> list[Any]:
        executor = ManualExecutor()
        return await play(actions, new_queue(execute, batch_size, executor), executor, clock)

    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        clock.install(patch)
        found = dict(enumerate(asyncio.run(outcomes())))
    run = [number for batch in batches for number, _ in batch]
    assert run == sorted(set(run))  # the oldest first, none twice
    for batch in batches:
        possible = {EXPECTED[kind] for _, kind in batch if kind != "good"}
        assert all(found[number] in {number, "cancelled", *possible} for number, _ in batch)
    assert {found[number] for number in found if number not in run} <= {429, "cancelled"}
    if not {"cancel oldest", "cancel newest"} & {action for action, _ in actions}:
        assert "cancelled" not in found.values()


def test_a_burst_is_no_overload(clock: Clock) -> None:
    async def outcomes() -> list[list[Any]]:
        load = Load()
        found = []
        for _ in range(3):
            await load.send(11)
            found.append(await load.outcomes())
            clock.next_interval()
        return found

    assert asyncio.run(outcomes()) == [[*range(9), 429, 429]] * 3


@pytest.mark.parametrize(("batch_size", "kept"), [(1, LIMITS.min_depth), (4, 4)])
def test_a_queue_that_is_full_and_stands_is_cut_to_its_newest(clock: Clock, batch_size: int, kept: int) -> None:
    """To `min_depth` of them, or to what one run takes if that is more."""

    async def outcomes() -> list[Any]:
        return await Load(batch_size).overload(clock)

    assert asyncio.run(outcomes()) == [0, *[429] * (8 - kept), *range(9 - kept, 9), 429]


@pytest.mark.parametrize("intervals", [1.0, 1.5, 100])
def test_it_is_cut_however_long_no_request_came_and_however_long_a_run_takes(clock: Clock, intervals: float) -> None:
    async def waiting() -> int:
        load = Load()
        await load.send(1 + LIMITS.max_depth)
        clock.now_s += intervals * INTERVAL_S
        await load.send(1)
        found = len(load.queue.waiting)
        await load.outcomes()
        return found

    assert asyncio.run(waiting()) == LIMITS.min_depth


@pytest.mark.parametrize(("count", "intervals"), [(8, 1.0), (9, 0.9)], ids=["has room", "full for less"])
def test_a_queue_is_not_cut_before_it_is_full_and_has_stood_for_an_interval(
    clock: Clock, count: int, intervals: float
) -> None:
    async def waiting() -> int:
        load = Load()
        await load.send(count)
        clock.now_s += intervals * INTERVAL_S
        await load.send(1)
        found = len(load.queue.waiting)
        await load.outcomes()
        return found

    assert asyncio.run(waiting()) == LIMITS.max_depth


def test_bursts_to_a_queue_that_is_empty_in_between_are_no_overload_however_often_they_come(clock: Clock) -> None:
    """Each takes more than half of the time until the next, and is too large for the queue."""

    async def answered() -> list[int]:
        load = Load()
        found = []
        for _ in range(20):
            await load.send(6)
            clock.now_s += 0.2 * INTERVAL_S
            await load.send(6)
            clock.now_s += 0.8 * INTERVAL_S
            outcomes = await load.outcomes()
            found.append(len(outcomes) - outcomes.count(429))
            clock.now_s += 0.6 * INTERVAL_S
        return found

    assert asyncio.run(answered()) == [1 + LIMITS.max_depth] * 20


def test_a_queue_as_small_as_one_run_is_not_paused(clock: Clock) -> None:
    """With micro-batches the smallest depth may be the largest."""

    async def pause_end_s() -> float:
        load = Load(batch_size=LIMITS.max_depth)
        outcomes = await load.overload(clock)
        assert 429 in outcomes
        return load.queue.pause_end_s

    assert asyncio.run(pause_end_s()) == -math.inf


def test_few_may_wait_until_the_pause_ends(clock: Clock) -> None:
    """One more than the depth is answered: the first goes to the model."""

    async def answered() -> list[int]:
        load = Load()
        await load.overload(clock)
        found = [await load.answered(12)]
        clock.now_s += 0.9 * INTERVAL_S
        found.append(await load.answered(12))
        clock.now_s += 0.2 * INTERVAL_S
        return [*found, await load.answered(12)]

    assert asyncio.run(answered()) == [1 + LIMITS.min_depth, 1 + LIMITS.min_depth, 1 + LIMITS.max_depth]


def pauses_s(clock: Clock, calm_s: float, overloads: int) -> list[float]:
    """Return how long the pause after each overload is; the next begins `calm_s` after its end."""

    async def lengths() -> list[float]:
        load = Load()
        found = []
        for _ in range(overloads):
            await load.overload(clock)
            began_s = clock.now_s
            found.append(load.queue.pause_end_s - began_s)
            clock.now_s = load.queue.pause_end_s + calm_s
        return found

    return asyncio.run(lengths())


def test_an_overload_that_goes_on_makes_the_pauses_longer_up_to_a_limit(clock: Clock) -> None:
    expected = [min(INTERVAL_S * PAUSE_FACTOR**number, MAX_PAUSE_S) for number in range(8)]
    assert pauses_s(clock, 0.0, 8) == pytest.approx(expected)


def test_an_overload_that_comes_later_begins_with_a_short_pause(clock: Clock) -> None:
    assert pauses_s(clock, RELAPSE_S, 3) == pytest.approx([INTERVAL_S] * 3)


def test_of_all_that_arrive_in_one_turn_of_the_loop_only_those_with_room_may_wait() -> None:
    """Also when none of them is shed on arrival, for their bodies are read before they wait."""

    async def outcomes() -> list[Any]:
        executor = ManualExecutor()
        queue = new_queue(list, 1, executor)
        assert [queue.should_shed() for _ in range(12)] == [False] * 12
        tasks = [asyncio.create_task(queue.submit(item)) for item in range(12)]
        await settle()
        await run_all(queue, executor)
        return [await outcome(task) for task in tasks]

    assert asyncio.run(outcomes()) == [*range(8), 429, 429, 429, 429]


def test_results_are_sent_before_the_next_run_begins() -> None:
    events: list[str] = []

    def execute(batch: list[int]) -> list[int]:
        events.extend(f"run {item}" for item in batch)
        return batch

    async def submit(queue: RequestQueue[int, int], item: int) -> None:
        await queue.submit(item)
        asyncio.get_running_loop().call_soon(events.append, f"sent {item}")  # as transports do it

    async def submit_all() -> None:
        queue = new_queue(execute)
        await asyncio.gather(*(submit(queue, item) for item in range(3)))
        await settle()

    asyncio.run(submit_all())
    assert events == [f"{event} {item}" for item in range(3) for event in ("run", "sent")]


def outcomes_of_eight(execute: Callable[[list[int]], list[Any]], batch_size: int, threaded: bool) -> list[Any]:
    async def outcomes() -> list[Any]:
        with optional_thread(threaded) as executor:
            queue = new_queue(execute, batch_size, executor)
            tasks = [asyncio.create_task(queue.submit(item)) for item in range(8)]
            return [await outcome(task) for task in tasks]

    return asyncio.run(outcomes())


@both_batch_sizes
@inline_and_in_a_thread
@pytest.mark.parametrize(("error", "expected"), [(ValueError("broken"), ValueError), (Panic(), RuntimeError)])
def test_an_exception_or_panic_of_a_run_is_raised_to_the_callers_of_that_run_alone(
    batch_size: int, threaded: bool, error: BaseException, expected: type[Exception]
) -> None:
    def execute(batch: list[int]) -> list[int]:
        if 0 in batch:
            raise error
        return batch

    found = outcomes_of_eight(execute, batch_size, threaded)
    assert found == [expected] * batch_size + list(range(batch_size, 8))


@both_batch_sizes
@inline_and_in_a_thread
def test_a_run_with_too_few_results_is_an_error_of_its_callers_alone(batch_size: int, threaded: bool) -> None:
    found = outcomes_of_eight(lambda batch: batch[1:] if 0 in batch else batch, batch_size, threaded)
    assert found == [AssertionError] * batch_size + list(range(batch_size, 8))


@both_batch_sizes
@inline_and_in_a_thread
def test_an_exception_as_a_result_is_raised_to_its_own_caller_alone(batch_size: int, threaded: bool) -> None:
    def execute(batch: list[int]) -> list[Any]:
        return [RequestError(400, "odd", "Odd.") if item % 2 else item for item in batch]

    assert outcomes_of_eight(execute, batch_size, threaded) == [0, 400, 2, 400, 4, 400, 6, 400]


def shut_down() -> Executor:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    return executor


def broken_threads() -> Executor:
    def fail() -> None:
        raise OSError("no memory")

    return ThreadPoolExecutor(1, initializer=fail)


class CancellingExecutor(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.cancel()
        return future


@pytest.mark.parametrize("make", [shut_down, broken_threads, CancellingExecutor])
def test_every_caller_gets_an_error_if_no_thread_can_run_the_model(make: Callable[[], Executor]) -> None:
    async def outcomes() -> list[Any]:
        queue = new_queue(list, 1, make())
        tasks = [asyncio.create_task(queue.submit(item)) for item in range(3)]
        return [await outcome(task) for task in tasks]

    assert all(issubclass(found, Exception) and found is not TimeoutError for found in asyncio.run(outcomes()))


@both_batch_sizes
def test_requests_of_callers_that_gave_up_are_not_run(batch_size: int) -> None:
    run: list[int] = []

    def execute(batch: list[int]) -> list[int]:
        run.extend(batch)
        return batch

    async def outcomes() -> list[Any]:
        executor = ManualExecutor()
        queue = new_queue(execute, batch_size, executor)
        tasks = []
        for item in range(8):
            tasks.append(asyncio.create_task(queue.submit(item)))
            await settle()
        for task in tasks[2:7]:
            task.cancel()
        await settle()
        await run_all(queue, executor)
        return [await outcome(task) for task in tasks]

    assert asyncio.run(outcomes()) == [0, 1, *["cancelled"] * 5, 7]
    assert run == [0, 1, 7]


def test_slots_are_refused_when_all_are_taken_and_given_back_whatever_happens() -> None:
    slots = Slots(2)
    with slots, slots:
        with pytest.raises(RequestError) as caught:
            with slots:
                pytest.fail("a third slot of two")
        assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
        assert slots.used == 2
    with pytest.raises(ValueError, match="broken"):
        with slots:
            raise ValueError("broken")
    assert slots.used == 0


class FakeClient:
    """`receive` of a request whose body has been read: it waits until the client leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.stray_messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Message:
        if self.stray_messages:
            return self.stray_messages.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Work for a WorkPool that goes on until `release`, or for as long as somebody waits for it."""

    def __init__(self) -> None:
        self.began = Event()
        self.release = Event()
        self.abandoned = Event()

    def __call__(self, given_up: Event) -> str:
        self.began.set()
        while not self.release.wait(0.001):
            if given_up.is_set():
                self.abandoned.set()
                return "abandoned"
        return "done"


async def happens(event: Event) -> bool:
    return await asyncio.to_thread(event.wait, TIMEOUT_S)


def test_work_is_done_in_the_order_of_arrival() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return -number

    async def run_all_work() -> list[int]:
        pool = WorkPool(1)
        return await asyncio.gather(
            *(pool.run(lambda given_up, number=number: work(number), FakeClient().receive) for number in range(20))
        )

    assert asyncio.run(run_all_work()) == [-number for number in range(20)]
    assert done == list(range(20))


@pytest.mark.parametrize(
    ("error", "expected"), [(RequestError(400, "odd", "Odd."), 400), (OSError(), OSError), (Panic(), RuntimeError)]
)
def test_what_work_raises_is_raised_to_its_caller(error: BaseException, expected: Any) -> None:
    def work(given_up: Event) -> None:
        raise error

    async def run() -> Any:
        pool = WorkPool(1)
        failed = await outcome(asyncio.ensure_future(pool.run(work, FakeClient().receive)))
        return failed, await pool.run(lambda given_up: "next", FakeClient().receive)

    assert asyncio.run(run()) == (expected, "next")


def leave(client: FakeClient, task: "asyncio.Task[str]") -> None:
    client.left.set()


def cancel(client: FakeClient, task: "asyncio.Task[str]") -> None:
    task.cancel()  # as a deadline does


endings = pytest.mark.parametrize(("end", "expected"), [(leave, ClientDisconnect), (cancel, "cancelled")])


class Body:
    """Of a request; its work refers to it."""


@endings
def test_work_that_is_dropped_before_it_begins_holds_its_body_no_longer(
    end: Callable[[FakeClient, "asyncio.Task[str]"], None], expected: object
) -> None:
    async def run() -> tuple[Any, bool]:
        pool, running, client = WorkPool(1), Work(), FakeClient()
        first = asyncio.ensure_future(pool.run(running, FakeClient().receive))
        await happens(running.began)
        body = Body()
        held = weakref.ref(body)
        second = asyncio.ensure_future(pool.run(lambda given_up, body=body: repr(body), client.receive))
        del body
        await asyncio.sleep(0)
        end(client, second)
        dropped = await outcome(second)
        del second
        await asyncio.sleep(0)
        gc.collect()
        is_held = held() is not None
        running.release.set()
        await first
        return dropped, is_held

    assert asyncio.run(run()) == (expected, False)


@endings
def test_running_work_is_told_that_nobody_waits_for_it(end: Callable[..., None], expected: Any) -> None:
    async def run() -> tuple[Any, bool]:
        work, client = Work(), FakeClient()
        task = asyncio.create_task(WorkPool(1).run(work, client.receive))
        assert await happens(work.began)
        assert not work.abandoned.is_set()
        end(client, task)
        return await outcome(task), await happens(work.abandoned)

    assert asyncio.run(run()) == (expected, True)


@endings
def test_work_that_waits_never_begins_once_nobody_waits_for_it(end: Callable[..., None], expected: Any) -> None:
    async def run() -> tuple[Any, str, str, bool]:
        pool, first, second, client = WorkPool(1), Work(), Work(), FakeClient()
        running = asyncio.create_task(pool.run(first, FakeClient().receive))
        assert await happens(first.began)
        waiting = asyncio.create_task(pool.run(second, client.receive))
        await settle()
        end(client, waiting)
        found = await outcome(waiting)
        first.release.set()
        last = await pool.run(lambda given_up: "last", FakeClient().receive)
        return found, await running, last, second.began.is_set()

    assert asyncio.run(run()) == (expected, "done", "last", False)
