"""Where the service finds its models and its limits."""

import os
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

ROOT = Path(__file__).resolve().parent.parent


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DriftSettings(Section):
    """`window` in rows; `threshold` of the population stability index."""

    window: PositiveInt
    threshold: PositiveFloat


class Limits(Section):
    """`configs/serving.yaml`."""

    max_image_bytes: PositiveInt
    max_text_bytes: PositiveInt
    max_batch_bytes: PositiveInt
    max_batch_items: PositiveInt
    max_image_pixels: PositiveInt
    top: PositiveInt
    drift: DriftSettings


def load_limits() -> Limits:
    return Limits.model_validate(yaml.safe_load((ROOT / "configs/serving.yaml").read_text()))


def models_dir() -> Path:
    return Path(os.environ.get("RELU_MODELS_DIR") or ROOT / "models")
