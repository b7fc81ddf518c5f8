"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """Result of a check; `fix` is the command, or the step, that resolves the problem."""

    name: str
    level: Level
    message: str
    fix: str | None = None
