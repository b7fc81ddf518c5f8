"""State of an interrupted training, and the check whether a later one may resume from it."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Format, PreparedMeta
from relu_pipeline.config import ImageConfig, TextConfig
from relu_pipeline.errors import ArtifactError
from relu_pipeline.provenance import source_digest
from relu_pipeline.training.hardware import Hardware

MARK = "mark.json"


class TrainingMark(Format):
    """`mark.json` in a training's state folder: the key of the training, and the run that a resumed one continues."""

    key: str
    run_key: str


@dataclass(frozen=True)
class TrainingState:
    """Folder with Lightning's checkpoints of one training; `run_key` is None for a new training."""

    folder: Path
    key: str
    run_key: str | None

    @property
    def last(self) -> Path:
        """Return the path of the last finished epoch's checkpoint, with the optimiser, schedule and callbacks."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    def begin(self, run_key: str) -> None:
        artifacts.write(self.folder / MARK, TrainingMark(key=self.key, run_key=run_key))

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def open_state(folder: Path, key: str) -> TrainingState:
    """Return the state in `folder` if it belongs to the same training, else remove it and return a new one."""
    try:
        mark = artifacts.read(folder / MARK, TrainingMark)
    except ArtifactError:
        mark = None
    if mark and mark.key == key:
        return TrainingState(folder, key, mark.run_key)
    shutil.rmtree(folder, ignore_errors=True)
    return TrainingState(folder, key, None)


def training_key(
    config: ImageConfig | TextConfig, seed: int, meta: PreparedMeta, hardware: Hardware, weights_sha256: str | None
) -> str:
    """Return a digest of everything that determines the trained weights."""
    causes = {
        "config": config.model_dump(),
        "seed": seed,
        "data": meta.digests,
        "weights": weights_sha256,
        "hardware": [hardware.accelerator, hardware.precision],
        "source": source_digest(),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()
