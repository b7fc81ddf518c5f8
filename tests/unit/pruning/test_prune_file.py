"""`relu-pipeline prune` on the built-in data."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from relu_pipeline import cli
from relu_pipeline.artifacts import SPLITS
from relu_pipeline.config import TaskName
from relu_pipeline.export.graph import export_graph
from relu_pipeline.tasks.catalogue import TASKS
from tests.unit.pruning.networks import WIDTH, constant

Command = Callable[..., tuple[str, str]]


class Image(nn.Module):
    def __init__(self, dead: int = 17) -> None:
        super().__init__()
        self.widen = constant(nn.Conv2d(3, WIDTH, 4, stride=4), list(range(dead)))
        self.relu, self.head = nn.ReLU(), nn.Linear(WIDTH * 64, 10)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        x_BCHW = self.relu(self.widen((image_BHWC.float() / 255).permute(0, 3, 1, 2)))
        return self.head(x_BCHW.flatten(1))


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 6)
        self.hidden = constant(nn.Linear(6, 8), [0, 7])
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 4)

    def forward(self, token_ids_BL: Tensor) -> Tensor:
        return self.head(self.relu(self.hidden(self.embedding(token_ids_BL).mean(dim=1))))


NETWORKS: dict[TaskName, tuple[type[nn.Module], str]] = {
    "image": (Image, "16 of 17 dead"),
    "text": (Text, "2 of 2 dead"),
}


@pytest.fixture
def model(task: TaskName, prepared: Path, tmp_path: Path) -> Path:
    example = TASKS[task].load(prepared / task, "val").gather(torch.arange(2))
    export_graph(TASKS[task], NETWORKS[task][0](), example, 20, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """What it prints, and what it ends with where it fails."""

    def run(*words: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["relu-pipeline", "prune", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return capsys.readouterr().out, str(end.code)
        return capsys.readouterr().out, ""

    return run


@pytest.mark.parametrize("task", NETWORKS)
def test_the_command_writes_a_smaller_graph_and_says_what_went(
    task: TaskName, model: Path, prepared: Path, command: Command
) -> None:
    printed, failure = command(model, "--prepared", prepared / task)
    smaller = model.with_name("model.pruned.onnx")
    assert failure == ""
    assert f"{NETWORKS[task][1]}\n" in printed
    assert all(cost in printed for cost in ("parameters", "multiply-adds", "file, bytes", "latency, ms"))
    assert ("1 of 17 dead units are kept: " in printed) == (task == "image")
    assert f"{smaller} written" in printed
    assert smaller.stat().st_size < model.stat().st_size
    for split in SPLITS:
        inputs = TASKS[task].load(prepared / task, split).gather(torch.arange(50)).numpy()
        ours, theirs = (answers(path, inputs) for path in (model, smaller))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def answers(path: Path, inputs: np.ndarray) -> np.ndarray:
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize("task", ["text"])
def test_a_pruned_graph_has_nothing_left_to_prune(
    task: TaskName, model: Path, prepared: Path, tmp_path: Path, command: Command
) -> None:
    command(model, "--prepared", prepared / task, "--output", tmp_path / "once.onnx")
    printed, failure = command(tmp_path / "once.onnx", "--prepared", prepared / task)
    assert ("no unit is dead" in printed, failure) == (True, "")
    assert not (tmp_path / "once.pruned.onnx").exists()


def test_the_command_says_that_dead_units_were_kept_and_why(prepared: Path, tmp_path: Path, command: Command) -> None:
    model = tmp_path / "model.onnx"
    export_graph(TASKS["image"], Image(dead=3), torch.zeros(2, 32, 32, 3, dtype=torch.uint8), 20, model)
    printed, failure = command(model, "--prepared", prepared / "image")
    assert failure == ""
    assert printed.startswith(f"{model}: 3 of 32 units are dead in ")
    assert "none was removed: a layer keeps 1 unit, a convolution a multiple of 16, as ONNX Runtime is" in printed
    assert not model.with_name("model.pruned.onnx").exists()


class BrightOnly(nn.Module):
    """Unit 0 is active where an image is nearly white, and then decides the class."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.relu, self.head = nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 10)
        with torch.no_grad():
            self.hidden.weight.fill_(1)
            self.hidden.bias.copy_(torch.tensor([-0.97, 0, 0, 0]))
            self.head.weight[:, 0] = torch.eye(10)[9] * 1e4
            self.head.bias[0] = 9

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return self.head(self.relu(self.hidden(image_BHWC.float().mean(dim=(1, 2, 3))[:, None] / 255)))


def test_a_test_row_with_another_top1_refuses_and_keeps_the_old_file(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "image", tmp_path / "image")
    pixels = np.load(tmp_path / "image/test_images.npy")
    pixels[7] = 255
    np.save(tmp_path / "image/test_images.npy", pixels)
    export_graph(
        TASKS["image"], BrightOnly(), torch.zeros(2, 32, 32, 3, dtype=torch.uint8), 20, tmp_path / "model.onnx"
    )
    (tmp_path / "old.onnx").write_text("earlier")
    words = [tmp_path / "model.onnx", "--prepared", tmp_path / "image", "--output", tmp_path / "old.onnx"]
    program = [sys.executable, "-m", "relu_pipeline.cli", "prune"]
    failed = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "top-1 differs on 1 of" in failed.stderr
    assert (tmp_path / "old.onnx").read_text() == "earlier"


@pytest.mark.parametrize("task", ["text"])
def test_wrong_files_are_one_clear_line(
    task: TaskName, model: Path, prepared: Path, tmp_path: Path, command: Command
) -> None:
    garbage, foreign = tmp_path / "garbage.onnx", tmp_path / "foreign.onnx"
    garbage.write_bytes(b"not a graph")
    other = onnx.load(model)
    other.graph.output[0].name = "scores"
    for node in other.graph.node:
        node.output[:] = ["scores" if name == "probabilities" else name for name in node.output]
    onnx.save(other, foreign)
    graph, quantised = onnx.load(model), tmp_path / "model.int8.onnx"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "step"))
    graph.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["probabilities", "step"], ["codes"]))
    onnx.save(graph, quantised)
    for words, message in (
        ([tmp_path / "none.onnx"], "no such file"),
        ([quantised], "is quantised; prune the float32 graph"),
        ([garbage], "not a valid ONNX model"),
        ([foreign], "a graph of this project has one input of image, token_ids and the output probabilities"),
        ([model, "--prepared", prepared / "image"], "data of the task image"),
        ([model, "--prepared", tmp_path], "no such file"),
    ):
        printed, failure = command(*words)
        assert printed == ""
        assert failure.startswith("error: ")
        assert message in failure
        assert "\n" not in failure
