"""Trainings of two processes, as on two GPUs or machines: here on the CPU, by way of gloo."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
import psutil
import pytest

from relu_pipeline.artifacts import sha256_of
from relu_pipeline.demo import FOREIGN, copy_project
from relu_pipeline.recipes import apply_recipe
from relu_pipeline.training.launch import STARTED
from tests.params import set_param
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
END_TIMEOUT_S = 30
pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    """A copy of this project with the prepared built-in data; a training takes seconds."""
    copy = tmp_path / "project"
    copy_project(ROOT, copy)
    apply_recipe(copy / "configs/demo.yaml", copy / "params.yaml")
    shutil.copytree(prepared, copy / "data/prepared")
    return copy


def command(task: str, processes: int = 1) -> list[str]:
    """The command of the stage `train`, or torchrun's for several processes."""
    launcher = ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    return [sys.executable, "-m", *launcher, "pipelines.train", task]


def train(project: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def history(project: Path, task: str) -> list[dict[str, float]]:
    with (project / f"reports/{task}/history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("task", ["image", "text"])
def test_two_processes_learn_what_one_does_whoever_starts_them(project: Path, task: str) -> None:
    checkpoint = project / f"checkpoints/{task}/best.ckpt"
    assert train(project, command(task)).returncode == 0
    alone, digest = history(project, task), sha256_of(checkpoint)
    set_param(project / "params.yaml", f"{task}.train.devices", 2)
    assert train(project, command(task)).returncode == 0
    together, of_lightning = history(project, task), sha256_of(checkpoint)
    assert of_lightning != digest
    assert together[-1]["val/accuracy"] == pytest.approx(alone[-1]["val/accuracy"], abs=0.02)
    assert [epoch["learning_rate"] for epoch in together] == [epoch["learning_rate"] for epoch in alone]
    rows = json.loads((project / f"data/prepared/{task}/meta.json").read_text())["rows"]["val"]
    for epoch in together:  # each validation example counts once
        assert epoch["val/accuracy"] * rows == pytest.approx(round(epoch["val/accuracy"] * rows), abs=1e-3)
    set_param(project / "params.yaml", f"{task}.train.devices", 1)
    done = train(project, command(task, processes=2))
    assert done.returncode == 0, done.stderr
    assert sha256_of(checkpoint) == of_lightning
    runs = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db").search_runs(["1"])
    assert sorted(run.data.params["devices"] for run in runs) == ["1", "2", "2"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_class_weights_balance_the_batch_not_the_share_of_a_process(project: Path) -> None:
    set_param(project / "params.yaml", "text.train.class_weights", "balanced")
    assert train(project, command("text")).returncode == 0
    alone = history(project, "text")
    set_param(project / "params.yaml", "text.train.devices", 2)
    assert train(project, command("text")).returncode == 0
    assert history(project, "text")[-1]["val/loss"] == pytest.approx(alone[-1]["val/loss"], abs=0.01)


def test_a_loss_that_is_not_finite_ends_all_processes_with_one_line(project: Path) -> None:
    set_param(project / "params.yaml", "image.train.devices", 2)
    set_param(project / "params.yaml", "image.train.learning_rate", 1e30)
    done = train(project, command("image"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is ")
    assert done.stderr.count("\n") == 1
    assert "first layer with a non-finite output: blocks" in done.stderr


def test_under_torchrun_too_the_first_process_alone_reports_that_loss(project: Path) -> None:
    set_param(project / "params.yaml", "image.train.learning_rate", 1e30)
    done = train(project, command("image", processes=2))
    assert done.returncode == 1
    assert done.stderr.count("error: the loss is ") == 1


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@needs_root
def test_a_full_disk_ends_all_processes_with_one_line(project: Path) -> None:
    set_param(project / "params.yaml", "image.train.devices", 2)
    with disk(project / "checkpoints/image", "size=400k"):
        done = train(project, command("image"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("last.ckpt: No space left on device; free some space")
    assert "Traceback" not in done.stderr


@needs_root
def test_a_folder_that_cannot_be_written_is_reported_in_one_line(project: Path) -> None:
    with disk(project / "checkpoints/image", "ro"):
        done = train(project, command("image"))
    assert done.returncode == 1
    assert done.stderr.endswith("Read-only file system; make this file system writable\n")
    assert done.stderr.count("\n") == 1


@contextmanager
def training_of_two(project: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A long training of two processes, in a process group of its own, as a terminal would start it."""
    set_param(project / "params.yaml", "image.train.devices", 2)
    set_param(project / "params.yaml", "image.train.max_epochs", 40)
    with subprocess.Popen(
        command("image"),
        cwd=project,
        env=ENVIRONMENT | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as first:
        yield first


def statuses(project: Path) -> list[str]:
    """The statuses of the project's runs in MLflow."""
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments)]


def second_of(first: subprocess.Popen[str]) -> psutil.Process:
    """The second process, which starts while the first one waits for it. Imports start others, such as ldconfig."""
    while first.poll() is None:
        for child in psutil.Process(first.pid).children():
            with suppress(psutil.NoSuchProcess):
                if STARTED in child.environ():
                    return child
        time.sleep(0.05)
    raise AssertionError(first.communicate()[1])


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_training_and_another_number_of_them_resumes_it(project: Path, victim: int) -> None:
    with training_of_two(project) as first:
        assert first.stderr
        printed = [next(line for line in first.stderr if line.startswith("epoch 6/"))]
        processes = [psutil.Process(first.pid), second_of(first)]
        os.kill(processes[victim].pid, signal.SIGKILL)
        killed = time.monotonic()
        printed += first.stderr
        _, alive = psutil.wait_procs(processes, END_TIMEOUT_S)
    assert not alive
    assert time.monotonic() - killed < END_TIMEOUT_S
    if victim:
        assert printed[-1].startswith("error: another process of the training has ended; the last finished epoch is")
    set_param(project / "params.yaml", "image.train.devices", 1)
    done = train(project, command("image"))
    assert done.returncode == 0, done.stderr
    assert "epoch 4/40" not in done.stderr
    assert "epoch 40/40" in done.stderr
    assert [epoch["epoch"] for epoch in history(project, "image")] == list(range(40))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_all_processes_while_they_start_and_while_they_train(
    project: Path, number: signal.Signals
) -> None:
    for begun, status in ((False, []), (True, ["KILLED"])):
        with training_of_two(project) as first:
            assert first.stderr
            second = second_of(first)
            if begun:
                next(line for line in first.stderr if line.startswith("epoch 2/"))
            os.killpg(first.pid, number)
            assert first.wait(END_TIMEOUT_S) == 130
            printed = first.stderr.readlines()
        assert printed[-1] == "interrupted: train image\n"
        assert not [line for line in printed[:-1] if not line.startswith("epoch ")]
        gone, _ = psutil.wait_procs([second], END_TIMEOUT_S)
        assert gone
        assert statuses(project) == status


def test_ctrl_c_during_the_imports_is_reported_in_one_line(project: Path) -> None:
    with training_of_two(project) as first:
        while not any("libtorch" in mapped.path for mapped in psutil.Process(first.pid).memory_maps()):
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGINT)
        _, error = first.communicate(timeout=END_TIMEOUT_S)
    assert first.returncode == 130
    assert error == "interrupted\n"


def test_a_process_that_is_killed_while_it_starts_is_reported(project: Path) -> None:
    with training_of_two(project) as first:
        second_of(first).kill()
        _, error = first.communicate(timeout=END_TIMEOUT_S)
    assert first.returncode == 1
    assert error == "error: another process of the training has ended; run the same command again\n"


def test_a_process_ends_soon_after_another_even_while_it_waits_for_a_third(project: Path) -> None:
    set_param(project / "params.yaml", "image.train.num_nodes", 2)
    with training_of_two(project, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), NODE_RANK="0") as first:
        second = second_of(first)
        while not (project / "checkpoints/image/training/mark.json").exists():
            time.sleep(0.1)
        second.kill()
        _, error = first.communicate(timeout=END_TIMEOUT_S)
    assert first.returncode == 1
    assert error == "error: another process of the training has ended; run the same command again\n"


def test_ctrl_c_ends_a_process_that_waits_for_one_that_hangs(project: Path) -> None:
    with training_of_two(project) as first:
        assert first.stderr
        next(line for line in first.stderr if line.startswith("epoch 2/"))
        second = second_of(first)
        second.suspend()
        time.sleep(2)  # the first waits now
        os.killpg(first.pid, signal.SIGINT)
        _, error = first.communicate(timeout=END_TIMEOUT_S)
    assert first.returncode == 130
    assert error.endswith("interrupted while another process did not answer\n")
    gone, _ = psutil.wait_procs([second], END_TIMEOUT_S)
    assert gone


def test_a_port_in_use_is_named(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with training_of_two(project, MASTER_PORT=port) as first:
            _, error = first.communicate()
    assert first.returncode == 1
    assert error == f"error: port {port} is in use; set MASTER_PORT to another; no epoch was finished\n"


def test_batches_that_processes_cannot_share_equally_are_refused(project: Path) -> None:
    set_param(project / "params.yaml", "text.train.devices", 3)
    done = train(project, command("text"))
    assert done.stderr == (
        "error: params.yaml: batches of 64 examples cannot be shared equally by 3 processes; "
        "set text.train.batch_size to 63 and learning_rate to 0.1\n"
    )


def test_several_machines_need_to_know_each_other(project: Path) -> None:
    set_param(project / "params.yaml", "text.train.num_nodes", 2)
    done = train(project, command("text"))
    assert "start `torchrun --nnodes 2 ... -m pipelines.train text`" in done.stderr


@contextmanager
def two_machines() -> Iterator[list[list[str]]]:
    """Two network namespaces with a cable between them; yield what runs a command in each."""
    names = [f"relu{os.getpid()}{end}" for end in "ab"]
    cables = [f"r{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        ends = ["type", "veth", "peer", "name", cables[1], "netns", names[1]]
        subprocess.run(["ip", "link", "add", cables[0], "netns", names[0], *ends], check=True)
        for number, (name, cable) in enumerate(zip(names, cables, strict=True), 1):
            subprocess.run(["ip", "-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", cable], check=True)
            for device in (cable, "lo"):
                subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)
        yield [
            ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={cable}"]
            for name, cable in zip(names, cables, strict=True)
        ]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and the program ip"
)
@pytest.mark.parametrize("launcher", ["torchrun", "lightning"])
def test_two_machines_with_a_shared_folder_train_together(project: Path, launcher: str) -> None:
    address, port = "10.99.0.1", str(free_port())
    environment = ENVIRONMENT
    if launcher == "torchrun":
        words = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr", address]
        words += ["--master-port", port, "--node-rank", "{rank}", "-m", "pipelines.train", "text"]
    else:
        words, environment = ["pipelines.train", "text"], environment | {"MASTER_ADDR": address, "MASTER_PORT": port}
        set_param(project / "params.yaml", "text.train.num_nodes", 2)
    with two_machines() as machines:
        started = [
            subprocess.Popen(
                [*machine, sys.executable, "-m", *(word.format(rank=rank) for word in words)],
                cwd=project,
                env=environment | {"NODE_RANK": str(rank)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, machine in enumerate(machines)
        ]
        printed = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    assert "epoch 1/" in printed[0]
    assert "epoch 1/" not in printed[1]
    assert history(project, "text")[-1]["val/accuracy"] > 0.9
