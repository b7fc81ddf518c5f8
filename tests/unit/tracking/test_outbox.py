import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.errors import TrackingError
from relu_pipeline.tracking.outbox import Entry, Outbox, read_entries


class Server:
    """Takes entries while it is up."""

    def __init__(self, up: bool = True) -> None:
        self.up = up
        self.taken: list[Entry] = []

    def send(self, entry: Entry) -> None:
        if not self.up:
            raise TrackingError("away")
        self.taken.append(entry)


ENTRIES = [{"step": step} for step in range(5)]


def test_what_was_delivered_leaves_no_file(tmp_path: Path) -> None:
    server = Server()
    with Outbox(tmp_path / "run.jsonl", server.send, patience_s=5) as outbox:
        for entry in ENTRIES:
            outbox.put(entry)
    assert server.taken == ENTRIES
    assert not (tmp_path / "run.jsonl").exists()


def test_a_server_that_comes_back_gets_everything_in_order(tmp_path: Path) -> None:
    server = Server(up=False)
    threading.Timer(1.0, lambda: setattr(server, "up", True)).start()
    with Outbox(tmp_path / "run.jsonl", server.send, patience_s=20) as outbox:
        for entry in ENTRIES:
            outbox.put(entry)
    assert server.taken == ENTRIES


def test_what_a_server_never_took_stays_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    outbox = Outbox(path, Server(up=False).send, patience_s=0.2)
    for entry in ENTRIES[:3]:
        outbox.put(entry)
    assert outbox.close() == 3
    assert read_entries(path) == ENTRIES[:3]
    server = Server()
    with Outbox(path, server.send, patience_s=5) as outbox:
        outbox.put(ENTRIES[3])
    assert server.taken == ENTRIES[:4]


def test_putting_does_not_wait_for_the_server(tmp_path: Path) -> None:
    released = threading.Event()
    outbox = Outbox(tmp_path / "run.jsonl", lambda _entry: released.wait(10) and None, patience_s=20)
    started = time.monotonic()
    for entry in ENTRIES:
        outbox.put(entry)
    assert time.monotonic() - started < 5
    assert read_entries(outbox.path) == ENTRIES
    released.set()
    assert outbox.close() == 0


@given(cut=st.integers(0, 60))
def test_a_half_written_line_of_a_killed_process_is_dropped(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("outbox") / "run.jsonl"
    whole = "".join(json.dumps(entry) + "\n" for entry in ENTRIES)
    path.write_text(whole[:cut])
    server = Server()
    with Outbox(path, server.send, patience_s=5) as outbox:
        outbox.put({"step": 99})
    assert server.taken == [*ENTRIES[: whole[:cut].count("\n")], {"step": 99}]
