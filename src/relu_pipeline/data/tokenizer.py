"""A word-level tokenizer that carries its own normalisation, truncation and padding, so that serving cannot differ."""

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from relu_pipeline.artifacts import PAD_ID

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_tokens: int) -> Tokenizer:
    """Vocabulary of the `vocab_size` most frequent words of `texts`; ties are broken by the word itself."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    # Marks and remnants of HTML stay: they tell the news agency, and with it the topic.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=[PAD, UNKNOWN], show_progress=False)
    )
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token=PAD)
    return tokenizer
