"""Texts in, one of the labels out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor, nn

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Split
from relu_pipeline.config import TextTrainConfig
from relu_pipeline.data.augment import ThinnedTexts
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.task import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextTask(Task[TextSplit]):
    name = "text"
    input_name = "token_ids"
    dynamic_axes: ClassVar[Mapping[int, str]] = {0: "N", 1: "L"}
    served_files = (artifacts.TOKENIZER,)

    def load(self, prepared: Path, split: Split) -> TextSplit:
        return TextSplit.load(prepared, split)

    def augment(self, train: TextSplit, config: TextTrainConfig, seed: int) -> ThinnedTexts:
        return ThinnedTexts(train, config.word_dropout, seed)

    def network_settings(self, train: TextSplit, prepared: Path) -> dict[str, Any]:
        return {"vocab_size": load_tokenizer(prepared).get_vocab_size()}

    def fit_input(self, network: nn.Module, train: TextSplit) -> None:
        network.fit_input(*(values.cpu() for values in train.labelled_tokens()))

    def shown(self, split: TextSplit, rows: NDArray[Any], prepared: Path) -> list[str]:
        """As the network sees them: cleaned, lower case, unknown words marked."""
        tokenizer = load_tokenizer(prepared)
        return [tokenizer.decode(split.token_ids(row), skip_special_tokens=False) for row in rows.tolist()]

    def to_sample(self, prepared: Path) -> Callable[[Tensor], str | None]:
        tokenizer = load_tokenizer(prepared)
        return lambda row_1L: as_text(tokenizer, row_1L)


def load_tokenizer(prepared: Path) -> "Tokenizer":
    from tokenizers import Tokenizer  # it is not needed to load the splits

    return Tokenizer.from_file(str(prepared / artifacts.TOKENIZER))


def as_text(tokenizer: "Tokenizer", row_1L: Tensor) -> str | None:
    """None where the text would not give the same token ids: decoding leaves out unknown words."""
    ids = row_1L[0].tolist()
    text = tokenizer.decode(ids)
    return text if tokenizer.encode(text).ids == ids else None
