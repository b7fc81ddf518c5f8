"""The processes of a training; tests/integration/test_processes.py has trainings of several."""

import os
import subprocess
import sys
from pathlib import Path

from relu_pipeline.training.hardware import Hardware
from relu_pipeline.training.launch import all_processes


def test_the_only_process_of_a_training_is_the_first() -> None:
    with all_processes(Hardware("cpu", "32-true")) as is_first:
        assert is_first


INTERRUPTED = """
import signal, time
from relu_pipeline.training.hardware import Hardware
from relu_pipeline.training.launch import all_processes
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with all_processes(Hardware("cpu", "32-true", devices=2)):
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)  # in which another could end the process
    print("ended by itself")
"""


def test_a_process_that_waits_for_no_other_ends_by_itself_after_ctrl_c() -> None:
    environment = os.environ | {"LOCAL_RANK": "0"}  # as of a launcher that starts the other process
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ended by itself\n"), done.stderr


TWO = """
import sys
from pathlib import Path
from relu_pipeline.training.hardware import Hardware
from relu_pipeline.training.launch import all_processes
with all_processes(Hardware("cpu", "32-true", devices=2)) as is_first:
    Path(sys.argv[1], "first" if is_first else "other").touch()
"""


def test_the_first_process_starts_its_own_command_for_the_other(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "other"]
