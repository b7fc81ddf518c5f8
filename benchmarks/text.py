"""Texts: training time and accuracy of recipes, against fastText and TF-IDF with logistic regression on the same data.

`python -m benchmarks.text [--recipes default] [--seeds 3]`, on the data of `dvc repro prepare@text`. The settings of
fastText and TF-IDF are chosen from a grid on the validation split.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pictures import draw_curves
from benchmarks.report import run_side, spread, write
from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, Source
from relu_pipeline.config import load_params
from relu_pipeline.data.prepare import read_splits
from relu_pipeline.data.tokenizer import train_tokenizer

FASTTEXT = "benchmarks/peers/fasttext_side.py"
TFIDF = "benchmarks.peers.tfidf_side"
ENVIRONMENT = Path(".venv-fasttext")
RAW = artifacts.raw_dir("text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["default"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    python = peer_python()
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in ("fasttext", "tfidf", *arguments.recipes)}
    with tempfile.TemporaryDirectory() as scratch:
        train, val, test = write_rows(Path(scratch))
        options = json.dumps(run_side([FASTTEXT, "choose", train, val], python))
        strength = json.dumps(run_side(["-m", TFIDF, "choose", train, val]))
        for seed in range(arguments.seeds):
            sides["fasttext"].append(run_side([FASTTEXT, "run", options, train, test, str(seed)], python))
            sides["tfidf"].append(run_side(["-m", TFIDF, "run", strength, train, test]))
            for recipe in arguments.recipes:
                sides[recipe].append(run_side(["-m", "benchmarks.ours", "text", recipe, str(seed)]))
    summary = {side: summarise(runs) for side, runs in sides.items()}
    for recipe in arguments.recipes:
        summary[recipe] |= against(summary[recipe], summary["fasttext"], summary["tfidf"])
    data = artifacts.read(RAW / artifacts.SOURCE, Source).name
    name = "_".join(("text", data, *arguments.recipes))
    path = write(name, {"tokenise_s": tokenise_s(), "summary": summary, "runs": sides})
    draw_curves(sides, path.with_suffix(".png"))
    print(f"{path}: {summary}")


def peer_python() -> str:
    """Return the Python of a separate environment with fastText."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", str(ENVIRONMENT)], check=True)
        words = ["uv", "pip", "install", "--quiet", "--python", str(python), "fasttext-numpy2-wheel==0.9.2", "numpy"]
        subprocess.run(words, check=True)
    return str(python)


def write_rows(folder: Path) -> list[str]:
    """Write the examples of our splits in the format of fastText's documentation."""
    splits = read_splits(RAW, load_params().text.prepare.val_fraction)
    paths = [folder / f"{split}.txt" for split in SPLITS]
    for split, path in zip(SPLITS, paths, strict=True):
        path.write_text("".join(map(line, *splits[split])))
    return [str(path) for path in paths]


def line(text: str, label: int) -> str:
    """Return a line in lower case, with separated punctuation (fasttext.cc, text classification tutorial)."""
    words = re.sub(r"([.!?,'/()\-;:#&$\"])", r" \1 ", text.lower()).split()
    return f"__label__{label} {' '.join(words)}\n"


def tokenise_s() -> float:
    """Return the time of tokenisation, which the stage `prepare` does once, and fastText in each training."""
    config = load_params().text.prepare
    training, _ = read_splits(RAW, config.val_fraction)["train"]
    started = time.perf_counter()
    train_tokenizer(training, config.vocab_size, config.max_tokens, config.tokenizer).encode_batch_fast(training)
    return time.perf_counter() - started


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: spread([run[name] for run in runs]) for name in ("test_accuracy", "train_s")}


def against(ours: dict[str, Any], fasttext: dict[str, Any], tfidf: dict[str, Any]) -> dict[str, float]:
    accuracy, fasttext_accuracy, tfidf_accuracy = (side["test_accuracy"]["median"] for side in (ours, fasttext, tfidf))
    return {
        "points_above_fasttext": 100 * (accuracy - fasttext_accuracy),
        "points_above_tfidf": 100 * (accuracy - tfidf_accuracy),
        "times_the_time_of_fasttext": ours["train_s"]["median"] / fasttext["train_s"]["median"],
    }


if __name__ == "__main__":
    main()
