"""ONNX Runtime sessions: choice of the device, and comparison of the speed of two graphs."""

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions

from serving.errors import ModelError
from serving.settings import Device

OUTPUTS = ["probabilities", "zero_shares"]
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
NVIDIA_DRIVER = "libcuda.so.1"

MAX_ROUNDS = 100
BUDGET_S = 0.05  # for all rounds, because a worker measures before it is ready
# A graph is faster if its time is at most MAX_RATIO of the other's in the fraction WON of the rounds. Each worker
# measures for itself; the margin makes all choose the same graph.
MAX_RATIO = 0.8
WON = 0.75


def open_session(graph: bytes, path: Path, device: Device) -> InferenceSession:
    """Return a session of a graph; `path` is its file, for messages. Raises ModelError."""
    options = SessionOptions()
    options.intra_op_num_threads = 1  # parallelism is across requests and workers
    session = InferenceSession(graph, options, providers=_providers(device))
    # ONNX Runtime falls back to the CPU silently.
    if device == "cuda" and not on_gpu(session):
        raise ModelError(f"{path}: configs/serving.yaml sets device: cuda, but ONNX Runtime cannot use a GPU")
    if [output.name for output in session.get_outputs()] != OUTPUTS:
        raise ModelError(f"{path}: its outputs are not {OUTPUTS}; rebuild it with `dvc repro`")
    return session


def on_gpu(session: InferenceSession) -> bool:
    return bool(session.get_providers()[0] == CUDA)


def has_gpu() -> bool:
    """Return whether ONNX Runtime can use CUDA and a driver finds a GPU."""
    if CUDA not in onnxruntime.get_available_providers():
        return False
    try:
        return bool(ctypes.CDLL(NVIDIA_DRIVER).cuInit(0) == 0)
    except OSError:
        return False


def _providers(device: Device) -> list[Any]:
    if device == "cpu" or (device == "auto" and not has_gpu()):
        return [CPU]
    onnxruntime.preload_dlls()
    return [(CUDA, {"use_tf32": 0}), CPU]  # TF32's 10-bit mantissa would exceed the tolerance of the samples


def faster(session: InferenceSession, than: InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether `session` is clearly faster than `than`: see `MAX_RATIO` and `WON`."""
    for one in (session, than):  # the first run allocates memory
        one.run(None, inputs)
    ratios: list[float] = []
    end = time.perf_counter() + BUDGET_S
    while not ratios or (len(ratios) < MAX_ROUNDS and time.perf_counter() < end):
        seconds, than_seconds = (_timed(one, inputs) for one in (session, than))
        ratios.append(seconds / than_seconds)
    return sum(ratio <= MAX_RATIO for ratio in ratios) >= WON * len(ratios)


def _timed(session: InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> float:
    started = time.perf_counter()
    session.run(None, inputs)
    return time.perf_counter() - started
