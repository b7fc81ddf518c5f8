"""What processes know of each other; tests/integration/test_processes.py has trainings of several."""

import json
from pathlib import Path

import pytest
from torch import distributed, multiprocessing

from relu_pipeline.processes import of_all_processes, rank_and_world_size, starts_first


def test_a_process_alone_is_the_first_of_one() -> None:
    assert rank_and_world_size() == (0, 1)
    assert of_all_processes("own") == ["own"]


def report(rank: int, out: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=rank, world_size=2)
    (out / f"{rank}.json").write_text(json.dumps([*rank_and_world_size(), of_all_processes(f"of {rank}")]))
    distributed.destroy_process_group()


def test_each_process_of_a_group_knows_its_rank_and_the_values_of_all(tmp_path: Path) -> None:
    multiprocessing.start_processes(report, (tmp_path,), nprocs=2, start_method="spawn")
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [rank, 2, ["of 0", "of 1"]]


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        # RANK counts only where torchrun, which sets TORCHELASTIC_RUN_ID, has started the process.
        ({"RANK": "1"}, True),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0", "NODE_RANK": "1"}, True),
    ],
)
def test_the_first_process_is_known_before_the_group_begins(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_first: bool
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert starts_first() == is_first
