"""Ctrl-C in a search."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Ctrl-C ends a trial at once; between trials, it waits until Optuna is done with the last one.

    There, it could be lost: Python drops what is raised in a `__del__`, which Lightning's Trainer has, and in
    `Study.tell` Optuna raises another error.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGINT)
        self._received = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Ctrl-C waits for the next `immediate`. Raises ValueError outside the main thread."""
        signal.signal(signal.SIGINT, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, self._handler)

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """In `deferred`, or as a decorator: Ctrl-C raises KeyboardInterrupt, also one that waits."""
        signal.signal(signal.SIGINT, self._handler)
        try:
            if self._received:
                signal.raise_signal(signal.SIGINT)
            yield
        finally:
            signal.signal(signal.SIGINT, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
