"""State of an interrupted training, and the check whether a later one may resume from it."""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Format, PreparedMeta
from relu_pipeline.config import ImageConfig, TextConfig
from relu_pipeline.errors import ArtifactError, TrainingError
from relu_pipeline.provenance import source_digest
from relu_pipeline.training.hardware import Hardware

MARK = "mark.json"
PATIENCE_S = 180  # shared folders may show new files late


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
    if state := _read_state(folder, key):
        return state
    shutil.rmtree(folder, ignore_errors=True)
    return TrainingState(folder, key, None)


def await_state(folder: Path, key: str) -> TrainingState:
    """Return the state that another process of this training has opened. Raises TrainingError if there is none."""
    end = time.monotonic() + PATIENCE_S
    while (state := _read_state(folder, key)) is None:
        if time.monotonic() > end:
            raise TrainingError(
                f"{folder}: the first process did not begin this training within {PATIENCE_S} s; all machines need the "
                f"same project in a shared folder"
            )
        time.sleep(0.1)
    return state


def _read_state(folder: Path, key: str) -> TrainingState | None:
    try:
        mark = artifacts.read(folder / MARK, TrainingMark)
    except ArtifactError:
        return None
    return TrainingState(folder, key, mark.run_key) if mark.key == key else None


def training_key(
    config: ImageConfig | TextConfig, seed: int, meta: PreparedMeta, hardware: Hardware, weights_sha256: str | None
) -> str:
    """Return a digest of everything that determines the trained weights, up to rounding.

    The processes that share a batch are not part of it: a training can resume with another number of them.
    """
    causes = {
        "config": config.model_dump(exclude={"train": {"devices", "num_nodes", "strategy", "in_memory"}}),
        "seed": seed,
        "data": meta.digests,
        "weights": weights_sha256,
        "hardware": [hardware.accelerator, hardware.precision],
        "source": source_digest(),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()
