"""How many workers there are, and how soon the parent process, BentoML's circus, sees that one has died."""

import os
from typing import Any

from bentoml._internal.resource import CpuResource
from circus.arbiter import Arbiter

CHECK_S = 2.0


def usable_cores() -> int:
    """By this process' affinity and its control group's quota; BentoML's own `cpu_count` knows only the latter."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, int(CpuResource.from_system())))


def watch_closely() -> None:
    """BentoML has it look every 10 s and offers no setting; a worker's start comes on top of that."""
    begin = Arbiter.__init__

    def begin_closer(self: Arbiter, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs | {"check_delay": CHECK_S})

    Arbiter.__init__ = begin_closer
