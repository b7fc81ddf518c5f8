import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from relu_pipeline.config import Params, load_params, load_published
from relu_pipeline.errors import ConfigError
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]


def changed(tmp_path: Path, key: str, value: object) -> Path:
    path = tmp_path / "params.yaml"
    shutil.copyfile(ROOT / "params.yaml", path)
    set_param(path, key, value)
    return path


def test_the_shipped_configuration_is_valid() -> None:
    for description in load_params(ROOT / "params.yaml").tasks.values():
        assert load_published(ROOT / description).source == "published"
    assert len(load_published(ROOT / "configs/data/cifar10.yaml").labels) == 10


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace(" learning_rate: 0.1\n", " learning_rate: 1e-1\n"))
    assert load_params(path).text.train.learning_rate == 0.1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image.train.max_epoch", 3, r"image\.train\.max_epoch: unknown key; valid here: max_epochs, batch_size"),
        ("imagee", {}, r"imagee: unknown key; valid here: seed, tasks, image"),
        ("image.train.max_epochs", "ten", r"image\.train\.max_epochs: .*integer.*'ten'"),
        ("image.train.max_epochs", 0, r"image\.train\.max_epochs: .*greater than or equal to 1"),
        ("image.prepare.val_fraction", 1.5, r"image\.prepare\.val_fraction: .*less than or equal to 0\.5"),
        ("image.train.monitor", "loss", r"image\.train\.monitor: .*'accuracy' or 'f1_macro'.*'loss'"),
        ("text.train.class_weights", "inverse", r"text\.train\.class_weights: .*'none' or 'balanced'.*'inverse'"),
        ("text.train.accelerator", "tpu", r"text\.train\.accelerator: .*'auto', 'cpu' or 'gpu'.*'tpu'"),
        (
            "image.model.residual_cnn.stem_components",
            49,
            r"image\.model\.residual_cnn: .*stem_components must be at most 48 where stem_kernel is 4",
        ),
        ("image.model.name", "lenet", r"image\.model\.name: .*'resnet18' or 'timm', but it is 'lenet'"),
        ("image.model.timm.freeze", "yes", r"image\.model\.timm\.freeze: .*boolean"),
        ("image.model.timm.name", "hf-hub:someone/net", r"image\.model\.timm\.name: .*match pattern"),
        ("text.train.learning_rate", float("nan"), r"text\.train\.learning_rate"),
        ("tasks.audio", "configs/data/digits.yaml", r"tasks\.audio.*: .*'image' or 'text'"),
        ("tasks", {}, r"tasks: .*at least 1"),
        ("text.model.hidden_dims", [], r"text\.model\.hidden_dims: .*at least 1.*, or auto, but"),
        ("text.model.hidden_dims", [64, "x"], r"text\.model\.hidden_dims\.1: .*valid integer, but it is 'x'"),
        (
            "image.train.max_epochs",
            "two",
            r"image\.train\.max_epochs: input should be a valid integer, or auto, but it is 'two'",
        ),
        ("search", {"foo": 1}, r"search\.foo: takes the keys low, high, log, choices, but it is 1"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_params(changed(tmp_path, key, value))
    assert "\n" not in str(caught.value)
    assert "params.yaml" in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("freeze", True), ("weights", "weights.pth")])
def test_only_pretrained_weights_are_frozen_or_read_from_a_file(tmp_path: Path, key: str, value: object) -> None:
    path = changed(tmp_path, f"image.model.timm.{key}", value)
    load_params(path)
    set_param(path, "image.model.timm.pretrained", False)
    with pytest.raises(ConfigError, match=rf"image\.model\.timm: .*{key} needs pretrained: true"):
        load_params(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "mirror: ag_news/test.csv",
            "mirror: ag_news/other.csv",
            r"files must be train\.csv and test\.csv.*has train\.csv, other\.csv",
        ),
        ("format: ag_news", "format: cifar10", r"files must be one archive .* has 2 entries"),
        (
            "    checksum: md5:b1",
            "    checksm: md5:b1",
            r"files\.0\.checksm: unknown key; valid here: url, checksum, mirror",
        ),
    ],
)
def test_files_that_do_not_fit_their_format_are_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    content = (ROOT / "configs/data/ag_news.yaml").read_text()
    (tmp_path / "data.yaml").write_text(content.replace(before, after))
    with pytest.raises(ConfigError, match=message):
        load_published(tmp_path / "data.yaml")


