"""Selection of accelerator, precision and processes."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from relu_pipeline.config import TaskName, TrainConfig
from relu_pipeline.errors import ConfigError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Hardware:
    """Accelerator and precision of a training, and its processes: one for each device of each node."""

    accelerator: str
    precision: Precision
    devices: int = 1
    num_nodes: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    def __str__(self) -> str:
        return f"{self.processes} x {self.accelerator} {self.precision}"

    @property
    def processes(self) -> int:
        return self.devices * self.num_nodes


def resolve_hardware(task: TaskName, config: TrainConfig) -> Hardware:
    """Return the hardware, with `auto` resolved; torchrun decides on the processes that it started.

    Raises ConfigError if a required GPU is missing.
    """
    gpu = torch.cuda.is_available()
    if config.accelerator == "gpu" and not gpu:
        raise ConfigError(f"params.yaml: {task}.train.accelerator is gpu, but PyTorch finds no GPU; use auto or cpu")
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if gpu else "cpu"
    if config.precision == "16-mixed" and accelerator == "cpu":
        raise ConfigError(f"params.yaml: {task}.train.precision 16-mixed needs a GPU; use auto, 32-true or bf16-mixed")
    precision = fastest_precision(accelerator) if config.precision == "auto" else config.precision
    devices, num_nodes = config.devices, config.num_nodes
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif num_nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= set(os.environ):
        raise ConfigError(
            f"params.yaml: {task}.train.num_nodes is {num_nodes}; set MASTER_ADDR, MASTER_PORT and NODE_RANK on each "
            f"machine, or start `torchrun --nnodes {num_nodes} ... -m pipelines.train {task}`"
        )
    if accelerator == "gpu" and devices > torch.cuda.device_count():
        raise ConfigError(
            f"params.yaml: {task}.train.devices is {devices}, but PyTorch finds {torch.cuda.device_count()} GPUs"
        )
    return Hardware(accelerator, precision, devices, num_nodes)


def fastest_precision(accelerator: str) -> Precision:
    """Return the fastest precision; bf16-mixed needs hardware support, without which it is slower than float32."""
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "16-mixed"
    # Older versions of torch have no `get_capabilities`, and processors other than x86 lack these keys.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "32-true"
