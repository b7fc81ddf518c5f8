import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.errors import TrackingError
from relu_pipeline.tracking.outbox import Entry, Outbox, read_entries, send_left


class Server:
    """Takes entries while it is up."""

    def __init__(self, up: bool = True) -> None:
        self.up = up
        self.taken: list[Entry] = []

    def send(self, entry: Entry, folder: Path) -> None:
        if not self.up:
            raise TrackingError("away")
        self.taken.append(entry)


ENTRIES = [{"step": step} for step in range(5)]


def test_what_was_delivered_leaves_no_file(tmp_path: Path) -> None:
    server = Server()
    with Outbox(tmp_path / "run", server.send, patience_s=5) as outbox:
        for entry in ENTRIES:
            outbox.put(entry)
    assert server.taken == ENTRIES
    assert not (tmp_path / "run").exists()


def test_a_server_that_comes_back_gets_everything_in_order(tmp_path: Path) -> None:
    server = Server(up=False)
    threading.Timer(1.0, lambda: setattr(server, "up", True)).start()
    with Outbox(tmp_path / "run", server.send, patience_s=20) as outbox:
        for entry in ENTRIES:
            outbox.put(entry)
    assert server.taken == ENTRIES


def test_a_server_that_is_away_is_asked_rarely(tmp_path: Path) -> None:
    asked: list[Entry] = []

    def send(entry: Entry, folder: Path) -> None:
        asked.append(entry)
        raise TrackingError("away")

    outbox = Outbox(tmp_path / "run", send, patience_s=0)
    outbox.put(ENTRIES[0])
    time.sleep(1)
    assert outbox.close() == 1
    assert 1 <= len(asked) <= 4


def test_what_a_server_never_took_stays_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "run"
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
    outbox = Outbox(tmp_path / "run", lambda _entry, _folder: released.wait(10) and None, patience_s=20)
    started = time.monotonic()
    for entry in ENTRIES:
        outbox.put(entry)
    assert time.monotonic() - started < 5
    assert read_entries(outbox.folder) == ENTRIES
    released.set()
    assert outbox.close() == 0


@given(cut=st.integers(0, 60))
def test_a_half_written_line_of_a_killed_process_is_dropped(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("outbox")
    whole = "".join(json.dumps(entry) + "\n" for entry in ENTRIES)
    (path / "entries.jsonl").write_text(whole[:cut])
    server = Server()
    with Outbox(path, server.send, patience_s=5) as outbox:
        outbox.put({"step": 99})
    assert server.taken == [*ENTRIES[: whole[:cut].count("\n")], {"step": 99}]


def test_a_copy_keeps_the_bytes_that_a_file_had(tmp_path: Path) -> None:
    report, folder = tmp_path / "report.txt", tmp_path / "model"
    report.write_text("first")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/weights").write_text("1")
    seen: list[str] = []

    def send(entry: Entry, outbox: Path) -> None:
        place = outbox / entry["file"]
        seen.extend(path.read_text() for path in ([place] if place.is_file() else place.rglob("weights")))

    waiting = Outbox(tmp_path / "run", Server(up=False).send, patience_s=0.2)
    for source in (report, folder):
        waiting.put({"file": waiting.copy(source)})
    report.write_text("second")
    assert waiting.close() == 2
    with Outbox(tmp_path / "run", send, patience_s=5):
        pass
    assert seen == ["first", "1"]


def test_what_an_ended_process_left_is_sent_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    living = Outbox(tmp_path / "2", Server(up=False).send, patience_s=0.1)
    living.put(ENTRIES[2])
    for name in ("3", "1"):
        outbox = Outbox(tmp_path / name, Server(up=False).send, patience_s=0.1)
        outbox.put(ENTRIES[int(name)])
        outbox.close()
    server = Server()
    assert send_left(tmp_path, server.send, lambda entries: [*entries, {"end": True}]) == 4
    assert server.taken == [ENTRIES[1], {"end": True}, ENTRIES[3], {"end": True}]
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
    living.close()


def test_what_is_not_taken_of_what_was_left_stays_from_there_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "1", Server(up=False).send, patience_s=0.1)
    for entry in ENTRIES:
        outbox.put(entry)
    outbox.close()
    taken: list[Entry] = []

    def send(entry: Entry, folder: Path) -> None:
        if entry in ENTRIES[2:]:
            raise TrackingError("away")
        taken.append(entry)

    other = Outbox(tmp_path / "2", Server(up=False).send, patience_s=0.1)
    other.put({"step": 99})
    other.close()
    with pytest.raises(TrackingError):
        send_left(tmp_path, send, list)
    assert taken + read_entries(tmp_path / "1") == [*ENTRIES[:2], {"step": 99}, *ENTRIES[2:]]
    assert not (tmp_path / "2").exists()  # what one outbox cannot send holds up no other


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    with Outbox(tmp_path / "run", Server().send, patience_s=5), pytest.raises(TrackingError, match="another process"):
        Outbox(tmp_path / "run", Server().send, patience_s=5)
