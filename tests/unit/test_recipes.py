import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError
from relu_pipeline.recipes import RECIPES, apply_recipe, recipe_path


@pytest.fixture
def params(tmp_path: Path) -> Path:
    shutil.copyfile("params.yaml", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_gives_valid_params_and_keeps_the_comments(params: Path, recipe: Path) -> None:
    apply_recipe(recipe, params)
    assert load_params(params) != load_params()
    before, after = (path.read_text().splitlines() for path in (Path("params.yaml"), params))
    assert len(before) == len(after)  # lists and comments stay as they are
    assert sum(line.count("#") for line in before) == sum(line.count("#") for line in after)


def test_a_recipe_that_does_not_fit_changes_nothing(params: Path, tmp_path: Path) -> None:
    before = params.read_text()
    for content, message in (
        ({"image": {"train": {"max_epoch": 2}}}, "max_epoch: unknown key; valid here: max_epochs"),
        ({"image": {"train": {"max_epochs": "two"}}}, "image.train.max_epochs: "),
    ):
        YAML().dump(content, tmp_path / "recipe.yaml")
        with pytest.raises(ConfigError, match=message):
            apply_recipe(tmp_path / "recipe.yaml", params)
        assert params.read_text() == before


def test_an_unknown_recipe_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"fast\.yaml: no such recipe; there are: gpu, quick, timm"):
        recipe_path("fast")


def test_the_command_is_one_line_where_it_fails() -> None:
    words = [sys.executable, "-m", "relu_pipeline.cli", "recipe", "fast"]
    failed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: configs/recipes/fast.yaml: no such recipe")
    assert failed.stderr.count("\n") == 1
