"""The processes of a training on one machine, started by its first process unless torchrun has started them.

Lightning's own launcher kills the first process without a message if another ends, and its handler of SIGTERM leaves
processes waiting for each other.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, NoReturn

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from relu_pipeline.errors import INTERRUPTED, TrainingError
from relu_pipeline.processes import starts_first
from relu_pipeline.training.hardware import Hardware

STARTED = "RELU_STARTED_BY_FIRST_PROCESS"
STDIN, STDOUT = 0, 1
PATIENCE_S = 20  # for a process that ends itself, with its own message
LOST = "another process of the training has ended; run the same command again"

Process = subprocess.Popen[bytes]


@contextmanager
def all_processes(hardware: Hardware) -> Iterator[bool]:
    """Run the block in a process for each device of this machine; yield whether this one is the first of all machines.

    The first process of a machine starts this command for the others, and waits until they have begun the block. They
    end when it ends, by any signal. Raises TrainingError if one of them does not begin, ValueError outside the main
    thread.
    """
    if hardware.processes == 1:
        yield True
        return
    others: list[Process] = []
    over = Event()
    try:
        if STARTED in os.environ:
            _report_to_the_first()
        else:
            _watch(_end_after_a_signal, _signals(), others, over)
            if not LightningEnvironment().creates_processes_externally:
                others += _start(hardware.devices)
        for process in others:
            _await(process)
        for process in others:
            _watch(_end_after, process, others, over)
        yield starts_first()
        for process in others:
            process.wait()
    finally:
        over.set()
        for process in others:
            process.kill()
            process.wait()


def _start(devices: int) -> list[Process]:
    environment = LightningEnvironment()
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "LOCAL_RANK": "0",
    }
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    return [
        subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=os.environ | {"LOCAL_RANK": str(rank), STARTED: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only the first process, which ends the others
        )
        for rank in range(1, devices)
    ]


def _await(process: Process) -> None:
    assert process.stdout
    if not process.stdout.readline():
        raise TrainingError(LOST)


def _signals() -> int:
    """Return a file descriptor from which the signals that Python handles can be read as they arrive."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender)
    return receiver


def _watch(watch: Callable[..., None], *arguments: Any) -> None:
    Thread(target=watch, args=arguments, daemon=True).start()


def _end_after_a_signal(signals: int, others: Iterable[Process], over: Event) -> None:
    """After Ctrl-C or SIGTERM, end this process if it still waits for another: Python raises nothing there."""
    os.read(signals, 1)
    if not over.wait(PATIENCE_S):
        _end(others, "interrupted while another process did not answer", INTERRUPTED)


def _end_after(process: Process, others: Iterable[Process], over: Event) -> None:
    """End this process if `process` has failed, and this one still waits for it."""
    assert process.stdout
    process.stdout.read()
    if process.wait() and not over.wait(PATIENCE_S):
        _end(others, f"error: {LOST}", 1)


def _end(others: Iterable[Process], message: str, status: int) -> NoReturn:
    for process in others:
        process.kill()
    print(message, file=sys.stderr, flush=True)
    os._exit(status)


def _report_to_the_first() -> None:
    _watch(_end_with_the_first)
    try:
        os.write(STDOUT, b"ready\n")
    except BrokenPipeError:
        sys.exit(1)


def _end_with_the_first() -> NoReturn:
    os.read(STDIN, 1)  # returns when the first process, which writes nothing, has ended
    os._exit(1)
