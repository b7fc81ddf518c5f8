"""AG News: seconds and accuracy of our recipes against fastText with bigrams, on the same rows.

`python -m benchmarks.text [--recipes default] [--seeds 3]`
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pictures import draw_curves
from benchmarks.report import run_side, spread, write
from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.splits import stratified_split
from relu_pipeline.data.tokenizer import train_tokenizer

PEER = Path("benchmarks/peers/fasttext_side.py")
ENVIRONMENT = Path(".venv-fasttext")
RAW = artifacts.raw_dir("text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["default"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    python = peer_python()
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in ("fasttext", *arguments.recipes)}
    with tempfile.TemporaryDirectory() as scratch:
        train, test = write_rows(Path(scratch))
        for seed in range(arguments.seeds):
            sides["fasttext"].append(run_side([str(PEER), str(train), str(test), str(seed)], python))
            for recipe in arguments.recipes:
                sides[recipe].append(run_side(["-m", "benchmarks.ours", "text", recipe, str(seed)]))
    summary = {side: summarise(runs) for side, runs in sides.items()}
    for recipe in arguments.recipes:
        summary[recipe] |= against(summary[recipe], summary["fasttext"])
    path = write("text_" + "_".join(arguments.recipes), {"tokenise_s": tokenise_s(), "summary": summary, "runs": sides})
    draw_curves(sides, path.with_suffix(".png"))
    print(f"{path}: {summary}")


def peer_python() -> str:
    """fastText lives beside our environment, not in it."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", str(ENVIRONMENT)], check=True)
        words = ["uv", "pip", "install", "--quiet", "--python", str(python), "fasttext-numpy2-wheel==0.9.2", "numpy"]
        subprocess.run(words, check=True)
    return str(python)


def write_rows(folder: Path) -> tuple[Path, Path]:
    """The rows that our side trains and tests on, as fastText's documentation prepares them."""
    texts, labels = read_raw(RAW, "train")
    rows, _ = stratified_split(labels, load_params().text.prepare.val_fraction)
    test_texts, test_labels = read_raw(RAW, "test")
    train, test = folder / "train.txt", folder / "test.txt"
    train.write_text("".join(line(texts[row], labels[row]) for row in rows))
    test.write_text("".join(map(line, test_texts, test_labels)))
    return train, test


def line(text: str, label: int) -> str:
    """Lower case, marks set apart (fasttext.cc, text classification tutorial)."""
    words = re.sub(r"([.!?,'/()\-;:#&$\"])", r" \1 ", text.lower()).split()
    return f"__label__{label} {' '.join(words)}\n"


def tokenise_s() -> float:
    """Our side does this once, in the stages before; fastText at each training."""
    texts, labels = read_raw(RAW, "train")
    config = load_params().text.prepare
    rows, _ = stratified_split(labels, config.val_fraction)
    training = [texts[row] for row in rows]
    started = time.perf_counter()
    train_tokenizer(training, config.vocab_size, config.max_tokens).encode_batch_fast(training)
    return time.perf_counter() - started


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: spread([run[name] for run in runs]) for name in ("test_accuracy", "train_s")}


def against(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    return {
        "points_above_fasttext": 100 * (ours["test_accuracy"]["median"] - peer["test_accuracy"]["median"]),
        "times_the_time_of_fasttext": ours["train_s"]["median"] / peer["train_s"]["median"],
    }


if __name__ == "__main__":
    main()
