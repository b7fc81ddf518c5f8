"""Ctrl-C in a search."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import optuna
from optuna.trial import FrozenTrial


class Interruption:
    """Ctrl-C ends a training at once; while Optuna works, it waits.

    Python drops what is raised in a `__del__`, which Lightning's Trainer has. An interrupted query leaves SQLite locked
    for this process, too.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGINT)
        self._received = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Ctrl-C waits for the end of the block, or for an `immediate` in it. Raises ValueError in another thread."""
        with _handling(self._receive):
            yield
        self._raise_received()

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """In `deferred`: Ctrl-C raises KeyboardInterrupt, also one that waits."""
        with _handling(self._handler):
            self._raise_received()
            yield

    def between_trials(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Callback of Optuna: raise KeyboardInterrupt if Ctrl-C waits."""
        with self.immediate():
            pass

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def _raise_received(self) -> None:
        if self._received:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _handling(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
