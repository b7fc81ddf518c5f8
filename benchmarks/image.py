"""CIFAR-10: training time and accuracy of recipes, against a typical tutorial script.

`python -m benchmarks.image [--recipes quick default] [--seeds 3] [--peer-epochs 1]`, on the prepared data.
The recipe `gpu` needs other prepared data: apply it, run `dvc repro prepare@image`, and measure it as `default`.
"""

import argparse
from typing import Any

from benchmarks.pictures import draw_curves
from benchmarks.report import run_side, spread, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["quick"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-epochs", type=int, default=1)
    arguments = parser.parse_args()
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in ("peer", *arguments.recipes)}
    for seed in range(arguments.seeds):
        sides["peer"].append(run_side(["-m", "benchmarks.peers.teaching", str(arguments.peer_epochs), str(seed)]))
        for recipe in arguments.recipes:
            sides[recipe].append(run_side(["-m", "benchmarks.ours", "image", recipe, str(seed)]))
            print(recipe, {name: value for name, value in sides[recipe][-1].items() if name != "curve"}, flush=True)
    epoch_s = spread([run["curve"][-1]["seconds"] / len(run["curve"]) for run in sides["peer"]])
    summary = {recipe: summarise(sides[recipe], epoch_s["median"]) for recipe in arguments.recipes}
    name = "image_" + "_".join(arguments.recipes)
    path = write(name, {"peer_epoch_s": epoch_s, "summary": summary, "runs": sides})
    draw_curves(sides, path.with_suffix(".png"))
    print(f"{path}: a peer's epoch {epoch_s['median']:.1f} s; {summary}")


def summarise(runs: list[dict[str, Any]], peer_epoch_s: float) -> dict[str, Any]:
    names = ("test_accuracy", "test_accuracy_with_flipping", "train_s", "load_s", "peak_memory_gb")
    figures = {name: spread([run[name] for run in runs]) for name in names}
    return figures | {"train_time_in_peer_epochs": figures["train_s"]["median"] / peer_epoch_s}


if __name__ == "__main__":
    main()
