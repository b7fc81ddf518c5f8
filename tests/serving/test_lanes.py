import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.lanes import STANDING_S, Lane
from serving.metrics import TALLY
from serving.settings import QueueSettings

LIMITS = QueueSettings(max_waiting=8, max_waiting_overloaded=2, max_waiting_bulk=8, micro_batch_rows=1)

ACTIONS = ["run", "time passes", "cancel oldest", "cancel newest"]

both_settings = pytest.mark.parametrize("rows", [1, 4])
both_places = pytest.mark.parametrize("threaded", [False, True])


class StepByStep(Executor):
    """Runs what it was given when the test says so."""

    def __init__(self) -> None:
        self.given: list[tuple[Future[Any], Callable[..., Any], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.given.append((future, fn, args))
        return future

    def step(self) -> None:
        if self.given:
            future, fn, args = self.given.pop(0)
            future.set_result(fn(*args))


@dataclass
class Clock:
    """What lanes go by, once it is installed."""

    now_s: float = 0.0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("serving.lanes.time", SimpleNamespace(monotonic=lambda: self.now_s))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.install(monkeypatch)
    return clock


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def run_out(lane: Lane[Any, Any], steps: StepByStep) -> None:
    while lane.busy:
        steps.step()
        await settle()


async def outcome(task: "asyncio.Task[Any]") -> Any:
    try:
        return await task
    except RequestError as error:
        return error.status
    except asyncio.CancelledError:
        return "cancelled"


@both_settings
@both_places
@given(items=st.lists(st.integers(), max_size=LIMITS.max_waiting))
def test_a_calm_lane_answers_each_once_and_in_order(rows: int, threaded: bool, items: list[int]) -> None:
    runs: list[list[int]] = []

    def execute(taken: list[int]) -> list[str]:
        runs.append(taken)
        return [f"answer to {item}" for item in taken]

    async def ask_all() -> list[str]:
        with ThreadPoolExecutor(1) if threaded else nullcontext() as executor:
            lane = Lane(execute, LIMITS, rows, executor)
            return await asyncio.gather(*map(lane.submit, items))

    assert asyncio.run(ask_all()) == [f"answer to {item}" for item in items]
    assert [item for run in runs for item in run] == items
    assert all(1 <= len(run) <= rows for run in runs)


async def play(actions: list[str], lane: Lane[int, int], steps: StepByStep, clock: Clock) -> list[Any]:
    """What each caller heard; they submit 1, 2, 3 and so on."""
    others = TALLY.waiting
    callers: list[asyncio.Task[Any]] = []
    for action in actions:
        pending = [caller for caller in callers if not caller.done()]
        if action == "ask":
            callers.append(asyncio.create_task(lane.submit(len(callers) + 1)))
        elif action == "run":
            steps.step()
        elif action == "time passes":
            clock.now_s += STANDING_S
        elif pending:
            pending[0 if action == "cancel oldest" else -1].cancel()
        await settle()
        assert len(lane.waiting) <= LIMITS.max_waiting
        assert TALLY.waiting - others == len(lane.waiting)
    await run_out(lane, steps)
    return [await outcome(caller) for caller in callers]


@both_settings
@given(actions=st.lists(st.sampled_from(["ask"] * 4 + ACTIONS), max_size=60))
def test_whatever_happens_each_caller_hears_once_and_the_bound_holds(rows: int, actions: list[str]) -> None:
    executed: list[int] = []

    def execute(taken: list[int]) -> list[int]:
        executed.extend(taken)
        return [-item for item in taken]

    async def heard() -> list[Any]:
        steps = StepByStep()
        return await play(actions, Lane(execute, LIMITS, rows, steps), steps, clock)

    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        clock.install(patch)
        results = dict(enumerate(asyncio.run(heard()), start=1))
    answered = [item for item, result in results.items() if result == -item]
    assert all(result in (-item, 429, "cancelled") for item, result in results.items())
    assert executed == sorted(set(executed))  # the oldest first, none twice
    assert set(answered) <= set(executed)
    if not {"cancel oldest", "cancel newest"} & set(actions):
        assert answered == executed  # no run for nothing


class Flood:
    """Callers of a lane whose every run is made by `steps`; the first is always under way."""

    def __init__(self, rows: int = 1) -> None:
        self.steps = StepByStep()
        self.lane: Lane[int, int] = Lane(list, LIMITS, rows, self.steps)
        self.callers: list[asyncio.Task[int]] = []

    async def ask(self, count: int) -> None:
        for _ in range(count):
            self.callers.append(asyncio.create_task(self.lane.submit(len(self.callers))))
            await settle()

    async def outcomes(self) -> list[Any]:
        await run_out(self.lane, self.steps)
        heard = [await outcome(caller) for caller in self.callers]
        self.callers = []
        return heard


def test_a_burst_is_no_overload(clock: Clock) -> None:
    async def heard() -> list[list[Any]]:
        flood = Flood()
        bursts = []
        for _ in range(3):
            await flood.ask(11)
            bursts.append(await flood.outcomes())
            clock.now_s += STANDING_S
        return bursts

    assert asyncio.run(heard()) == [[*range(9), 429, 429]] * 3


@pytest.mark.parametrize(("rows", "kept"), [(1, 2), (4, 4)])
def test_of_a_queue_that_stands_the_newest_few_are_kept_or_as_many_as_one_run_takes(
    clock: Clock, rows: int, kept: int
) -> None:
    async def heard() -> list[Any]:
        flood = Flood(rows)
        await flood.ask(9)
        clock.now_s += STANDING_S
        await flood.ask(2)
        return await flood.outcomes()

    assert asyncio.run(heard()) == [0, *[429] * (8 - kept), *range(9 - kept, 9), 429, 429]


def test_after_overload_twice_as_many_may_wait_with_each_interval_without(clock: Clock) -> None:
    async def heard() -> list[int]:
        flood = Flood()
        await flood.ask(9)
        clock.now_s += STANDING_S
        await flood.ask(1)
        await flood.outcomes()
        answered = []
        for _ in range(4):
            await flood.ask(12)
            answered.append(12 - (await flood.outcomes()).count(429))
            clock.now_s += STANDING_S
        return answered

    assert asyncio.run(heard()) == [1 + 2, 1 + 4, 1 + 8, 1 + 8]


def test_an_answer_leaves_before_the_next_run() -> None:
    happened: list[str] = []

    def execute(taken: list[int]) -> list[int]:
        happened.extend(f"run {item}" for item in taken)
        return taken

    async def ask(lane: Lane[int, int], item: int) -> None:
        await lane.submit(item)
        asyncio.get_running_loop().call_soon(happened.append, f"left {item}")  # as transports do it

    async def ask_all() -> None:
        lane = Lane(execute, LIMITS)
        await asyncio.gather(*(ask(lane, item) for item in range(3)))
        await settle()

    asyncio.run(ask_all())
    assert happened == [f"{what} {item}" for item in range(3) for what in ("run", "left")]


def test_of_all_that_arrive_at_once_only_those_with_room_are_let_through() -> None:
    async def heard() -> list[bool]:
        steps = StepByStep()
        lane = Lane(list, LIMITS.model_copy(update={"max_waiting": 2}), 1, steps)
        first = asyncio.create_task(lane.submit(0))
        await settle()
        let_through = [lane.expect() for _ in range(4)]
        await settle()  # none of them comes
        let_through.append(lane.expect())
        await run_out(lane, steps)
        await first
        return let_through

    assert asyncio.run(heard()) == [True, True, False, False, True]


@both_settings
@both_places
def test_what_a_run_raises_reaches_those_of_that_run_alone(rows: int, threaded: bool) -> None:
    def execute(taken: list[int]) -> list[int]:
        if 0 in taken:
            raise ValueError("broken")
        return taken

    async def ask_all() -> list[Any]:
        with ThreadPoolExecutor(1) if threaded else nullcontext() as executor:
            lane = Lane(execute, LIMITS, rows, executor)
            return await asyncio.gather(*map(lane.submit, range(8)), return_exceptions=True)

    heard = asyncio.run(ask_all())
    assert [type(result) for result in heard[:rows]] == [ValueError] * rows
    assert heard[rows:] == list(range(rows, 8))


class Panic(BaseException):
    """As tokenizers raises it, which is written in Rust."""


@both_places
def test_a_lane_outlives_whatever_a_run_raises(threaded: bool) -> None:
    def execute(taken: list[int]) -> list[int]:
        if 0 in taken:
            raise Panic
        return taken

    async def ask_all() -> list[Any]:
        with ThreadPoolExecutor(1) if threaded else nullcontext() as executor:
            lane = Lane(execute, LIMITS, 1, executor)
            return await asyncio.gather(*map(lane.submit, range(3)), return_exceptions=True)

    failed, *answered = asyncio.run(ask_all())
    assert isinstance(failed, RuntimeError)
    assert answered == [1, 2]


def test_a_lane_outlives_that_no_thread_can_be_had() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    async def ask_all() -> list[Any]:
        lane = Lane(list, LIMITS, 1, executor)
        return await asyncio.gather(*map(lane.submit, range(3)), return_exceptions=True)

    assert [type(failed) for failed in asyncio.run(ask_all())] == [RuntimeError] * 3


@both_settings
@both_places
def test_an_exception_as_a_result_reaches_its_own_caller_alone(rows: int, threaded: bool) -> None:
    def execute(taken: list[int]) -> list[Any]:
        return [RequestError(400, "odd", "odd") if item % 2 else item for item in taken]

    async def ask_all() -> list[Any]:
        with ThreadPoolExecutor(1) if threaded else nullcontext() as executor:
            lane = Lane(execute, LIMITS, rows, executor)
            return [await outcome(caller) for caller in [asyncio.create_task(lane.submit(item)) for item in range(8)]]

    assert asyncio.run(ask_all()) == [0, 400, 2, 400, 4, 400, 6, 400]


@both_settings
def test_who_gave_up_is_skipped(rows: int) -> None:
    executed: list[int] = []

    async def heard() -> list[Any]:
        steps = StepByStep()
        lane = Lane(lambda taken: executed.extend(taken) or taken, LIMITS, rows, steps)
        callers = []
        for item in range(8):
            callers.append(asyncio.create_task(lane.submit(item)))
            await settle()
        for caller in callers[2:7]:
            caller.cancel()
        await settle()
        await run_out(lane, steps)
        return [await outcome(caller) for caller in callers]

    assert asyncio.run(heard()) == [0, 1, *["cancelled"] * 5, 7]
    assert executed == [0, 1, 7]
