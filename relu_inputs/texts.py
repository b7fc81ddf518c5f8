"""Tokenisation of texts for the input of a graph, as specified by `tokenizer.json`."""

import json
import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from relu_inputs.errors import InputError

WORDS = re.compile(r"\w+|[^\w\s]+", re.ASCII)  # words of the pre-tokenizer Whitespace for ASCII texts
# Settings in `tokenizer.json` with which the normalisation of ASCII texts is only lower-casing.
PLAIN = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}],
    },
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
}


class WordTokenizer:
    """Tokenizer with the results of the tokenizers library, four times as fast for ASCII texts.

    It skips Unicode normalisation and offsets. This fast path applies to word-level tokenizers with the settings
    `PLAIN`; otherwise, and for other texts, the library is used.
    """

    def __init__(self, content: bytes) -> None:
        self.general = Tokenizer.from_buffer(content)
        described = json.loads(content)
        self.plain = is_plain(described)
        self.vocabulary: dict[str, int] = self.general.get_vocab()
        self.special = [token["content"] for token in described["added_tokens"]]  # matched before pre-tokenisation
        if self.plain:
            self.unknown = self.vocabulary[described["model"]["unk_token"]]
            self.max_tokens: int = described["truncation"]["max_length"]

    def encode(self, text: str) -> list[int]:
        """Return the token ids, truncated as in training; they are empty for a text without words."""
        if not self.plain or not text.isascii() or any(token in text for token in self.special):
            return self.general.encode(text).ids
        words = WORDS.findall(text.lower())[: self.max_tokens]
        return list(map(self.vocabulary.get, words, repeat(self.unknown)))


def is_plain(described: dict[str, Any]) -> bool:
    return (
        described["model"]["type"] == "WordLevel"
        and (described["truncation"] or {}).get("direction") == "Right"
        and all(described[name] == wanted for name, wanted in PLAIN.items())
    )


def check_text(text: str, max_bytes: int) -> str:
    """Return the text. Raises InputError if it is empty, too long or not valid Unicode."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError("invalid_text", "The text is not valid Unicode: it has a lone surrogate.") from error
    if size > max_bytes:
        message = f"The text is {size} bytes; at most {max_bytes} are accepted."
        raise InputError("text_too_large", message, too_large=True)
    if not text.strip():
        raise InputError("empty_text", "The text is empty.")
    return text


def tokenize(tokenizer: WordTokenizer, text: str) -> list[int]:
    """Return the token ids. Raises InputError if there are none."""
    ids = tokenizer.encode(text)
    if not ids:
        raise InputError("empty_text", "The text has no words.")
    return ids


def pad(rows: Sequence[list[int]]) -> NDArray[np.int64]:
    """Return token ids `[N, L]`, padded with 0 at the end."""
    longest = max(map(len, rows))
    return np.array([row + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
