"""Edits of params.yaml that preserve comments and the formatting of all other lines."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.tokens import CommentToken

from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError

LIST = re.compile(r"^( *)\w[^\n]*\n( *)- ", re.MULTILINE)  # a key and the first item below it
ONE_LINE = 4096  # line width above which ruamel.yaml wraps; more than any value has


@contextmanager
def edited(params: Path, cause: str) -> Iterator[Any]:
    """Yield the content of `params`, to be changed in place, and write it after the block.

    Raises ConfigError, which names `cause`, if the new content is invalid; `params` does not change then.
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
    """Set a value of a section. Lists are changed item by item, so that comments on items stay."""
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
    """Keep the blank lines and comments after a section or list while its last entry changes.

    ruamel.yaml attaches them to the last entry, below the comment in its own line, and would remove or move them.
    """
    comments, token, behind = entries.ca.items, _comment(entries), ""
    if token:
        own, _, behind = token.value.partition("\n")
        comments.pop(_last(entries))
        if own:
            _set_comment(entries, CommentToken(f"{own}\n", token.start_mark, None))
    yield
    if token and behind:
        now = _comment(entries)
        own = now.value if now else "\n"
        _set_comment(entries, CommentToken(own + behind, (now or token).start_mark, None))


def _comment(entries: Any) -> CommentToken | None:
    """Return the comment of the last entry, with all that is behind it."""
    found: list[CommentToken | None] | None = entries.ca.items.get(_last(entries))
    return found[_place(entries)] if found else None


def _set_comment(entries: Any, token: CommentToken) -> None:
    slots: list[CommentToken | None] = [None] * 4
    slots[_place(entries)] = token
    entries.ca.items[_last(entries)] = slots


def _place(entries: Any) -> int:
    """Return where ruamel.yaml has the comment in the line of an entry, and what is behind it."""
    return 0 if isinstance(entries, list) else 2


def _last(entries: Any) -> Any:
    return len(entries) - 1 if isinstance(entries, list) else list(entries)[-1]


def _editor(text: str) -> YAML:
    """Return a YAML parser and writer that preserves quotes, long lines and the list indentation of `text`."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = ONE_LINE
    first = LIST.search(text)
    offset = len(first[2]) - len(first[1]) if first else 0
    yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
    return yaml
