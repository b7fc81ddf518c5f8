"""The speed comparison, for a second, on the built-in data: ours and the limit, which need no other environment."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.serving import wrk
from benchmarks.peers.serving.launch import ServerError, serving
from benchmarks.peers.serving.measure import LOADS, Material, bare_loop, gather, measure
from benchmarks.peers.serving.sides import LIMIT, OURS, SIDES
from benchmarks.serve import LOOP, png, summarise, tables, validation_texts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed"),
]


@pytest.fixture(scope="module")
def material(models: Path, prepared: Path, demo_raw: Path) -> Material:
    images = np.load(prepared / "image" / "val_images.npy", mmap_mode="r")[:20]
    texts = islice(validation_texts(demo_raw / "ag_news"), 20)
    return gather(models, {"image": [png(pixels) for pixels in images], "text": list(texts)})


def test_a_round_has_every_load_start_and_memory(material: Material) -> None:
    rounds = {
        OURS: [{"text": measure(SIDES[OURS], "text", material, seconds=1)}],
        LIMIT: [{"image": measure(SIDES[LIMIT], "image", material, seconds=1)}],
        LOOP: [{"text": bare_loop("text", material, seconds=1)}],
    }
    summary = summarise(rounds)
    sent = {load.name for load in LOADS["text"]} | {load.name for load in LOADS["image"] if not load.is_batch}
    assert set(summary["loads"]) == sent
    for figures in summary["loads"].values():
        for side in figures.values():
            assert side["requests_per_s"]["median"] > 0
            assert 0 < side["p50_ms"]["median"] <= side["p99_ms"]["median"]
            assert side["cpu_ms"]["median"] > 0
    for server in summary["servers"].values():
        assert server["start_s"]["median"] > 0
        assert server["rss_mb"]["median"] > server["uss_mb"]["median"] > 10
    assert 0 < rounds[LOOP][0]["text"]["read_and_run"] < rounds[LOOP][0]["text"]["run"]
    assert sum(line.startswith("| text x8 |") for line in tables(summary)) == 3


def test_a_wrong_answer_ends_it(material: Material) -> None:
    (label, probability), *rest = material.expected["text"]
    wrong = replace(material, expected={"text": [(label, probability + 0.01), *rest]})
    with pytest.raises(ServerError, match=f"expected {label} with"):
        measure(SIDES[LIMIT], "text", wrong, seconds=1)


def test_a_refused_request_ends_it(material: Material) -> None:
    with pytest.raises(ServerError, match="/nowhere returned 404"):
        measure(replace(SIDES[LIMIT], paths={"text": "/nowhere"}), "text", material, seconds=1)


def test_a_request_that_fails_under_load_ends_it(material: Material, tmp_path: Path) -> None:
    wrk.write_bodies(tmp_path / "bodies", [b"no image"])
    with serving(SIDES[LIMIT], "image", material.models, tmp_path) as server:
        with pytest.raises(ServerError, match=r"'status': [1-9]"):
            wrk.load(f"{server.url}/image", "image/png", tmp_path / "bodies", connections=2, seconds=1)
