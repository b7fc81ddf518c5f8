"""The processes of a training on one machine, started by its first process unless torchrun has started them.

Lightning's own launcher kills the first process without a message if another ends, and its handler of SIGTERM leaves
processes waiting for each other.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import NoReturn

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from relu_pipeline.errors import TrainingError
from relu_pipeline.processes import starts_first

STARTED = "RELU_STARTED_BY_FIRST_PROCESS"
STDIN, STDOUT = 0, 1
PATIENCE_S = 20  # for the message of the first process, before it is ended without one
LOST = "another process of the training has ended"


@contextmanager
def all_processes(devices: int) -> Iterator[bool]:
    """Run the block in a process for each device of this machine; yield whether this one is the first of all machines.

    The first process of a machine starts this command for the others, and waits until they have begun the block. They
    end when it ends, by any signal. Raises TrainingError if one of them does not begin.
    """
    if STARTED in os.environ:
        _report_to_the_first()
        yield False
    elif devices == 1 or LightningEnvironment().creates_processes_externally:
        yield starts_first()
    else:
        others = _start(devices)
        try:
            _await(others)
            yield starts_first()
            for process in others:
                process.wait()
        finally:
            for process in others:
                process.kill()
                process.wait()


def _start(devices: int) -> list[subprocess.Popen[bytes]]:
    environment = LightningEnvironment()
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "LOCAL_RANK": "0",
    }
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // devices)))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
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


def _await(others: list[subprocess.Popen[bytes]]) -> None:
    for process in others:
        assert process.stdout
        if not process.stdout.readline():
            raise TrainingError(f"{LOST} before its first epoch; run the same command again")
    for process in others:
        Thread(target=_end_after, args=(process,), daemon=True).start()


def _end_after(process: subprocess.Popen[bytes]) -> None:
    """End this process if `process` has failed: it could wait for that one where Python cannot interrupt it."""
    assert process.stdout
    process.stdout.read()
    if process.wait():
        time.sleep(PATIENCE_S)
        print(f"error: {LOST}; the same command resumes from the last finished epoch", file=sys.stderr, flush=True)
        os._exit(1)


def _report_to_the_first() -> None:
    Thread(target=_end_with_the_first, daemon=True).start()
    try:
        os.write(STDOUT, b"ready\n")
    except BrokenPipeError:
        sys.exit(1)


def _end_with_the_first() -> NoReturn:
    os.read(STDIN, 1)  # returns when the first process, which writes nothing, has ended
    os._exit(1)
