"""The commands and the code in the documents, executed as a reader would type them."""

import re
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import requests
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
COMMAND_TIMEOUT_S = 600
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20
# In place of `make setup`: the clone has the `.venv` of the tests.
INSTALLED = f"mkdir .venv && ln -s {shlex.quote(str(Path(sys.executable).parent))} .venv/bin && touch .venv/.ready"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document. `section`: the heading above it.

    `skipped`: why no test executes it, from a comment `<!-- not executed: REASON -->` in the line above.
    """

    section: str
    language: str
    code: str
    skipped: str | None

    def commands(self) -> list[str]:
        """Return the commands of a shell block, each with the lines that continue it, without empty lines."""
        return [line for line in self.code.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(document: str, language: str | None = None, section: str | None = None) -> list[Block]:
    """Return the fenced blocks of a document, named by its path in the project; all, or those of a language, section.

    A section is the nearest heading of any level.
    """
    found, heading, comment, opened = [], "", "", ""
    for token in MarkdownIt().parse((ROOT / document).read_text(encoding="utf-8")):
        if token.type == "inline" and token.level == 1 and opened == "heading_open":
            heading = token.content
        elif token.type == "fence":
            reason = re.fullmatch(r"<!-- not executed: (.+) -->", comment)
            found.append(Block(heading, token.info.strip(), token.content, reason and reason[1]))
        comment = token.content.strip() if token.type == "html_block" else ""
        opened = token.type
    return [
        block for block in found if block.language == (language or block.language) and section in (None, block.section)
    ]


class Shell:
    """A session of bash: each command sees the folder and the variables that the commands before it left.

    As a context manager it ends with its services.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._services: list[psutil.Process] = []

    def run(self, command: str) -> str:
        """Run a command to its end; return what it prints. Fails the test if its exit status is not 0."""
        status, printed = self._execute(f"eval {shlex.quote(command)} < /dev/null")
        assert status == "0", f"{command}: exit status {status}:\n{printed}"
        return printed

    def start(self, command: str, url: str, log: Path) -> None:
        """Start a service; return when it answers at `url`. It runs as long as the session."""
        _, number = self._execute(f"eval {shlex.quote(command)} < /dev/null > {shlex.quote(str(log))} 2>&1 & echo $!")
        service = psutil.Process(int(number))
        self._services.append(service)
        deadline = time.monotonic() + START_TIMEOUT_S
        while service.is_running() and service.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            with suppress(requests.RequestException):
                if requests.get(url, timeout=1).ok:
                    return
            time.sleep(0.2)
        raise AssertionError(f"{command}: no answer from {url}:\n{log.read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        processes = [child for service in self._services for child in _family(service)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(processes, STOP_TIMEOUT_S)[1]:
            process.kill()
        self._process.kill()
        self._process.wait()  # not `communicate`: what a command left in the background keeps the pipe open

    def _execute(self, line: str) -> tuple[str, str]:
        """Return the exit status of `line`, and what it prints."""
        end, printed = secrets.token_hex(), ""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\nprintf '\\n%s %s\\n' {end} $?\n")
        self._process.stdin.flush()
        overdue = threading.Timer(COMMAND_TIMEOUT_S, self._process.kill)
        overdue.start()
        for printed_line in self._process.stdout:
            if printed_line.startswith(end):
                overdue.cancel()
                return printed_line.split()[1], printed.removesuffix("\n")
            printed += printed_line
        raise AssertionError(f"{line}: ended the shell, or took more than {COMMAND_TIMEOUT_S} s:\n{printed}")


@contextmanager
def followed(
    document: str,
    folder: Path,
    environment: Mapping[str, str],
    replaced: Mapping[str, str],
    services: Mapping[str, str],
) -> Iterator[list[tuple[str, str]]]:
    """Execute the shell and Python blocks of a document in their order; yield pairs of a command and what it printed.

    `replaced`: what the test has in place of texts of the document, such as addresses and numbers that make it long.
    `services`: commands that go on until the end of the `with` block, with the URL that answers when they are ready.
    Each key must occur in the document.
    """
    printed, unused = [], {*replaced, *services}
    with Shell(folder, environment) as shell:
        for block in blocks(document):
            if block.skipped:
                continue
            for command in {"sh": block.commands(), "python": [block.code]}.get(block.language, []):
                unused -= {key for key in unused if key in command}
                changed = _replace(command, replaced)
                if block.language == "python":
                    printed.append((command, shell.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(changed)}")))
                elif urls := [url for service, url in services.items() if service in command]:
                    shell.start(changed, urls[0], folder.with_name(f"service-{len(printed)}.log"))
                else:
                    printed.append((command, shell.run(changed)))
        assert not unused, f"{document}: no command has {sorted(unused)}"
        yield printed


def _replace(command: str, replaced: Mapping[str, str]) -> str:
    for text, other in replaced.items():
        command = command.replace(text, other)
    return command


def _family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
