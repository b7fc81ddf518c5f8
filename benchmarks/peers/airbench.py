"""airbench94 (Jordan 2024, arXiv:2404.00498), run as it is: `python -m benchmarks.peers.airbench SCRIPT RUNS FOLDER`.

SCRIPT is `legacy/airbench94.py` or `airbench94_muon.py` of github.com/KellerJordan/cifar10-airbench. FOLDER contains
the data in its own form, `cifar10/train.pt` and `cifar10/test.pt`.
"""

import contextlib
import io
import json
import os
import re
import runpy
import sys

import torch


def main(script: str, runs: int, folder: str) -> None:
    sys.argv = [script]  # it reads its own source
    os.chdir(folder)
    peer = runpy.run_path(script)
    arguments = []
    if "CifarNet" in peer:  # airbench94_muon.py compiles one network and trains it again and again
        network = peer["CifarNet"]().cuda().to(memory_format=torch.channels_last)
        network.compile(mode="max-autotune")
        arguments = [network]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        accuracies = [float(peer["main"](run, *arguments)) for run in ["warmup", *range(runs)]]
    rows = [re.split(r"[|\s]+", line.strip()) for line in printed.getvalue().splitlines()]
    seconds = [float(row[-2]) for row in rows if "eval" in row]
    print(json.dumps({"train_s": seconds[1:], "test_accuracy": accuracies[1:]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
