"""Small built-in data sets in the formats of CIFAR-10 and AG News, for use without network access.

Images: scikit-learn's handwritten digits (UCI, 1,797 images of 8x8 pixels), enlarged to 32x32.
Texts: generated headlines.
"""

from pathlib import Path

import numpy as np

from relu_pipeline.data import ag_news, cifar10
from relu_pipeline.data.digits import digits

TEST_DIGITS = 297
TEST_TEXTS = 400
TRAIN_TEXTS = 2000

# For each AG News label: subjects, verbs and objects.
PHRASES = (
    (
        ("The president", "A peace envoy", "The parliament", "Rebel leaders", "The foreign minister"),
        ("rejects", "signs", "condemns", "debates", "welcomes"),
        ("a border treaty", "the election result", "a cease-fire", "new sanctions", "the hostage release"),
    ),
    (
        ("The striker", "The home team", "A veteran coach", "The champion", "The rookie pitcher"),
        ("wins", "loses", "prepares for", "misses", "dominates"),
        ("the cup final", "a playoff game", "the opening match", "the relay race", "the last inning"),
    ),
    (
        ("The central bank", "A retailer", "The oil company", "An airline", "The insurer"),
        ("reports", "cuts", "raises", "forecasts", "defends"),
        ("quarterly profit", "its dividend", "interest rates", "the merger price", "its share buyback"),
    ),
    (
        ("A software maker", "The space probe", "A chip designer", "Researchers", "The search engine"),
        ("unveil", "patch", "test", "launch", "study"),
        ("a wireless protocol", "the browser bug", "a faster processor", "the new satellite", "an online archive"),
    ),
)
FILLER = (
    "on Monday",
    "this week",
    "after long talks",
    "in a surprise",
    "despite doubts",
    "again",
    "for the first time",
)


def write_cifar10(out: Path) -> None:
    images, labels = digits()
    train = np.array_split(np.arange(TEST_DIGITS, len(images)), len(cifar10.TRAIN_FILES))
    for name, rows in zip(cifar10.TRAIN_FILES, train, strict=True):
        cifar10.write(out / name, images[rows], labels[rows])
    cifar10.write(out / cifar10.TEST_FILES[0], images[:TEST_DIGITS], labels[:TEST_DIGITS])


def write_ag_news(out: Path) -> None:
    rng = np.random.Generator(np.random.Philox(key=0))
    for name, rows in ((ag_news.TRAIN_FILE, TRAIN_TEXTS), (ag_news.TEST_FILE, TEST_TEXTS)):
        labels = rng.integers(len(PHRASES), size=rows).tolist()
        ag_news.write(out / name, [_headline(label, rng) for label in labels], labels)


def _headline(label: int, rng: np.random.Generator) -> tuple[str, str]:
    who, does, what = (part[rng.integers(len(part))] for part in PHRASES[label])
    when, why = (FILLER[index] for index in rng.integers(len(FILLER), size=2))
    return f"{who} {does} {what}", f"{when.capitalize()}, {who.lower()} {does} {what} {why}."
