import difflib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from relu_pipeline.config import load_params
from relu_pipeline.errors import ConfigError
from relu_pipeline.recipes import RECIPES, apply_recipe, recipe_path


@pytest.fixture
def params(tmp_path: Path) -> Path:
    shutil.copyfile("params.yaml", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def keys(changes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the values, without the sections."""
    for key, value in changes.items():
        yield from keys(value) if isinstance(value, dict) else (key,)


def changed(before: str, after: str) -> list[str]:
    """Return the lines that a diff of the two removes or adds, without their indentation."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    return [line[1:].strip() for line in lines if not line.startswith("@@")]


def as_dvc_writes_it(text: str, params: Path) -> str:
    """`dvc exp run -S` writes params.yaml so, whatever it looked like."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(yaml.load(text), params)
    return params.read_text()


def with_indented_lists(text: str) -> str:
    return re.sub("^( *)- ", r"\1  - ", text, flags=re.MULTILINE)


@pytest.mark.parametrize("written", [str, with_indented_lists], ids=["shipped", "indented lists"])
@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_gives_valid_params_and_changes_only_the_lines_of_its_values(
    params: Path, recipe: Path, written: Callable[[str], str]
) -> None:
    before = written(params.read_text())
    params.write_text(before)
    apply_recipe(recipe, params)
    assert load_params(params) != load_params()
    names = tuple(f"{key}:" for key in keys(YAML(typ="safe").load(recipe)))
    after = params.read_text()
    assert [line for line in changed(before, after) if not line.startswith((*names, "- "))] == []
    apply_recipe(recipe, params)
    assert params.read_text() == after


def test_what_dvc_wrote_differs_only_in_what_it_changed(params: Path) -> None:
    before = params.read_text()
    assert as_dvc_writes_it(before, params) == before
    assert as_dvc_writes_it(before.replace("seed: 42", "seed: 7"), params) == before.replace("seed: 42", "seed: 7")


def test_quotes_long_lines_and_comments_at_lists_stay(params: Path, tmp_path: Path) -> None:
    long = "own/" + " ".join(["photographs of hand signs"] * 10)
    before = (
        params.read_text()
        .replace("image: configs/data/cifar10.yaml", f"image: {long}")
        .replace("name: residual_cnn ", "name: 'residual_cnn' ")
        .replace("- 128\n      - 256\n", "- 128  # more\n      - 256\n\n      # the patches\n")
    )
    for widths in ([8], [8, 16], [8, 16, 32], [8, 128, 32, 32]):
        params.write_text(before)
        YAML().dump({"image": {"model": {"residual_cnn": {"widths": widths}}}}, tmp_path / "recipe.yaml")
        apply_recipe(tmp_path / "recipe.yaml", params)
        assert load_params(params).image.model.residual_cnn.widths == widths
        lines = changed(before, params.read_text())
        assert [line for line in lines if not line.startswith("- ")] == []


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
    with pytest.raises(ConfigError, match=r"fast\.yaml: no such recipe; valid: gpu, quick, timm"):
        recipe_path("fast")


def test_a_path_is_not_a_recipe() -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        recipe_path("../demo")


def test_the_command_is_one_line_where_it_fails() -> None:
    words = [sys.executable, "-m", "relu_pipeline.cli", "recipe", "fast"]
    failed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: configs/recipes/fast.yaml: no such recipe")
    assert failed.stderr.count("\n") == 1


def interrupted_while_it_writes(params: Path) -> bool:
    """Apply a recipe and interrupt it; return whether the signal came before the end."""
    partial = params.with_name(".params.yaml.partial")
    with subprocess.Popen(
        [sys.executable, "-m", "relu_pipeline.cli", "recipe", "quick"],
        cwd=params.parent,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while not partial.exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
    assert not partial.exists()
    return process.returncode == 130


def test_an_interrupt_changes_nothing(params: Path) -> None:
    shutil.copytree("configs", params.parent / "configs")
    before = params.read_text()
    for _ in range(5):
        params.write_text(before)
        if interrupted_while_it_writes(params):
            break
    else:
        pytest.fail("the recipe was written before each signal")
    assert params.read_text() == before
