import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler

from relu_pipeline.config import SearchRange, load_params
from relu_pipeline.errors import ConfigError
from relu_pipeline.search.space import Config, Space, command_line, read_space, with_values

ROOT = Path(__file__).resolve().parents[3]
TEXT = load_params(ROOT / "params.yaml").text


def settle(config: Config) -> Config:
    """As for a small data set."""
    numbers = {"max_epochs": 4, "batch_size": 32, "word_dropout": 0.25}
    chosen = {name: value for name, value in numbers.items() if getattr(config.train, name) == "auto"}
    if "batch_size" in chosen:
        chosen["learning_rate"] = config.train.learning_rate / 8
    return config.model_copy(update={"train": config.train.model_copy(update=chosen)})


def space_of(ranges: Mapping[str, Mapping[str, Any]], config: Config = TEXT) -> Space:
    parsed = {name: SearchRange.model_validate(content) for name, content in ranges.items()}
    return read_space(parsed, "text", config, settle)


def suggestions(space: Space, count: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def test_what_is_shipped_can_be_searched_and_has_few_parameters() -> None:
    params = load_params(ROOT / "params.yaml")
    assert set(params.search) == {name for name in params.search if name.startswith(("image.", "text."))}
    for space in (
        read_space(params.search, "image", params.image, lambda config: config),  # which has no auto to settle
        read_space(params.search, "text", params.text, settle),
    ):
        assert 4 <= len(space.parameters) <= 8


def test_values_stay_in_their_ranges_and_the_training_takes_them() -> None:
    space = space_of(
        {
            "text.train.learning_rate": {"low": 0.001, "high": 1.0, "log": True},
            "text.train.word_dropout": {"low": 0.0, "high": 0.9999},
            "text.train.max_epochs": {"low": 2, "high": 6},
            "text.train.class_weights": {"choices": ["none", "balanced"]},
            "text.train.compile": {"choices": [False, True]},
            "text.model.hidden_dims": {"choices": ["auto", [64, 64], [128]]},
        }
    )
    tried = suggestions(space, 200)
    for values in tried:
        config = with_values(TEXT, values)
        assert 0.001 <= config.train.learning_rate <= 1
        assert 0 <= config.train.word_dropout < 1
        assert f"{config.train.learning_rate:.3g}" == f"{config.train.learning_rate:g}"
    assert {values["text.train.max_epochs"] for values in tried} == {2, 3, 4, 5, 6}
    assert {json.dumps(values["text.model.hidden_dims"]) for values in tried} == {'"auto"', "[64, 64]", "[128]"}
    assert sum(values["text.train.learning_rate"] < 0.03 for values in tried) == pytest.approx(100, abs=25)


def test_the_values_of_params_yaml_are_always_among_those_that_are_tried() -> None:
    space = space_of(
        {
            "text.train.learning_rate": {"low": 0.5, "high": 1.0},
            "text.train.word_dropout": {"low": 0.3, "high": 0.6},  # auto, which stands for 0.25
            "text.model.hidden_dims": {"choices": [[64], [128]]},
        }
    )
    assert space.defaults == {
        "text.train.learning_rate": 0.1,
        "text.train.word_dropout": 0.25,
        "text.model.hidden_dims": "auto",
    }
    rate, dropout, dims = space.parameters
    assert (rate.low, rate.high, dropout.low, dropout.high) == (0.1, 1.0, 0.25, 0.6)
    assert dims.choices == ('"auto"', "[64]", "[128]")
    study = optuna.create_study()
    study.enqueue_trial(space.encoded_defaults())
    assert space.suggest(study.ask()) == space.defaults


def test_only_what_differs_is_on_the_command_line() -> None:
    space = space_of(
        {
            "text.train.learning_rate": {"low": 0.01, "high": 1.0},
            "text.model.dropout": {"low": 0.0, "high": 0.5},
            "text.model.hidden_dims": {"choices": ["auto", [64, 64]]},
        }
    )
    suggested = {"text.train.learning_rate": 0.1, "text.model.dropout": 0.123456, "text.model.hidden_dims": "[64, 64]"}
    command = command_line(space.differences(suggested))
    assert command == "dvc exp run -S text.model.dropout=0.123 -S 'text.model.hidden_dims=[64,64]'"


@given(st.lists(st.integers(1, 999), min_size=1), st.floats(0.0001, 999), st.booleans(), st.text("sgd *$'\""))
def test_a_shell_reads_back_each_value(numbers: list[int], rate: float, flag: bool, word: str) -> None:
    values = {"a.numbers": numbers, "a.rate": rate, "a.flag": flag, "a.word": word}
    words = shlex.split(command_line(values))
    assert words[:3] == ["dvc", "exp", "run"]
    read = dict(part.split("=", 1) for part in words[4::2])
    assert read.pop("a.word") == values.pop("a.word")
    assert {name: json.loads(text) for name, text in read.items()} == values


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (
            {"text.train.learning_rat": {"low": 0.1, "high": 0.2}},
            r"search: text\.train\.learning_rat: unknown parameter; valid here: .*text\.train\.learning_rate",
        ),
        ({"txt.train.learning_rate": {"low": 0.1, "high": 0.2}}, r"txt\.train\.learning_rate: unknown parameter"),
        ({"text.train.monitor": {"choices": ["f1_macro"]}}, r"text\.train\.monitor: unknown parameter"),
        ({"text.prepare.vocab_size": {"low": 300, "high": 500}}, r"text\.prepare\.vocab_size: unknown parameter"),
        ({"image.train.colour": {"low": 0.0, "high": 0.5}}, r"no parameter of text; valid here: text\.model"),
        ({"text.model.dropout": {"low": 0.0, "high": 1.5}}, r"model\.dropout: .*less than 1.*1\.5"),
        ({"text.train.max_epochs": {"low": 1.5, "high": 3}}, r"train\.max_epochs: .*integer.*1\.5"),
        ({"text.train.class_weights": {"choices": ["some"]}}, r"train\.class_weights: .*'none' or 'balanced'.*'some'"),
        ({"text.train.compile": {"low": 0.0, "high": 1.0}}, r"train\.compile: .*boolean"),
        (
            {"text.train.weight_decay": {"low": 0.1, "high": 1.0, "log": True}},
            r"log requires values above 0, but .* is 0\.0",
        ),
        (
            {"text.train.batch_size": {"low": 16, "high": 64}},
            r"other parameters follow from text\.train\.batch_size while it is auto; set it to a number \(it is 32\)",
        ),
    ],
)
def test_a_wrong_range_is_one_line_that_names_it(ranges: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        space_of(ranges)
    assert str(caught.value).startswith("params.yaml: search: ")
    assert "\n" not in str(caught.value)


def test_choices_of_an_automatic_parameter_may_have_auto_among_them() -> None:
    space = space_of({"text.train.batch_size": {"choices": ["auto", 64]}})
    assert space.defaults == {"text.train.batch_size": "auto"}
