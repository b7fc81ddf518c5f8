"""The graph in a loop without HTTP: one process per core, batch size 64.

`TASK=... MODELS=... python -m benchmarks.peers.serving.bare_loop CONTENTS SECONDS`

CONTENTS is a JSON list of texts, or of images in base64. Prints the examples per second of all processes, for `run`
alone, and including decoding.
"""

import base64
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.serving.answer import load_classifier

ROWS = 64
CORES = len(os.sched_getaffinity(0))


def main(contents: str, seconds: float) -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        ready = manager.Barrier(CORES)
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            found = pool.starmap(loop, [(ready, contents, seconds)] * CORES, chunksize=1)
    print(json.dumps({name: sum(rates[name] for rates in found) for name in found[0]}))


def loop(ready: Barrier, path: str, seconds: float) -> dict[str, float]:
    classifier = load_classifier()
    contents = json.loads(Path(path).read_text())
    if classifier.tokenizer is None:
        contents = [base64.b64decode(content) for content in contents]
    chunks = [contents[start : start + ROWS] for start in range(0, len(contents), ROWS)]
    joined = [join([classifier.read(content) for content in chunk]) for chunk in chunks]

    def read_and_run(chunk: list[Any]) -> None:
        classifier.run(join([classifier.read(content) for content in chunk]))

    return {
        "run": rate(ready, classifier.run, joined, seconds),
        "read_and_run": rate(ready, read_and_run, chunks, seconds),
    }


def rate(ready: Barrier, work: Any, chunks: list[Any], seconds: float) -> float:
    """Return the examples per second."""
    work(chunks[0])
    ready.wait()
    rows, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for chunk in chunks:
            work(chunk)
            rows += len(chunk)
    return rows / (time.perf_counter() - started)


def join(rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Return a batch `[N, ...]`, padded by 0."""
    joined = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        joined[index, : len(row)] = row
    return joined


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
