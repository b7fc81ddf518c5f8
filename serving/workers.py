"""How soon the parent process, BentoML's circus, sees that a worker has died."""

from typing import Any

from circus.arbiter import Arbiter

CHECK_S = 2.0


def watch_closely() -> None:
    """BentoML has it look every 10 s and offers no setting; a worker's start comes on top of that."""
    begin = Arbiter.__init__

    def begin_closer(self: Arbiter, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs | {"check_delay": CHECK_S})

    Arbiter.__init__ = begin_closer