def test_a_folder_and_a_long_value_are_one_short_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory; it must be a YAML file"):
        load_published(tmp_path)
    (tmp_path / "data.yaml").write_text("word " * 1000)
    with pytest.raises(ConfigError) as caught:
        load_published(tmp_path / "data.yaml")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("label", "message"),
    [("deer", r"labels: .*deer appears more than once"), ("0", r"labels\.\d+: .*valid string, but it is 0")],
)
def test_labels_are_strings_and_each_is_there_once(tmp_path: Path, label: str, message: str) -> None:
    content = (ROOT / "configs/data/cifar10.yaml").read_text()
    (tmp_path / "data.yaml").write_text(content.replace("- dog", f"- {label}"))
    with pytest.raises(ConfigError, match=message):
        load_published(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "{low: 1.0, hig: 2.0}",
            r"search\.text\.model\.dropout\.hig: unknown key; valid here: low, high, log, choices",
        ),
        ("{low: 0.5}", r"search\.text\.model\.dropout: .*takes either low, high"),
        ("{low: 0.1, high: 0.2, choices: [0.1]}", r"search\.text\.model\.dropout: .*or choices alone"),
        ("{low: 0.2, high: 0.2}", r"search\.text\.model\.dropout: .*0\.2 is not below 0\.2"),
        ("{low: 0, high: 0.2, log: true}", r"search\.text\.model\.dropout: .*low must be above 0"),
        ("{choices: []}", r"search\.text\.model\.dropout\.choices: .*at least 1"),
        ("{low: few, high: 1}", r"search\.text\.model\.dropout\.low: .*number.*'few'"),
    ],
)
def test_a_range_of_the_search_is_numbers_or_choices(tmp_path: Path, content: str, message: str) -> None:
    before, params = "text.model.dropout: {low: 0.0, high: 0.5}", (ROOT / "params.yaml").read_text()
    assert before in params
    (tmp_path / "params.yaml").write_text(params.replace(before, f"text.model.dropout: {content}"))
    with pytest.raises(ConfigError, match=message):
        load_params(tmp_path / "params.yaml")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("seed: 42", ""))
    with pytest.raises(ConfigError, match="seed: missing"):
        load_params(path)


def test_broken_yaml_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1,")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def documented_limits() -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each limited parameter of the reference with values at its limits, and values beyond them."""
    page = (ROOT / "docs/reference/params.md").read_text()
    for key, valid in re.findall(r"^\| `([\w.]+)` \|[^|]*\| ([^|]*) \|", page, re.MULTILINE):
        length = re.match(r"list of (?:at least )?(\d+|any length)(?: to (\d+))?: ", valid)
        step = 1 if "integer" in valid else 1e-9
        inside, outside = [], []
        for word, written in re.findall(
            r"(at least|above|at most|below) ([\d,.]+)", valid[length.end() if length else 0 :]
        ):
            limit = int(written.replace(",", "")) if step == 1 else float(written)
            towards = step if word in ("at least", "above") else -step
            is_included = word in ("at least", "at most")
            inside.append(limit if is_included else limit + towards)
            outside.append(limit - towards if is_included else limit)
        if "number" in valid:
            outside += [math.inf, math.nan]
        if length:
            least, most = int(length[1]) if length[1].isdigit() else 0, int(length[2] or 50)
            item = inside[0] if inside else "text"
            inside = [[value] * most for value in inside or [item]] + [[item] * least]
            outside = [[value] * most for value in outside] + [[item] * (least - 1)] * (least > 0)
            outside += [[item] * (most + 1)] if length[2] else []
        if inside:
            yield key, inside, outside


@pytest.mark.parametrize(("key", "inside", "outside"), list(documented_limits()))
def test_a_limit_of_the_reference_is_the_one_that_is_checked(key: str, inside: list[Any], outside: list[Any]) -> None:
    for value, is_valid in [*((value, True) for value in inside), *((value, False) for value in outside)]:
        content = YAML(typ="safe").load(ROOT / "params.yaml")
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = value
        try:
            Params.model_validate(content)
            refused = False
        except ValidationError as error:  # a section may also refuse a value that does not suit another one
            refused = any(".".join(map(str, detail["loc"])).startswith(key) for detail in error.errors())
        assert refused != is_valid, value


def test_parsed_parameters_cannot_be_changed() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 7
    with pytest.raises(ValidationError, match="frozen"):
        params.image.train.max_epochs = 1
