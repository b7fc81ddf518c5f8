"""The commands and the Python code in the README, with a running service."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relu_pipeline.demo import sample_digit
from tests.documents import blocks
from tests.servers import Server, start

pytestmark = pytest.mark.pipeline
SECTION = "Ask the service"
PORT = re.compile(r"127\.0\.0\.1:3000")


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with start(models) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "picture.png").write_bytes(sample_digit())
    return tmp_path


def test_the_shell_commands_answer(server: Server, folder: Path) -> None:
    (block,) = blocks("README.md", "sh", SECTION)
    commands = block.commands()
    assert {command.split()[0] for command in commands} == {"curl", "relu-pipeline"}
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        here = PORT.sub(f"127.0.0.1:{server.port}", command)
        if command.startswith("relu-pipeline"):
            here += f" --url {server.url}"
        done = subprocess.run(here, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "error" not in done.stdout, command
        assert "relu-pipeline-" in done.stdout, command  # the model's name


def test_the_commands_that_need_no_service_write_tables(models: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/7.png").write_bytes(sample_digit())
    (tmp_path / "articles.csv").write_text("title,body,topic\nThe cup final,The striker wins,Sports\n")
    (block,) = blocks("README.md", "sh", "Predict a folder or a table without the service")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in block.commands():
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert (tmp_path / command.split()[-1]).exists()


def test_the_python_code_answers(server: Server, folder: Path) -> None:
    (block,) = blocks("README.md", "python", SECTION)
    code = PORT.sub(f"127.0.0.1:{server.port}", block.code)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
