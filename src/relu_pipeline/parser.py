"""Argument parser with an example in its help, and shell completion of file names."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose help ends with `example`, a command line without the name of the command.

    `files` is shtab's completion of paths (https://docs.iterative.ai/shtab/use/); it is set on every argument of the
    type Path, also of subcommands.
    """

    def __init__(self, *, example: str, files: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.files = files
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(epilog=f"example:\n  %(prog)s {example}".rstrip(), formatter_class=formatter, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        if self.files and options.get("type") is Path:
            action.complete = self.files  # type: ignore[attr-defined]
        return action

    def add_subparsers(self, **options: Any) -> Any:
        return super().add_subparsers(**{"parser_class": partial(type(self), files=self.files)} | options)


def add_command(commands: Any, name: str, summary: str, example: str, description: str | None = None) -> Parser:
    """Add a command to the result of `Parser.add_subparsers`; its help begins with `summary`, or `description`."""
    described = description or f"{summary[0].upper()}{summary[1:]}."
    parser: Parser = commands.add_parser(name, help=summary, description=described, example=example)
    return parser
