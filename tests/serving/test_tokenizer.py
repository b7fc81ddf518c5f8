import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from relu_pipeline.data.tokenizer import PAD, UNKNOWN, train_tokenizer
from serving.tokenizer import WordTokenizer

MAX_TOKENS = 8
TRAINED = train_tokenizer(["The bank's rates, up 3.5% (again)", "a_b <b>AT&T</b> ... !?", "naïve café"], 30, MAX_TOKENS)
ASCII = st.text(st.characters(max_codepoint=127))
WORDS = st.lists(st.sampled_from(["The", "BANK's", "3.5%", "AT&T", PAD, UNKNOWN, "\x1c", "\x0b", "\n", "é", " "])).map(
    "".join
)


def served(tokenizer: Tokenizer) -> WordTokenizer:
    return WordTokenizer(tokenizer.to_str().encode())


@given(st.one_of(ASCII, WORDS, st.text()))
def test_ids_are_those_of_the_library(text: str) -> None:
    assert served(TRAINED).encode(text) == TRAINED.encode(text).ids


def test_ascii_takes_the_short_way() -> None:
    tokenizer = served(TRAINED)
    tokenizer.general = None
    assert len(tokenizer.encode(" ".join(string.printable))) == MAX_TOKENS
    with pytest.raises(AttributeError):
        tokenizer.encode("é")


def test_another_kind_of_tokenizer_goes_the_librarys_way() -> None:
    other = Tokenizer.from_str(TRAINED.to_str())
    other.normalizer = normalizers.Sequence([normalizers.Replace("bank", "rates"), normalizers.Lowercase()])
    assert served(other).encode("the bank") == other.encode("the bank").ids != served(TRAINED).encode("the bank")
