"""A training on images that do not fit into the memory of its control group."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta, Source
from relu_pipeline.demo import FOREIGN, copy_project
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]
GROUPS = Path("/sys/fs/cgroup/memory")  # version 1
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
LIMIT_BYTES, DATA_BYTES = 1 << 30, 4 << 30
SIDE = 224
ROWS = DATA_BYTES // (SIDE * SIDE * 3)
CHUNK = 500
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.access(GROUPS, os.W_OK), reason="no writable control group for memory"),
]


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group with a limit of 1 GB, page cache included."""
    group = GROUPS / f"relu-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    yield group
    group.rmdir()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of this project with 4 GB of prepared noise of two brightnesses, the classes."""
    copy = tmp_path / "project"
    copy_project(ROOT, copy)
    prepared = copy / "data/prepared/image"
    prepared.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), {"train": ROWS, "val": 100, "test": 2}
    for split, size in rows.items():
        labels = np.arange(size) % 2
        images = np.lib.format.open_memmap(prepared / f"{split}_images.npy", "w+", np.uint8, (size, SIDE, SIDE, 3))
        noise = rng.integers(0, 128, (SIDE, SIDE, 3), np.uint8)
        for start in range(0, size, CHUNK):
            images[start : start + CHUNK] = noise + 64 * labels[start : start + CHUNK, None, None, None].astype(
                np.uint8
            )
        images.flush()
        np.save(prepared / f"{split}_labels.npy", labels)
    source = Source(
        name="noise", format="image_folder", source="own", sha256="0" * 64, files=[], labels=["a", "b"], rows=rows
    )
    meta = PreparedMeta(task="image", source=source, rows=rows, digests=dict.fromkeys(rows, "0" * 64))
    artifacts.write(prepared / "meta.json", meta)
    params = copy / "params.yaml"
    for name, value in {"max_epochs": 1, "batch_size": 64, "crop_padding": 0.0, "learning_rate": 0.001}.items():
        set_param(params, f"image.train.{name}", value)
    set_param(params, "image.model.name", "mlp")
    set_param(params, "image.model.mlp.hidden_dims", [4])
    yield copy
    shutil.rmtree(copy)


def train(project: Path, group: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.train", "image"],
        cwd=project,
        env=ENVIRONMENT,
        preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        capture_output=True,
        text=True,
        check=False,
    )


def test_images_larger_than_the_memory_are_read_from_their_files(project: Path, limited: Path) -> None:
    done = train(project, limited)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stderr
    assert int((limited / "memory.max_usage_in_bytes").read_text()) <= LIMIT_BYTES
    set_param(project / "params.yaml", "image.train.in_memory", True)
    killed = train(project, limited)
    assert killed.returncode == -9  # the limit is real: what is read into memory exceeds it
