"""Entries on their way to a server that may be away: in a file until they are delivered."""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relu_pipeline import artifacts
from relu_pipeline.errors import TrackingError

Entry = Mapping[str, Any]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


class Outbox:
    """`put` returns at once; a thread gives the entries to `send`, in order, again and again until it takes them.

    `send` raises TrackingError to be asked again, and must bear to get an entry twice: a killed process leaves its
    entries in `path`, delivered or not, and the next Outbox of that path begins with them. After `close`, `path` holds
    just what was not delivered, or is gone.
    """

    def __init__(self, path: Path, send: Callable[[Entry], None], patience_s: float) -> None:
        self.path = path
        self._send = send
        self._patience_s = patience_s
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._undelivered = read_entries(path)
        self._deadline = float("inf")
        self._closing = threading.Event()
        self._lock = threading.Lock()
        for entry in self._undelivered:
            self._waiting.put(entry)
        self._keep(self._undelivered)
        self._file = path.open("a", encoding="utf-8")
        self._thread = threading.Thread(target=self._deliver, name=f"outbox {path.name}", daemon=True)
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
        with self._lock:
            self._undelivered.append(entry)
        self._waiting.put(entry)

    def close(self) -> int:
        """Give the server `patience_s` to take what is left; the number of entries that it did not take."""
        self._deadline = time.monotonic() + self._patience_s
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(self._patience_s)
        self._file.close()
        with self._lock:
            left = list(self._undelivered)
        if left:
            self._keep(left)
        else:
            self.path.unlink(missing_ok=True)
        return len(left)

    def _keep(self, entries: list[Entry]) -> None:
        with artifacts.atomic_file(self.path) as partial:
            partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    def _deliver(self) -> None:
        while (entry := self._waiting.get()) is not None:
            if not self._delivered(entry):
                return
            with self._lock:
                self._undelivered.pop(0)

    def _delivered(self, entry: Entry) -> bool:
        """False when the outbox was closed and its patience is over."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                self._send(entry)
                return True
            except TrackingError:
                if time.monotonic() + FIRST_WAIT_S > self._deadline:
                    return False
            # An event that is set no longer waits, and a server that is away is not to be asked without a pause.
            if self._closing.is_set() or self._closing.wait(wait_s):
                time.sleep(FIRST_WAIT_S)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def read_entries(path: Path) -> list[Entry]:
    """A last line that a killed process left half-written is dropped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
