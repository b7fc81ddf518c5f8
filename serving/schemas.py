"""What the service answers."""

from typing import Any

from pydantic import BaseModel

# `Prediction` without `model`, as plain data: validating it takes longer than the model.
Answer = dict[str, Any]


class Score(BaseModel):
    label: str
    probability: float


class ModelVersion(BaseModel):
    name: str
    version: str
    sha256: str


class Prediction(Score):
    """The most probable class, and the most probable few with it."""

    top: list[Score]
    model: ModelVersion


class ItemProblem(BaseModel):
    code: str
    message: str


class Problem(ItemProblem):
    """The error of a request; `request_id` is that of the header X-Request-ID."""

    request_id: str


class Item(BaseModel):
    """An entry of a batch: an answer, or the error of an item that could not be read."""

    label: str | None = None
    probability: float | None = None
    top: list[Score] | None = None
    error: ItemProblem | None = None


class Predictions(BaseModel):
    """One entry for each item, in the order of the request."""

    predictions: list[Item]
    model: ModelVersion
