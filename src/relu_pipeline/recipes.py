"""Recipes: what a file of `configs/recipes/` changes in params.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from relu_pipeline import artifacts
from relu_pipeline.config import Params, load_params
from relu_pipeline.errors import ConfigError

RECIPES = Path("configs/recipes")
PARAMS = Path("params.yaml")


def recipe_path(name: str) -> Path:
    """Raises ConfigError, naming the recipes that there are."""
    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(found.stem for found in RECIPES.glob("*.yaml")))
        raise ConfigError(f"{path}: no such recipe; there are: {names or 'none here: run this in the project root'}")
    return path


def apply_recipe(recipe: Path, params: Path = PARAMS) -> Params:
    """Write the values of `recipe` into `params`, whose comments stay. Raises ConfigError and changes nothing."""
    yaml = YAML()
    content = yaml.load(params)
    _merge(content, yaml.load(recipe))
    with artifacts.atomic_file(params) as partial:
        yaml.dump(content, partial)
        try:
            return load_params(partial)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(partial), str(recipe))) from error


def _merge(into: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and key in into:
            _merge(into[key], value)
        else:
            into[key] = value
