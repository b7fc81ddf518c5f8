"""Parser of .dockerignore, and of the subset of the Dockerfile language that the project uses."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

Step = tuple[str, str]


@dataclass
class Stage:
    """Build stage; `base` is an image or the name of an earlier stage."""

    base: str
    steps: list[Step] = field(default_factory=list)


def read_stages(dockerfile: Path) -> dict[str, Stage]:
    """Return the stages by name, in order; the name of an unnamed stage is its number."""
    stages: dict[str, Stage] = {}
    for word, rest in _instructions(dockerfile.read_text()):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name or str(len(stages))] = Stage(base)
        else:
            list(stages.values())[-1].steps.append((word, rest))
    return stages


def _instructions(text: str) -> Iterator[Step]:
    without_comments = re.sub(r"(?m)^\s*#.*\n", "", text)
    for line in re.sub(r"\\\n", " ", without_comments).splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word, rest.strip()


def read_variables(rest: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `ENV A=1 B=$A`, expanded by `environment`."""
    return dict(word.split("=", 1) for word in shlex.split(Template(rest).substitute(environment)))


def read_command(rest: str) -> list[str]:
    """Return the command of `CMD [...]`, also after options of HEALTHCHECK. Raises ValueError for the shell form."""
    return json.loads(rest[rest.index("[") :])


def context_files(context: Path) -> list[Path]:
    """Return the files of the build context, relative to it; the last matching pattern of .dockerignore decides."""
    text = (context / ".dockerignore").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    patterns = [(not line.startswith("!"), _to_regex(line.removeprefix("!"))) for line in lines]
    files = (path.relative_to(context) for path in context.rglob("*") if path.is_file())
    return sorted(file for file in files if not _ignored(file, patterns))


def _ignored(file: Path, patterns: list[tuple[bool, re.Pattern[str]]]) -> bool:
    verdicts = [ignores for ignores, pattern in patterns if pattern.match(file.as_posix())]
    return bool(verdicts) and verdicts[-1]


def _to_regex(pattern: str) -> re.Pattern[str]:
    """Return a regex that matches a path, or a folder above it."""
    parts = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*"}
    words = re.split(r"(\*\*/|\*\*|\*)", pattern)
    return re.compile("".join(parts.get(word, re.escape(word)) for word in words) + "(/.*)?$")
