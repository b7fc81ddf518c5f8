"""Text classification."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Split
from relu_pipeline.config import TextConfig, TextTrainConfig, is_auto
from relu_pipeline.data.augment import ThinnedTexts
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.models.text_mlp import TextMLP
from relu_pipeline.task import Budget, Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BUDGET = Budget(examples=190_000, epochs=(5, 40), batch_sizes=(32, 512))
FEW_CLASSES = 16
KEPT_WORDS = 10
MAX_WORD_DROPOUT = 0.4


class TextTask(Task[TextSplit]):
    """Text classification task."""

    name = "text"
    input_name = "token_ids"
    dynamic_axes: ClassVar[Mapping[int, str]] = {0: "N", 1: "L"}
    served_files = (artifacts.TOKENIZER,)

    def load(self, prepared: Path, split: Split) -> TextSplit:
        return TextSplit.load(prepared, split)

    def settle(self, config: TextConfig, train: TextSplit, num_classes: int) -> TextConfig:
        dim = _embedding_dim(num_classes) if is_auto(config.model.embedding_dim) else config.model.embedding_dim
        model: dict[str, Any] = {"embedding_dim": dim}
        if is_auto(config.model.hidden_dims):
            model["hidden_dims"] = [64, 64] if num_classes <= FEW_CLASSES else [2 * dim]
        numbers: dict[str, float] = {**BUDGET.settle(config.train, len(train))}
        if is_auto(config.train.word_dropout):
            median = float(train.offsets.diff().median())
            numbers["word_dropout"] = min(MAX_WORD_DROPOUT, max(0.0, 1 - KEPT_WORDS / max(median, 1)))
        settled = {"model": config.model.model_copy(update=model), "train": config.train.model_copy(update=numbers)}
        return config.model_copy(update=settled)

    def augment(self, train: TextSplit, config: TextTrainConfig, seed: int) -> ThinnedTexts:
        return ThinnedTexts(train, config.word_dropout, seed)

    def network_settings(self, train: TextSplit, prepared: Path) -> dict[str, Any]:
        return {"vocab_size": load_tokenizer(prepared).get_vocab_size()}

    def fit_input(self, network: TextMLP, train: TextSplit) -> None:
        network.fit_input(train.labelled_tokens())

    def shown(self, split: TextSplit, rows: NDArray[Any], prepared: Path) -> list[str]:
        """Return the texts as the network receives them: normalised, in lower case, with unknown words marked."""
        tokenizer = load_tokenizer(prepared)
        return [tokenizer.decode(split.token_ids(row), skip_special_tokens=False) for row in rows.tolist()]

    def to_sample(self, prepared: Path) -> Callable[[Tensor], str | None]:
        tokenizer = load_tokenizer(prepared)
        return lambda row_1L: as_text(tokenizer, row_1L)


def _embedding_dim(num_classes: int) -> int:
    """Return a power of two from 64 to 256, if possible with a feature per class for `TextMLP.fit_input`."""
    return min(256, 1 << max(6, math.ceil(math.log2(num_classes))))


def load_tokenizer(prepared: Path) -> "Tokenizer":
    from tokenizers import Tokenizer  # not needed to load the splits

    return Tokenizer.from_file(str(prepared / artifacts.TOKENIZER))


def as_text(tokenizer: "Tokenizer", row_1L: Tensor) -> str | None:
    """Return a text that encodes to these token ids `[1, L]`, with unknown words marked, or None if decoding fails."""
    ids = row_1L[0].tolist()
    text = tokenizer.decode(ids, skip_special_tokens=False)
    return text if tokenizer.encode(text).ids == ids else None
