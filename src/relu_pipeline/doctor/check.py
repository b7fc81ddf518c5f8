"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """`fix` is the command, or the step, that resolves what is wrong."""

    name: str
    level: Level
    message: str
    fix: str | None = None
