"""Schemas of the responses."""

from typing import Any

from pydantic import BaseModel

# `Prediction` without `model`, as plain data: validation would take longer than inference.
Answer = dict[str, Any]


class Score(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class ModelVersion(BaseModel):
    """The model that made a prediction; `sha256` is that of its graph."""

    name: str
    version: str
    sha256: str


class Prediction(Score):
    """The most probable class, and the `top` classes in descending order of probability."""

    top: list[Score]
    model: ModelVersion


class ItemProblem(BaseModel):
    code: str
    message: str


class Problem(ItemProblem):
    """Error of a request; `request_id` is that of the header X-Request-ID."""

    request_id: str


class Item(BaseModel):
    """Entry of a batch: a prediction, or the error of an item that cannot be read."""

    label: str | None = None
    probability: float | None = None
    top: list[Score] | None = None
    error: ItemProblem | None = None


class Predictions(BaseModel):
    """Predictions of a batch, one entry per item, in the order of the request."""

    predictions: list[Item]
    model: ModelVersion
