"""Progress bars: on a terminal, and nowhere else."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relu_pipeline.data.download import file_digest
from tests.folder_server import serve_folder
from tests.terminal import run_on_a_terminal

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "TERM": "xterm-256color",
    "COLUMNS": "100",
    "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
}
FETCH = """
import sys
from pathlib import Path
from relu_pipeline.data.download import fetch
fetch(sys.argv[1], Path("data.bin"), sys.argv[2])
"""
TRAIN = """
import sys, tempfile
from pathlib import Path
from relu_pipeline.config import load_params
from tests.training import PARAMS, train_at_once
config = load_params(PARAMS).text
config = config.model_copy(update={"train": config.train.model_copy(update={"max_epochs": 1})})
train_at_once("text", config, Path(sys.argv[1]), Path(tempfile.mkdtemp(dir=".")))
"""
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3|4|9|10)[0-8](?:;[\d;]*)?m")  # SGR 30 to 48, 90 to 107 of ECMA-48


@pytest.fixture
def published(tmp_path: Path) -> Iterator[list[str]]:
    """Yield the URL and the checksum of a file."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(1 << 20))
    with serve_folder(folder) as url:
        yield [f"{url}/data.bin", file_digest(folder / "data.bin", "sha256")]


def test_a_download_shows_a_bar_on_a_terminal_alone(published: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH, *published]
    assert "data.bin: 100%" in run_on_a_terminal(command, tmp_path, ENVIRONMENT)
    (tmp_path / "data.bin").unlink()
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "data.bin").stat().st_size == 1 << 20


@pytest.mark.slow
def test_a_training_shows_a_bar_on_a_terminal_alone_without_colours_under_no_color(
    prepared: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", TRAIN, str(prepared / "text")]
    assert COLOUR.search(run_on_a_terminal(command, tmp_path, ENVIRONMENT))
    plain = run_on_a_terminal(command, tmp_path, ENVIRONMENT | {"NO_COLOR": "1"})
    assert "Epoch 0/0" in plain
    assert not COLOUR.search(plain)
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "Epoch 0/0" not in done.stderr
