"""What an interrupted training leaves behind, and whether the next one may go on from it."""

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
    """`mark.json` beside a training's state: the training that it belongs to, and the run that this one continues."""

    key: str
    run_key: str


@dataclass(frozen=True)
class TrainingState:
    """A folder with Lightning's checkpoints of one training; `run_key` is None where a training begins."""

    folder: Path
    key: str
    run_key: str | None

    @property
    def last(self) -> Path:
        """The last finished epoch, with optimiser, schedule and callbacks."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    def begin(self, run_key: str) -> None:
        artifacts.write(self.folder / MARK, TrainingMark(key=self.key, run_key=run_key))

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def open_state(folder: Path, key: str) -> TrainingState:
    """The state in `folder` if it belongs to the same training; the state of any other is removed."""
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
    """Digest of all that the trained weights follow from."""
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
