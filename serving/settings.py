"""Settings of the service: configs/serving.yaml and environment variables."""

import os
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "RELU_API_KEY"

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "int8"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(Section):
    """Limits of requests; `buffered_bytes` limits the total size of the bodies that a worker holds."""

    image_bytes: PositiveInt
    text_bytes: PositiveInt
    image_batch_bytes: PositiveInt
    text_batch_bytes: PositiveInt
    batch_items: PositiveInt
    image_pixels: PositiveInt
    buffered_bytes: PositiveInt


class InlineSettings(Section):
    """Limits of items that are decoded on the event loop."""

    image_bytes: PositiveInt
    image_pixels: PositiveInt
    text_chars: PositiveInt


class QueueSettings(Section):
    """Settings of `batching.RequestQueue` and `batching.Slots`."""

    max_requests: PositiveInt
    max_batches: PositiveInt
    max_depth: PositiveInt
    min_depth: PositiveInt
    micro_batch_size: PositiveInt | Literal["auto"]


class DriftSettings(Section):
    """Settings of drift detection: `window` in examples, `threshold` of the population stability index."""

    window: Annotated[int, Field(ge=200)]
    threshold: PositiveFloat


class Settings(Section):
    """Content of configs/serving.yaml."""

    workers: PositiveInt | Literal["cpu_count"]
    device: Device
    precision: Precision | Literal["auto"]
    top: PositiveInt
    deadline_s: PositiveFloat
    drain_notice_s: NonNegativeFloat
    access_log: bool
    cors_allow_origins: tuple[str, ...]
    limits: LimitSettings
    inline: InlineSettings
    queue: QueueSettings
    drift: DriftSettings


def load_settings() -> Settings:
    """Read configs/serving.yaml. Raises ValueError, which names each invalid key."""
    path = ROOT / "configs/serving.yaml"
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise ValueError(f"{path}: {'; '.join(problems)}") from error


def models_dir() -> Path:
    return Path(os.environ.get("RELU_MODELS_DIR") or ROOT / "models")


def api_key() -> str | None:
    """Return the API key that clients must send, or None if there is none. Raises ValueError if it is empty."""
    key = os.environ.get(API_KEY)
    if key is not None and not key.strip():
        raise ValueError(f"{API_KEY} is empty; set it to the key that clients send, or unset it to require no key")
    return key and key.strip()
