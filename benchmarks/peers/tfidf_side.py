"""TF-IDF of words and bigrams with logistic regression, as in scikit-learn's tutorials.

`python -m benchmarks.peers.tfidf_side choose TRAIN VAL` prints the best `C` on the validation examples;
`python -m benchmarks.peers.tfidf_side run C TRAIN TEST` trains with it. Files as for fastText.
"""

import json
import sys
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

GRID = (1.0, 10.0, 100.0)


def choose(train: str, val: str) -> None:
    scores = [fitted(strength, train).score(*read(val)) for strength in GRID]
    print(json.dumps(GRID[scores.index(max(scores))]))


def run(strength: str, train: str, test: str) -> None:
    started = time.perf_counter()
    model = fitted(float(strength), train)
    train_s = time.perf_counter() - started
    print(json.dumps({"options": strength, "train_s": train_s, "test_accuracy": model.score(*read(test))}))


def fitted(strength: float, train: str) -> Pipeline:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(vectorizer, LogisticRegression(C=strength, max_iter=1000)).fit(*read(train))


def read(path: str) -> tuple[list[str], list[str]]:
    labels, texts = zip(*(line.split(" ", 1) for line in Path(path).read_text().splitlines()), strict=True)
    return list(texts), list(labels)


if __name__ == "__main__":
    {"choose": choose, "run": run}[sys.argv[1]](*sys.argv[2:])
