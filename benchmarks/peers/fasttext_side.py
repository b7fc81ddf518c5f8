"""fastText with bigrams, one thread, in an environment of its own. `python fasttext_side.py TRAIN TEST SEED`

A file has a line a row: `__label__LABEL words...`. Of 17 settings of lr (0.1 to 1.0), epoch (5, 10)
and dim (10, 50, 100) these were the best on the validation rows, beside dim 50, which is slower.
"""

import json
import sys
import time

import fasttext

OPTIONS = {"wordNgrams": 2, "lr": 0.25, "epoch": 5, "dim": 10, "thread": 1, "verbose": 0}


def main(train: str, test: str, seed: int) -> None:
    started = time.perf_counter()
    model = fasttext.train_supervised(train, seed=seed, **OPTIONS)
    train_s = time.perf_counter() - started
    _, accuracy, _ = model.test(test)
    print(json.dumps({"seed": seed, "options": OPTIONS, "train_s": train_s, "test_accuracy": accuracy}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
