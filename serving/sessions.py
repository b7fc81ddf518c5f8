"""ONNX Runtime sessions: on which device, and that it is the one that was asked for."""

import ctypes
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime import InferenceSession, SessionOptions

from serving.errors import ModelError
from serving.settings import Device

OUTPUTS = ["probabilities", "zero_shares"]
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
NVIDIA_DRIVER = "libcuda.so.1"


def open_session(graph: bytes, path: Path, device: Device) -> InferenceSession:
    """Of the graph that `path` holds. Raises ModelError."""
    options = SessionOptions()
    options.intra_op_num_threads = 1  # parallelism is across requests and workers
    providers = _providers(device)
    session = InferenceSession(graph, options, providers=providers)
    # ONNX Runtime falls back without a word.
    if device == "cuda" and not on_gpu(session):
        raise ModelError(f"{path}: configs/serving.yaml says device: cuda, but ONNX Runtime could not use a GPU")
    if [output.name for output in session.get_outputs()] != OUTPUTS:
        raise ModelError(f"{path}: its outputs are not {OUTPUTS}; remake it with `dvc repro`")
    return session


def on_gpu(session: InferenceSession) -> bool:
    return session.get_providers()[0] == CUDA


def _providers(device: Device) -> list[Any]:
    if device == "cpu" or (device == "auto" and not _has_gpu()):
        return [CPU]
    onnxruntime.preload_dlls()
    return [(CUDA, {"use_tf32": 0}), CPU]  # its ten bits would move probabilities by more than export allows


def _has_gpu() -> bool:
    if CUDA not in onnxruntime.get_available_providers():
        return False
    try:
        return ctypes.CDLL(NVIDIA_DRIVER).cuInit(0) == 0
    except OSError:
        return False
