"""One changed value in a params.yaml."""

from pathlib import Path

from ruamel.yaml import YAML


def set_param(params: Path, key: str, value: object) -> None:
    """`key` with dots, as `dvc exp run -S` takes it."""
    yaml = YAML()
    content = yaml.load(params)
    *sections, name = key.split(".")
    section = content
    for part in sections:
        section = section[part]
    section[name] = value
    yaml.dump(content, params)
