"""Tokenizer training. A tokenizer includes normalisation, truncation and padding, so that serving uses the same."""

import sys
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import TokenizerKind
from relu_pipeline.data.randomness import generator

PAD, UNKNOWN = "[PAD]", "[UNK]"
SEED = 0
MEASURED_TEXTS = 2000  # held out by `word_loss`, at most a fifth of the texts
MAX_WORD_LOSS = 0.2


def train_tokenizer(texts: Sequence[str], vocab_size: int, max_tokens: int, kind: TokenizerKind) -> Tokenizer:
    """Train a word-level tokenizer, or a subword tokenizer by byte pair encoding (BPE, Sennrich et al. 2016).

    `auto` selects BPE where more than a fifth of the text is out of vocabulary for a word-level tokenizer, as in
    languages without spaces.
    """
    if kind == "auto":
        kind = "bpe" if word_loss(texts, vocab_size) > MAX_WORD_LOSS else "word"
    tokenizer = _of_words(texts, vocab_size) if kind == "word" else _of_parts(texts, vocab_size)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token=PAD)
    return tokenizer


def word_loss(texts: Sequence[str], vocab_size: int) -> float:
    """Return the fraction of characters in out-of-vocabulary words for a word-level tokenizer, on held-out texts."""
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
    """Train a word-level tokenizer on the `vocab_size` most frequent words; ties are broken by the word itself."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    # Punctuation and HTML remnants are kept: they indicate the news agency, which correlates with the topic.
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
    """Train a BPE tokenizer. It keeps accents, which in Japanese and Hindi distinguish letters.

    The trainer's limit of the alphabet and its suffix of words are not set: both make the result non-deterministic.
    `min_frequency=2` avoids subwords that occur in only one text of a small data set.
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
