"""From a text to token ids: the same as the tokenizers library gives, and errors for what is no text."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from relu_inputs.errors import InputError
from relu_inputs.texts import WordTokenizer, check_text, pad, tokenize
from relu_pipeline.data.tokenizer import PAD, UNKNOWN, train_tokenizer

MAX_TOKENS = 8
MAX_BYTES = 100
TRAINED = train_tokenizer(
    ["The bank's rates, up 3.5% (again)", "a_b <b>AT&T</b> ... !?", "naïve café"], 30, MAX_TOKENS, "word"
)
ASCII = st.text(st.characters(max_codepoint=127))
WORDS = st.lists(st.sampled_from(["The", "BANK's", "3.5%", "AT&T", PAD, UNKNOWN, "\x1c", "\x0b", "\n", "é", " "])).map(
    "".join
)


def served(tokenizer: Tokenizer) -> WordTokenizer:
    return WordTokenizer(tokenizer.to_str().encode())


@given(st.one_of(ASCII, WORDS, st.text()))
def test_token_ids_are_those_of_the_library(text: str) -> None:
    assert served(TRAINED).encode(text) == TRAINED.encode(text).ids


def test_ascii_is_tokenized_without_the_library() -> None:
    tokenizer = served(TRAINED)
    tokenizer.general = None
    assert len(tokenizer.encode(" ".join(string.printable))) == MAX_TOKENS
    with pytest.raises(AttributeError):
        tokenizer.encode("é")


def test_other_kinds_of_tokenizers_are_left_to_the_library() -> None:
    other = Tokenizer.from_str(TRAINED.to_str())
    other.normalizer = normalizers.Sequence([normalizers.Replace("bank", "rates"), normalizers.Lowercase()])
    assert served(other).encode("the bank") == other.encode("the bank").ids != served(TRAINED).encode("the bank")


@pytest.mark.parametrize(
    ("text", "code", "too_large"),
    [
        ("", "empty_text", False),
        (" \n\t", "empty_text", False),
        ("\ud800", "invalid_text", False),
        ("goal \udfff", "invalid_text", False),
        ("é" * (MAX_BYTES // 2 + 1), "text_too_large", True),
        (" " * (MAX_BYTES + 1), "text_too_large", True),
    ],
)
def test_a_text_that_is_empty_invalid_or_too_long_is_an_error(text: str, code: str, too_large: bool) -> None:
    with pytest.raises(InputError) as caught:
        check_text(text, MAX_BYTES)
    assert (caught.value.code, caught.value.too_large) == (code, too_large)


@pytest.mark.parametrize("text", ["a", "a\0b", "שלום", "🎉 goal", "é" * (MAX_BYTES // 2)])
def test_any_unicode_text_of_accepted_size_is_unchanged(text: str) -> None:
    assert check_text(text, MAX_BYTES) == text


@pytest.mark.parametrize("text", ["\u0301", "\x00", "\u200b"])
def test_a_text_is_tokenized_or_has_no_words(text: str) -> None:
    expected = TRAINED.encode(text).ids
    if expected:
        assert tokenize(served(TRAINED), text) == expected
    else:
        with pytest.raises(InputError, match="no words"):
            tokenize(served(TRAINED), text)


@given(st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=9), min_size=1, max_size=9))
def test_shorter_rows_are_padded_with_zeros_at_the_end(rows: list[list[int]]) -> None:
    padded = pad(rows)
    assert padded.shape == (len(rows), max(map(len, rows)))
    assert padded.dtype == "int64"
    for row, found in zip(rows, padded.tolist(), strict=True):
        assert found == row + [0] * (padded.shape[1] - len(row))
