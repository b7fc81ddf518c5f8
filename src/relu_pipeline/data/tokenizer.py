"""Tokenizers that carry their own normalisation, truncation and padding, so that serving cannot differ."""

import sys
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import TokenizerKind
from relu_pipeline.data.randomness import generator

PAD, UNKNOWN = "[PAD]", "[UNK]"
SEED = 0
MEASURED_TEXTS = 2000  # that `word_loss` sets aside, a fifth of all at most
MAX_WORD_LOSS = 0.2


def train_tokenizer(texts: Sequence[str], vocab_size: int, max_tokens: int, kind: TokenizerKind) -> Tokenizer:
    """Train a tokenizer of whole words, or of their parts by byte pair encoding (Sennrich et al. 2016).

    `auto` takes parts where whole words lose more than a fifth of the text, as in languages without spaces.
    """
    if kind == "auto":
        kind = "bpe" if word_loss(texts, vocab_size) > MAX_WORD_LOSS else "word"
    tokenizer = _of_words(texts, vocab_size) if kind == "word" else _of_parts(texts, vocab_size)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token=PAD)
    return tokenizer


def word_loss(texts: Sequence[str], vocab_size: int) -> float:
    """Return the share of characters in words unknown to a vocabulary of whole words, on texts that it did not see."""
    rows = generator(SEED, "measured texts").permutation(len(texts)).tolist()
    count = min(MEASURED_TEXTS, len(texts) // 5)
    tokenizer = _of_words([texts[row] for row in rows[count:]], vocab_size)
    known = unknown = 0
    for encoding in tokenizer.encode_batch([texts[row] for row in rows[:count]]):
        for (start, end), token in zip(encoding.offsets, encoding.tokens, strict=True):
            known += (end - start) * (token != UNKNOWN)
            unknown += (end - start) * (token == UNKNOWN)
    return unknown / max(1, known + unknown)


def _of_words(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Vocabulary of the `vocab_size` most frequent words of `texts`; ties are broken by the word itself."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    # Marks and remnants of HTML stay: they tell the news agency, and with it the topic.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        texts,
        trainers.WordLevelTrainer(
            vocab_size=vocab_size, special_tokens=[PAD, UNKNOWN], show_progress=sys.stderr.isatty()
        ),
    )
    return tokenizer


def _of_parts(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Accents stay: in Japanese and Hindi they are more than that.

    The alphabet has no limit and words no suffix: with either, the trainer's result is another each time. A pair of
    parts that occurs once stays two: with few texts, each would become one part, which no other text has.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = [PAD, UNKNOWN]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=special, show_progress=sys.stderr.isatty()
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
