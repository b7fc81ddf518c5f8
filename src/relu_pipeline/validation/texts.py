"""Texts: lengths, and a normal form for near duplicates."""

import sys
import unicodedata
from collections.abc import Sequence

import numpy as np

from relu_pipeline.data.splits import groups_of_equal
from relu_pipeline.validation.examples import Measured

PUNCTUATION = {code: " " for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}


def measure_texts(texts: Sequence[str]) -> Measured:
    sizes = {
        "words": np.array([len(text.split()) for text in texts]),
        "characters": np.array([len(text) for text in texts]),
    }
    return Measured({}, groups_of_equal(texts), groups_of_equal(map(normal_form, texts)), sizes)


def normal_form(text: str) -> str:
    """Return the text without case, punctuation, white space around words, and compatibility forms of Unicode (NFKC).

    Symbols stay, such as emoji and "+"; a text of punctuation alone stays as it is.
    """
    words = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(words.translate(PUNCTUATION).split()) or text
