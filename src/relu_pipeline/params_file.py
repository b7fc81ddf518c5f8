"""Changes to params.yaml by a program: the lines of other values stay as they are."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError

LIST = re.compile(r"^( *)\w[^\n]*\n( *)- ", re.MULTILINE)  # a key and the first item below it
ONE_LINE = 4096  # characters: more than any value has


@contextmanager
def edited(params: Path, cause: str) -> Iterator[Any]:
    """Give the content of `params`, to be changed in place, and write it when the block ends well.

    Raises ConfigError, which names `cause`, and changes nothing, where the content is not valid then.
    """
    load_params(params)
    text = params.read_text(encoding="utf-8")
    yaml = _editor(text)
    content = yaml.load(text)
    yield content
    with artifacts.atomic_file(params) as partial:
        yaml.dump(content, partial)
        try:
            load_params(partial)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(partial), cause)) from error


def put(section: Any, key: str, value: Any) -> None:
    """Set a value of a section of the content; a list item by item, so that the comments at its items stay."""
    old = section.get(key)
    if old == value:
        return
    if not (old and value and isinstance(old, list) and isinstance(value, list)):
        section[key] = value
        return
    with end_kept(old):
        del old[len(value) :]
        for index, item in enumerate(value):
            if index < len(old):
                old[index] = item
            else:
                old.append(item)


@contextmanager
def end_kept(entries: Any) -> Iterator[None]:
    """Keep the blank lines and comments behind a section or list where they are, whatever becomes its last entry.

    ruamel.yaml stores them with the last entry, and would remove or move them with it.
    """
    end = entries.ca.items.pop(_last(entries), None)
    yield
    if end:
        entries.ca.items[_last(entries)] = end


def _last(entries: Any) -> Any:
    return len(entries) - 1 if isinstance(entries, list) else list(entries)[-1]


def _editor(text: str) -> YAML:
    """Return a parser and writer that keeps the quotes, the long lines and the indentation of lists of `text`."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = ONE_LINE
    first = LIST.search(text)
    offset = len(first[2]) - len(first[1]) if first else 0
    yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
    return yaml
