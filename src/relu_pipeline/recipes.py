"""Recipes: presets in `configs/recipes/` that overwrite values of params.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from relu_pipeline.config import PARAMS, where_to_find
from relu_pipeline.errors import ConfigError
from relu_pipeline.params_file import edited, put

RECIPES = Path("configs/recipes")


def recipe_path(name: str) -> Path:
    """Return the path of a recipe. Raises ConfigError, with the names of all recipes, if there is none."""
    recipes = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in recipes:
        valid = f"valid: {', '.join(recipes)}" if recipes else where_to_find(RECIPES)
        raise ConfigError(f"{RECIPES / name}.yaml: no such recipe; {valid}")
    return recipes[name]


def apply_recipe(recipe: Path, params: Path = PARAMS) -> None:
    """Write the values of `recipe` to `params`; other lines stay. On ConfigError `params` does not change."""
    with edited(params, str(recipe)) as content:
        _merge(content, YAML(typ="safe", pure=True).load(recipe))


def _merge(into: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and key in into:
            _merge(into[key], value)
        else:
            put(into, key, value)
