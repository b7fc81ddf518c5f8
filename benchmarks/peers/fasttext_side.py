"""fastText with bigrams on one thread, in its own environment.

`python fasttext_side.py choose TRAIN VAL` prints the best options of `GRID` on the validation examples as JSON;
`python fasttext_side.py run OPTIONS TRAIN TEST SEED` trains with them. A file has a line per example:
`__label__LABEL words...`.
"""

import itertools
import json
import sys
import time

import fasttext

FIXED = {"wordNgrams": 2, "thread": 1, "verbose": 0}
GRID = {"lr": (0.1, 0.25, 0.5, 1.0), "epoch": (5, 10, 25, 50), "dim": (10, 100)}


def choose(train: str, val: str) -> None:
    settings = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    scores = [fasttext.train_supervised(train, seed=0, **FIXED, **options).test(val)[1] for options in settings]
    print(json.dumps(settings[scores.index(max(scores))]))


def run(options: str, train: str, test: str, seed: str) -> None:
    started = time.perf_counter()
    model = fasttext.train_supervised(train, seed=int(seed), **FIXED, **json.loads(options))
    train_s = time.perf_counter() - started
    _, accuracy, _ = model.test(test)
    print(json.dumps({"seed": int(seed), "options": options, "train_s": train_s, "test_accuracy": accuracy}))


if __name__ == "__main__":
    {"choose": choose, "run": run}[sys.argv[1]](*sys.argv[2:])
