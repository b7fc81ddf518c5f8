"""Persistent queue of entries for a server that may not be reachable."""

import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from relu_pipeline import artifacts
from relu_pipeline.errors import TrackingError

Entry = Mapping[str, Any]
Send = Callable[[Entry, Path], None]

ENTRIES, FILES, LOCK = "entries.jsonl", "files", "lock"
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


class Outbox:
    """Queue that stores entries in a folder, and sends them in order from a background thread.

    `put` does not block. `send` raises TrackingError to be called again later, and must be idempotent: after a crash
    `folder` may have entries that were already sent, and the next Outbox of that folder sends them again. `close`
    leaves only the undelivered entries in the folder, or removes it if there are none. The folder is locked until
    then.
    """

    def __init__(self, folder: Path, send: Send, patience_s: float) -> None:
        self.folder = folder
        self.problem = "an entry is still being sent"  # later: the last error of `send`
        self._send = send
        self._patience_s = patience_s
        self._lock = _locked(folder)
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._undelivered = read_entries(folder)
        self._deadline = float("inf")
        self._closing = threading.Event()
        self._changing = threading.Lock()
        for entry in self._undelivered:
            self._waiting.put(entry)
        _keep(folder, self._undelivered)
        self._file = (folder / ENTRIES).open("a", encoding="utf-8")
        self._thread = threading.Thread(target=self._deliver, name=f"outbox {folder.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, entry: Entry) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        with self._changing:
            self._undelivered.append(entry)
        self._waiting.put(entry)

    def copy(self, source: Path) -> str:
        """Copy a file or folder into the outbox and return its path in `folder`, for use in an entry."""
        place = Path(FILES) / str(time.time_ns()) / source.name
        target = self.folder / place
        target.parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return str(place)

    def close(self) -> int:
        """Stop the thread after at most `patience_s` and return the number of undelivered entries."""
        self._deadline = time.monotonic() + self._patience_s
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(self._patience_s)
        self._file.close()
        with self._changing:
            left = list(self._undelivered)
        _keep(self.folder, left)
        self._lock.release()
        if not left:
            shutil.rmtree(self.folder, ignore_errors=True)
        return len(left)

    def _deliver(self) -> None:
        while (entry := self._waiting.get()) is not None:
            if not self._delivered(entry):
                return
            with self._changing:
                self._undelivered.pop(0)

    def _delivered(self, entry: Entry) -> bool:
        """Send an entry, with retries; return False if the deadline set by `close` passed first."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                self._send(entry, self.folder)
                return True
            except TrackingError as error:
                self.problem = str(error)
                if time.monotonic() + FIRST_WAIT_S > self._deadline:
                    return False
            # `wait` returns at once after `close`; the sleep keeps a pause between retries.
            if self._closing.is_set() or self._closing.wait(wait_s):
                time.sleep(FIRST_WAIT_S)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def send_left(root: Path, send: Send, complete: Callable[[list[Entry]], list[Entry]]) -> int:
    """Send the entries of ended processes in the folders of `root`, oldest first; return the number of entries.

    `complete` adds entries that a killed process did not write. If `send` fails, the entries stay, and its
    TrackingError is raised after all folders were tried.
    """
    count, problem = 0, None
    for folder in sorted(path.parent for path in root.glob(f"*/{ENTRIES}")):
        try:
            lock = _locked(folder)
        except TrackingError:
            continue  # the process is still running
        try:
            entries = complete(read_entries(folder))
            for number, entry in enumerate(entries):
                _keep(folder, entries[number:])
                send(entry, folder)
            count += len(entries)
        except TrackingError as error:
            problem = error
            continue
        finally:
            lock.release()
        shutil.rmtree(folder, ignore_errors=True)
    if problem:
        raise problem
    return count


def count_left(root: Path) -> int:
    """Return the number of undelivered entries of ended processes in the folders of `root`."""
    count = 0
    for file in root.glob(f"*/{ENTRIES}"):
        with suppress(TrackingError):  # the process is still running
            lock = _locked(file.parent)
            count += len(read_entries(file.parent))
            lock.release()
    return count


def read_entries(folder: Path) -> list[Entry]:
    """Return the entries of a folder, without an incomplete last line of a killed process."""
    file = folder / ENTRIES
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _locked(folder: Path) -> FileLock:
    """Lock the folder. Raises TrackingError if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrackingError(f"{folder}: in use by another process; wait until it has ended") from error
    return lock


def _keep(folder: Path, entries: list[Entry]) -> None:
    with artifacts.atomic_file(folder / ENTRIES) as partial:
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
