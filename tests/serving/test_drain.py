"""Drain: what a worker does between SIGTERM and its end, in this process."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.drain import STEP_S, Drain

TIMEOUT_S = 10


@pytest.fixture
def left() -> Iterator[list[int]]:
    """The signals that the handler received which was there before; `uvicorn` sets such a one."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_worker_notifies_then_refuses_then_answers_then_leaves(left: list[int]) -> None:
    async def run() -> list[tuple[bool, bool, int]]:
        in_flight = 1
        drain = Drain(0.2, TIMEOUT_S, lambda: in_flight)
        states = []

        def note() -> None:
            states.append((drain.began, drain.refusing, len(left)))

        drain.install()
        note()
        terminate()
        await until(lambda: drain.began)
        await asyncio.sleep(0.1)
        note()
        await until(lambda: drain.refusing)
        await asyncio.sleep(3 * STEP_S)
        note()
        in_flight = 0
        await until(lambda: left)
        note()
        return states

    assert asyncio.run(run()) == [(False, False, 0), (True, False, 0), (True, True, 0), (True, True, 1)]
    assert left == [signal.SIGTERM]


def test_a_worker_leaves_at_the_deadline_though_requests_are_in_flight(left: list[int]) -> None:
    async def run() -> None:
        drain = Drain(0, 2 * STEP_S, lambda: 1)
        drain.install()
        terminate()
        await until(lambda: left)

    asyncio.run(run())


def test_a_second_signal_changes_nothing(left: list[int]) -> None:
    async def run() -> int:
        drain = Drain(0.1, TIMEOUT_S, lambda: 0)
        drain.install()
        terminate()
        terminate()
        await until(lambda: drain.began)
        terminate()
        await until(lambda: left)
        await asyncio.sleep(0.2)
        return len(left)

    assert asyncio.run(run()) == 1
