"""Measurements of texts: their lengths, and a normal form to find near duplicates."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from relu_pipeline.data.splits import groups_of_equal
from relu_pipeline.validation.examples import Measured


class Spaced(dict[int, int | str]):
    """Table for `str.translate` that maps punctuation to spaces, filled on demand."""

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
    """Return the text case-folded, in Unicode form NFKC, without punctuation, and with single spaces.

    Symbols such as emoji and "+" are kept. A text of only punctuation is returned unchanged.
    """
    words = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(words.translate(PUNCTUATION).split()) or text
