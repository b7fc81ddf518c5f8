import numpy as np
import pytest

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import TokenizerKind
from relu_pipeline.data.demo import PHRASES
from relu_pipeline.data.tokenizer import UNKNOWN, train_tokenizer, word_loss


def test_normalisation_padding_and_truncation_are_inside() -> None:
    tokenizer = train_tokenizer(["Oil & gas rise", "café oil"], vocab_size=50, max_tokens=3, kind="word")
    assert tokenizer.encode("OIL, Café!").tokens == ["oil", "[UNK]", "cafe"]
    short, long = tokenizer.encode_batch(["oil", "oil oil oil oil oil"])
    assert short.ids[1:] == [PAD_ID, PAD_ID]
    assert len(long.ids) == 3


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_vocabulary_does_not_depend_on_the_order_of_the_texts(kind: TokenizerKind) -> None:
    texts = ["b a", "c a", "d b"]
    first, second = (train_tokenizer(order, 5, 8, kind).to_str() for order in (texts, texts[::-1]))
    assert first == second


def chinese_like(count: int, seed: int = 0) -> list[str]:
    """Sentences of two-character words without spaces between them."""
    rng = np.random.default_rng(seed)
    words = [chr(0x4E00 + 2 * number) + chr(0x4E01 + 2 * number) for number in range(200)]
    return ["".join(rng.choice(words, size=12)) + "。" for _ in range(count)]


def test_languages_without_spaces_are_cut_into_parts_and_others_into_words() -> None:
    chinese = chinese_like(400)
    english = [f"{who} {does} {what}" for part in PHRASES for who in part[0] for does in part[1] for what in part[2]]
    assert word_loss(chinese, 20_000) > 0.9
    assert word_loss(english, 20_000) < 0.05
    parts = train_tokenizer(chinese, 20_000, 128, "auto")
    assert UNKNOWN not in parts.encode(chinese_like(1, seed=9)[0]).tokens
    words = train_tokenizer(english, 20_000, 128, "auto")
    assert words.encode("The champion wins").tokens == ["the", "champion", "wins"]


def test_the_loss_of_words_is_a_fraction_of_the_characters() -> None:
    texts = [f"common unseen{number:03}" for number in range(100)]  # 6 characters of each text are in each other one
    assert word_loss(texts, 20_000) == pytest.approx(9 / 15)


def test_few_texts_without_spaces_do_not_become_a_part_each() -> None:
    """They did, and no test text had a part of a training text."""
    texts = chinese_like(100)
    parts = train_tokenizer(texts, 20_000, 128, "auto")
    assert min(len(encoding.tokens) for encoding in parts.encode_batch(texts)) >= 6
    seen = {token for encoding in parts.encode_batch(texts) for token in encoding.tokens}
    unseen = [token for encoding in parts.encode_batch(chinese_like(100, seed=9)) for token in encoding.tokens]
    assert np.mean([token in seen for token in unseen]) > 0.9


@pytest.mark.parametrize("text", ["がぎぐ", "कि की", "naïve CAFÉ, 北京 3.5%"])
def test_parts_keep_the_marks_of_letters_and_come_back_as_text(text: str) -> None:
    tokenizer = train_tokenizer([text] * 3, 256, 128, "bpe")
    decoded = tokenizer.decode(tokenizer.encode(text).ids)
    assert tokenizer.encode(decoded).ids == tokenizer.encode(text).ids
    assert decoded.replace(" ", "") == text.lower().replace(" ", "")


def test_characters_that_stand_together_twice_become_a_part_and_others_do_not() -> None:
    tokenizer = train_tokenizer(["北京", "北京", "上海"], vocab_size=256, max_tokens=128, kind="bpe")
    twice, once = (tokenizer.encode(text).tokens for text in ("北京", "上海"))
    assert (len(twice), len(once)) == (1, 3)  # the mark of a word's start is the third
