"""Changes to params.yaml by a program: its comments stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError


@contextmanager
def edited(params: Path, cause: str) -> Iterator[Any]:
    """Give the content of `params`, to be changed in place, and write it when the block ends well.

    Raises ConfigError, which names `cause`, and changes nothing, where the content is not valid then.
    """
    load_params(params)
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    yaml.representer.add_representer(type(None), _null)
    content = yaml.load(params)
    yield content
    with artifacts.atomic_file(params) as partial:
        yaml.dump(content, partial)
        try:
            load_params(partial)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(partial), cause)) from error


def _null(representer: Any, value: None) -> Any:
    """`null` stays the word that it is."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
