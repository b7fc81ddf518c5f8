"""What the service answers."""

from pydantic import BaseModel


class Score(BaseModel):
    label: str
    probability: float


class ModelVersion(BaseModel):
    name: str
    version: str
    sha256: str


class Answer(Score):
    """The best class, and the best few with it."""

    top: list[Score]


class Prediction(Answer):
    model: ModelVersion


class Problem(BaseModel):
    code: str
    message: str


class Item(BaseModel):
    """An entry of a batch: an answer, or the error of what could not be read."""

    label: str | None = None
    probability: float | None = None
    top: list[Score] | None = None
    error: Problem | None = None


class Predictions(BaseModel):
    """One entry an item, in the order of the request."""

    predictions: list[Item]
    model: ModelVersion
