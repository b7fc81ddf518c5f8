"""Texts: lengths, and a normal form for near duplicates."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from relu_pipeline.data.splits import groups_of_equal
from relu_pipeline.validation.examples import Measured


class Spaced(dict[int, int | str]):
    """Table for `str.translate` that turns punctuation into spaces; it learns a character when it meets one."""

    def __missing__(self, code: int) -> int | str:
        self[code] = " " if unicodedata.category(chr(code)).startswith("P") else code
        return self[code]


PUNCTUATION = Spaced()


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
