"""The search space of a task, from the section `search` of params.yaml."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Trial
from pydantic import ValidationError

from relu_pipeline.config import TASK_NAMES, ImageConfig, SearchRange, TaskName, TextConfig, explain, flatten, is_auto
from relu_pipeline.errors import ConfigError

SECTIONS = ("model", "train")
NOT_SEARCHED = "monitor"  # the metric that trials are compared by
DIGITS = 3  # significant digits of a suggested float

Config = ImageConfig | TextConfig


@dataclass(frozen=True)
class Parameter:
    """Parameter of the search space. `name` is that of `dvc exp run -S`, `default` the value in params.yaml.

    The values are `choices`, as JSON because Optuna cannot store lists, or else the range from `low` to `high`; both
    include the default.
    """

    name: str
    default: Any
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def suggest(self, trial: Trial) -> None:
        if self.choices:
            trial.suggest_categorical(self.name, self.choices)
        elif isinstance(self.default, int):
            trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        else:
            trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def encode(self, value: Any) -> Any:
        return json.dumps(value) if self.choices else value

    def decode(self, suggested: Any) -> Any:
        """Return the value for params.yaml, a float rounded to `DIGITS`."""
        if self.choices:
            return json.loads(suggested)
        if isinstance(suggested, int):
            return suggested
        return min(max(float(f"{suggested:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Space:
    """Search space of a task."""

    parameters: tuple[Parameter, ...]

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the values of params.yaml."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def encoded_defaults(self) -> dict[str, Any]:
        """Return the defaults as Optuna stores them."""
        return {parameter.name: parameter.encode(parameter.default) for parameter in self.parameters}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return a value for each parameter."""
        for parameter in self.parameters:
            parameter.suggest(trial)
        return self.values(trial.params)

    def values(self, suggested: Mapping[str, Any]) -> dict[str, Any]:
        return {parameter.name: parameter.decode(suggested[parameter.name]) for parameter in self.parameters}

    def differences(self, suggested: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that differ from params.yaml."""
        return {name: value for name, value in self.values(suggested).items() if value != self.defaults[name]}


def read_space(
    ranges: Mapping[str, SearchRange], task: TaskName, config: Config, settle: Callable[[Config], Config]
) -> Space:
    """Return the search space of `task`, with the values of `config` as defaults.

    `settle` replaces each `auto` by a number. Raises ConfigError for unknown parameters, invalid values, and a task
    without a range.
    """
    known = _known(task, config)
    of_others = tuple(f"{other}." for other in TASK_NAMES if other != task)
    if unknown := [name for name in ranges if name not in known and not name.startswith(of_others)]:
        raise ConfigError(f"params.yaml: search: {unknown[0]}: unknown parameter; valid here: {', '.join(known)}")
    named = {name: span for name, span in ranges.items() if name in known}
    if not named:
        raise ConfigError(f"params.yaml: search: no parameter of {task}; valid here: {', '.join(known)}")
    settled = settle(config)
    numbers = {name: number if is_auto(known[name]) else known[name] for name, number in _known(task, settled).items()}
    space = Space(tuple(_parameter(name, span, config, known[name], numbers[name]) for name, span in named.items()))
    for name, default in space.defaults.items():
        if settle(with_values(config, {name: default})) != settled:
            raise ConfigError(
                f"params.yaml: search: other parameters follow from {name} while it is auto; set it to a number "
                f"(it is {default}), or search choices of it with auto among them"
            )
    return space


def _known(task: TaskName, config: Config) -> dict[str, Any]:
    """Return the parameters that can be searched, with their values."""
    content = config.model_dump(include=set(SECTIONS))
    return {name: value for name, value in flatten({task: content}).items() if name.split(".")[-1] != NOT_SEARCHED}


def _parameter(name: str, span: SearchRange, config: Config, default: Any, number: Any) -> Parameter:
    """Return a parameter; `number` is the default, or the number that it stands for if it is `auto`."""
    if span.choices is not None:
        for choice in span.choices:
            with_values(config, {name: choice})
        choices = span.choices if default in span.choices else [default, *span.choices]
        return Parameter(name, default, tuple(json.dumps(choice) for choice in choices))
    ends = [_number(end, number) for end in (span.low, span.high) if end is not None]
    for end in ends:
        with_values(config, {name: end})
    low, high = min(*ends, number), max(*ends, number)
    if span.log and low <= 0:
        raise ConfigError(f"params.yaml: search: {name}: log requires values above 0, but the lowest is {low}")
    return Parameter(name, number, low=low, high=high, log=span.log)


def _number(end: float, like: Any) -> float:
    return int(end) if isinstance(like, int) and end.is_integer() else end


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return `config` with these values by name. Raises ConfigError for invalid values."""
    content = config.model_dump()
    for name, value in values.items():
        _, *sections, key = name.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[key] = value
    try:
        return type(config).model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"params.yaml: search: {explain(error, type(config))}") from error


def command_line(values: Mapping[str, Any]) -> str:
    """Return the command that trains with these values."""
    words = [part for name, value in values.items() for part in ("-S", f"{name}={as_word(value)}")]
    return shlex.join(["dvc", "exp", "run", *words])


def as_word(value: Any) -> str:
    """Return the value in the form that `dvc exp run -S` takes."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def shortest_names(names: Sequence[str]) -> list[str]:
    """Return the last part of each name, or the whole name if the last part is not unique."""
    ends = [name.split(".")[-1] for name in names]
    return [end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)]
