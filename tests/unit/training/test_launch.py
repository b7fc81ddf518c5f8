"""The processes of a training; tests/integration/test_processes.py has trainings of several."""

from relu_pipeline.training.hardware import Hardware
from relu_pipeline.training.launch import all_processes


def test_the_only_process_of_a_training_is_the_first() -> None:
    with all_processes(Hardware("cpu", "32-true")) as is_first:
        assert is_first
