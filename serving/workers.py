"""How many workers there are, and how soon the parent process, BentoML's circus, sees that one has died."""

import os
from typing import Any

from bentoml._internal.resource import CpuResource
from circus.arbiter import Arbiter

CHECK_S = 2.0


def count_usable_cores() -> None:
    """BentoML's `cpu_count` heeds the quota of a control group, but not which cores a process may run on."""
    of_machine = CpuResource.from_system

    def usable(cls: type[CpuResource]) -> float:
        return min(of_machine(), len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else of_machine()

    CpuResource.from_system = classmethod(usable)


def watch_closely() -> None:
    """BentoML has it look every 10 s and offers no setting; a worker's start comes on top of that."""
    begin = Arbiter.__init__

    def begin_closer(self: Arbiter, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs | {"check_delay": CHECK_S})

    Arbiter.__init__ = begin_closer
