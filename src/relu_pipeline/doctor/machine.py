"""Checks of the machine: GPU, port, disk and memory."""

import contextlib
import ctypes
import io
import shutil
import socket
from collections.abc import Iterator

from relu_pipeline.config import load_params
from relu_pipeline.doctor.check import Check, Level
from relu_pipeline.doctor.project import is_project
from relu_pipeline.errors import ConfigError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
NVIDIA_DRIVER = "libcuda.so.1"
SILENT = 4  # of ONNX Runtime's severities: fatal errors only
OPSET, IR_VERSION = 20, 10
GB = 1e9
ADVISED_DISK_GB, NEEDED_DISK_GB = 5, 1
ADVISED_MEMORY_GB = 3  # twice the highest peak of a stage on CIFAR-10: 1.5 GB in `train`


def check_accelerators() -> Iterator[Check]:
    """Check the devices of ONNX Runtime and torch, and those that params.yaml requires.

    ONNX Runtime is checked first: torch loads CUDA libraries that a service, which does not import torch, lacks.
    """
    import onnxruntime

    driver = _has_driver()
    provider = _provider(driver)
    if driver and provider != CUDA:
        missing = (
            "the CUDA libraries are missing" if CUDA in onnxruntime.get_available_providers() else "not a GPU build"
        )
        message = f"{onnxruntime.__version__} runs on the CPU although there is a GPU: {missing}"
        yield Check("onnxruntime", "warning", message, "uv pip install --require-hashes -r deploy/cuda.txt")
    else:
        yield Check("onnxruntime", "ok", f"{onnxruntime.__version__} runs with {provider}")
    yield _check_gpu(driver)
    if is_project():
        yield from _check_training()


def _has_driver() -> bool:
    """Return whether NVIDIA's driver finds a GPU."""
    try:
        return bool(ctypes.CDLL(NVIDIA_DRIVER).cuInit(0) == 0)
    except OSError:
        return False


def _provider(driver: bool) -> str:
    """Return the provider that a session uses; it skips a provider that cannot be loaded."""
    import onnxruntime
    from onnx import TensorProto, helper

    onnxruntime.set_default_logger_severity(SILENT)
    available = onnxruntime.get_available_providers()
    if driver:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the missing libraries
            onnxruntime.preload_dlls()
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    wanted = [provider for provider in (CUDA, CPU) if provider in available]
    return str(onnxruntime.InferenceSession(model.SerializeToString(), providers=wanted).get_providers()[0])


def _check_gpu(driver: bool) -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("gpu", "ok", f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    if driver:
        fix = "install a build for the driver's CUDA version: https://pytorch.org/get-started/locally"
        return Check("gpu", "warning", f"torch {torch.__version__} does not find the GPU", fix)
    return Check("gpu", "ok", f"none, torch {torch.__version__} uses the CPU")


def _check_training() -> Iterator[Check]:
    from relu_pipeline.training.hardware import resolve_hardware

    try:
        params = load_params()
    except ConfigError:
        return  # reported by the check of params.yaml
    for task in params.tasks:
        try:
            hardware = resolve_hardware(task, getattr(params, task).train)
        except ConfigError as error:
            yield Check(f"train {task}", "error", str(error), f"set {task}.train in params.yaml")
        else:
            yield Check(f"train {task}", "ok", f"on the {hardware.accelerator}, precision {hardware.precision}")


def check_port(port: int) -> Iterator[Check]:
    """Check that a service can listen on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service's server does
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError as error:
            other = f"BENTOML_HOME=/tmp/bentoml-{port + 1} bentoml serve --port {port + 1}"
            fix = f"stop the process that uses it, or `{other}`"
            yield Check("port", "warning", f"{port}: {error.strerror}", fix)
            return
    yield Check("port", "ok", f"{port} is free")


def check_resources() -> Iterator[Check]:
    """Check the free disk space and the available memory."""
    free = shutil.disk_usage(".").free / GB
    if free < ADVISED_DISK_GB:
        level: Level = "error" if free < NEEDED_DISK_GB else "warning"
        yield Check(
            "disk",
            level,
            f"{free:.1f} GB free, about {ADVISED_DISK_GB} GB are needed",
            "free disk space; `dvc gc --workspace` deletes the cached outputs of other commits",
        )
    else:
        yield Check("disk", "ok", f"{free:.0f} GB free")
    import psutil

    available = psutil.virtual_memory().available / GB
    if available < ADVISED_MEMORY_GB:
        message = f"{available:.1f} GB available, {ADVISED_MEMORY_GB} GB are advised"
        yield Check("memory", "warning", message, "close other programs, or train one task at a time")
    else:
        yield Check("memory", "ok", f"{available:.0f} GB available")
