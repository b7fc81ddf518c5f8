from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.data.tokenizer import train_tokenizer


def test_normalisation_padding_and_truncation_are_inside() -> None:
    tokenizer = train_tokenizer(["Oil & gas rise", "café oil"], vocab_size=50, max_tokens=3)
    assert tokenizer.encode("OIL, Café!").tokens == ["oil", "[UNK]", "cafe"]
    short, long = tokenizer.encode_batch(["oil", "oil oil oil oil oil"])
    assert short.ids[1:] == [PAD_ID, PAD_ID]
    assert len(long.ids) == 3


def test_the_vocabulary_does_not_depend_on_the_order_of_the_texts() -> None:
    texts = ["b a", "c a", "d b"]
    first, second = (train_tokenizer(order, 5, 8).to_str() for order in (texts, texts[::-1]))
    assert first == second
