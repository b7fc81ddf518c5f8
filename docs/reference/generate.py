"""Write docs/reference/command.md and params.md: `python docs/reference/generate.py`, in the root of the project."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from relu_pipeline.config import PARAMS, Params

HERE = Path(__file__).parent
LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
KINDS = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "null": "empty"}
PARAMS_HEAD = """# params.yaml

Which parameters are there, and which values are valid? `dvc exp run -S NAME=VALUE` changes one in `params.yaml`. A
wrong value is an error that lists the valid ones. This page is generated from `params.yaml` and
`src/relu_pipeline/config.py`.
"""
COMMAND_HEAD = """# Command line

What does each command of `relu-pipeline` take? This page is generated from `--help`.
"""
COMMAND = re.compile(r"^    ([a-z][a-z-]+)(?: |$)", re.MULTILINE)


def params_page() -> str:
    """Return a table for each section: name, default, valid values, and the comment of params.yaml."""
    schema, params = Params.model_json_schema(), YAML().load(PARAMS)
    page = PARAMS_HEAD
    for section in params:
        page += f"\n## {section}\n\n| name | default | valid | meaning |\n| --- | --- | --- | --- |\n"
        page += "\n".join(_rows(params, section, schema["properties"][section], schema, section)) + "\n"
    return page


def _rows(parent: CommentedMap, key: str, field: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    value, model = parent[key], _resolve(field, schema)
    if isinstance(value, CommentedMap) and model.get("title") != "SearchRange":
        fields = model.get("properties", {})
        for name in value:
            yield from _rows(value, name, fields.get(name, model.get("additionalProperties")), schema, f"{path}.{name}")
    else:
        valid = _valid(model, schema) + (" or `auto`" if value == "auto" and "enum" not in model else "")
        cells = (f"`{path}`", f"`{_shown(value)}`", valid, _comment(parent, key).replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |"


def _resolve(field: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def _valid(model: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in model:
        return " or ".join(_valid(_resolve(choice, schema), schema) for choice in model["anyOf"])
    if "enum" in model:
        return ", ".join(f"`{choice}`" for choice in model["enum"])
    if model["type"] == "array":
        least, most = model.get("minItems", 0), model.get("maxItems")
        length = f"{least} to {most}" if most else f"at least {least}" if least else "any length"
        return f"list of {length}: {_valid(_resolve(model['items'], schema), schema)}"
    if model["type"] == "object":
        return "`low` and `high`, with `log` or without, or `choices`"
    limits = " and ".join(f"{words} {model[name]:,}" for name, words in LIMITS.items() if name in model)
    return f"{KINDS[model['type']]} {limits}".strip()


def _shown(value: Any) -> str:
    match value:
        case CommentedMap():
            return ", ".join(f"{name}: {_shown(item)}" for name, item in value.items())
        case list():
            return f"[{', '.join(_shown(item) for item in value)}]"
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case _:
            return str(value)


def _comment(parent: CommentedMap, key: str) -> str:
    """Return the comment behind the key, without the lines that follow it."""
    tokens = [token for token in parent.ca.items.get(key, ()) if hasattr(token, "value")]
    return " ".join(token.value.split("\n")[0].lstrip("# ") for token in tokens)


def command_page() -> str:
    return COMMAND_HEAD + "".join(f"\n## {words}\n\n```text\n{text}```\n" for words, text in _helps("relu-pipeline"))


def _helps(words: str) -> Iterator[tuple[str, str]]:
    """Yield each command below these words with its help."""
    text = subprocess.run(
        [*words.split(), "--help"], env=os.environ | {"COLUMNS": "100"}, capture_output=True, text=True, check=True
    ).stdout
    yield words, text
    for name in COMMAND.findall(text):
        yield from _helps(f"{words} {name}")


if __name__ == "__main__":
    (HERE / "params.md").write_text(params_page())
    (HERE / "command.md").write_text(command_page())
