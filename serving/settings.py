"""Where the service finds its models, its key and its limits."""

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

ROOT = Path(__file__).resolve().parent.parent


Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "int8"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DriftSettings(Section):
    """`window` in rows; `threshold` of the population stability index."""

    window: PositiveInt
    threshold: PositiveFloat


class QueueSettings(Section):
    """Of what waits for a graph, in each worker; see `lanes.Lane`."""

    max_waiting: PositiveInt
    max_waiting_overloaded: PositiveInt
    max_waiting_bulk: PositiveInt
    micro_batch_rows: PositiveInt | Literal["auto"]


class Settings(Section):
    """`configs/serving.yaml`."""

    workers: PositiveInt | Literal["cpu_count"]
    device: Device
    precision: Precision | Literal["auto"]
    max_image_bytes: PositiveInt
    max_text_bytes: PositiveInt
    max_batch_bytes: PositiveInt
    max_batch_items: PositiveInt
    max_held_bytes: PositiveInt
    max_image_pixels: PositiveInt
    inline_image_bytes: PositiveInt
    inline_image_pixels: PositiveInt
    inline_text_chars: PositiveInt
    top: PositiveInt
    deadline_s: PositiveFloat
    drain_notice_s: NonNegativeFloat
    max_connections: PositiveInt
    max_requests: PositiveInt
    queue: QueueSettings
    drift: DriftSettings


def handed_on_precision(task: str) -> str | None:
    """What the process that started this one chose: workers shall not answer differently."""
    return os.environ.get(_choice(task))


def hand_on_precision(task: str, precision: Precision) -> None:
    """To the processes that this one starts."""
    os.environ[_choice(task)] = precision


def _choice(task: str) -> str:
    return f"RELU_CHOSEN_PRECISION_{task.upper()}"


def load_settings() -> Settings:
    return Settings.model_validate(yaml.safe_load((ROOT / "configs/serving.yaml").read_text()))


def models_dir() -> Path:
    return Path(os.environ.get("RELU_MODELS_DIR") or ROOT / "models")


def api_key() -> str | None:
    return os.environ.get("RELU_API_KEY") or None
