"""All checks, printed as they end."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from relu_pipeline.doctor.check import Check, Level
from relu_pipeline.doctor.environment import SETUP, check_git, check_python
from relu_pipeline.doctor.machine import check_accelerators, check_port, check_resources
from relu_pipeline.doctor.project import check_project, is_project
from relu_pipeline.doctor.store import check_tracking
from relu_pipeline.errors import PipelineError

MARKS: dict[Level, str] = {"ok": "\N{CHECK MARK}", "warning": "!", "error": "\N{BALLOT X}"}
ASCII_MARKS: dict[Level, str] = {"ok": "ok     ", "warning": "warning", "error": "error  "}
COLOURS: dict[Level, int] = {"ok": 32, "warning": 33, "error": 31}  # green, yellow, red of ECMA-48
NAME_CHARS = 12


def doctor(port: int, as_json: bool) -> str:
    """Run all checks, print a line for each, and return a summary, or all checks as a JSON array.

    Raises PipelineError, after all checks are printed, if one of them is an error.
    """
    checks = []
    for check in run_checks(port):
        checks.append(check)
        if not as_json:
            print(_line(check), flush=True)
    errors, warnings = (sum(check.level == level for check in checks) for level in ("error", "warning"))
    result = f"{len(checks)} checks; errors: {errors}, warnings: {warnings}"
    if as_json:
        result = json.dumps([asdict(check) for check in checks], indent=2)
    if errors:
        print(result)
        raise PipelineError(f"{errors} of {len(checks)} checks failed")
    return result


def run_checks(port: int) -> Iterator[Check]:
    """Yield the results of all checks. An exception, as of a broken package, becomes an error of its check."""
    checks = {"python": check_python, "git": check_git, "project": check_project}
    checks |= {"tracking": check_tracking} if is_project() else {}
    checks |= {"onnxruntime": check_accelerators, "port": partial(check_port, port), "disk": check_resources}
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:
            yield Check(name, "error", f"{type(error).__name__}: {error}", SETUP)


def _line(check: Check) -> str:
    fix = f"\n{' ' * (len(_mark('ok')) + NAME_CHARS + 2)}fix: {check.fix}" if check.fix else ""
    return f"{_painted(check.level)} {check.name:<{NAME_CHARS}} {check.message}{fix}"


def _mark(level: Level) -> str:
    """Return a check mark, or a word if the encoding of the output does not have it."""
    try:
        "".join(MARKS.values()).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return ASCII_MARKS[level]
    return MARKS[level]


def _painted(level: Level) -> str:
    """Return the mark, coloured on a terminal unless NO_COLOR (https://no-color.org) is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return _mark(level)
    return f"\033[{COLOURS[level]}m{_mark(level)}\033[0m"
