"""Which of two graphs of one model is faster here?"""

import time
from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray
from onnxruntime import InferenceSession

BUDGET_S = 0.05  # for all rounds: a worker measures before it is ready
MAX_RATIO = 0.95  # of the times, int8 to fp32
WON = 0.75  # share of the rounds: on a busy machine the median of equal graphs alone would pass now and then


def choose(
    fp32: InferenceSession, int8: InferenceSession, inputs: Mapping[str, NDArray[Any]], rounds: int = 100
) -> Literal["fp32", "int8"]:
    """int8 if it takes `MAX_RATIO` of the time or less in most rounds; fewer than `rounds` where the time is up."""
    sessions = (fp32, int8)
    for session in sessions:  # the first run allocates
        session.run(None, inputs)
    ratios: list[float] = []
    end = time.perf_counter() + BUDGET_S
    while not ratios or (len(ratios) < rounds and time.perf_counter() < end):
        fp32_s, int8_s = (_timed(session, inputs) for session in sessions)
        ratios.append(int8_s / fp32_s)
    won = sum(ratio <= MAX_RATIO for ratio in ratios)
    return "int8" if won >= WON * len(ratios) else "fp32"


def _timed(session: InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> float:
    started = time.perf_counter()
    session.run(None, inputs)
    return time.perf_counter() - started
