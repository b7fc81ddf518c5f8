"""The parser of the `relu-pipeline` command: help with an example, and completion of file names."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose help ends with the command line `example`, which is given without the command's own name.

    `files` tells shtab how a shell completes paths (https://docs.iterative.ai/shtab/use/): it is set on every argument
    of the type Path. Parsers of subcommands have the same `files`.
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
    """Add a parser to what `Parser.add_subparsers` returned; the help of the command begins with its `summary`."""
    described = description or f"{summary[0].upper()}{summary[1:]}."
    parser: Parser = commands.add_parser(name, help=summary, description=described, example=example)
    return parser
