from dataclasses import replace
from pathlib import Path

from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.health.pictures import draw_health
from relu_pipeline.health.probe import LayerHealth
from relu_pipeline.health.record import COLUMNS, epoch_rows, read_rows, summary
from tests.figures import expect_picture

HEALTH = LayerHealth(
    units=8,
    zero_share=0.5,
    dead_units=2,
    always_active_units=1,
    mean=0.4,
    p99=2.0,
    max=5.0,
    saturated_share=0.0,
)


def test_a_layer_without_activation_has_a_gradient_and_a_frozen_one_none() -> None:
    frozen, both, head = epoch_rows(3, {"stem": HEALTH, "hidden": HEALTH}, {"hidden": 0.1, "head": 0.2})
    assert frozen["layer"] == "stem"
    assert "gradient_norm" not in frozen
    assert (both["epoch"], both["dead_units"], both["gradient_norm"]) == (3, 2, 0.1)
    assert head == {"epoch": 3, "layer": "head", "gradient_norm": 0.2}


def test_an_epochs_summary_is_of_the_layers_that_have_the_measure() -> None:
    other = replace(HEALTH, zero_share=0.25, dead_units=3, p99=9.0)
    assert summary(epoch_rows(0, {"stem": HEALTH, "hidden": other}, {"hidden": 0.1, "head": 0.2})) == {
        "health/mean_zero_share": 0.375,
        "health/dead_units": 5,
        "health/largest_activation_p99": 9.0,
        "health/smallest_gradient_norm": 0.1,
        "health/largest_gradient_norm": 0.2,
    }
    assert set(summary(epoch_rows(0, {}, {"head": 0.2}))) == {
        "health/smallest_gradient_norm",
        "health/largest_gradient_norm",
    }
    assert summary([]) == {}


def test_the_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = epoch_rows(3, {"stem": HEALTH}, {"head": 0.2})
    artifacts.write_table(tmp_path / "relu_health.csv", COLUMNS, rows)
    assert read_rows(tmp_path / "relu_health.csv") == rows


def test_the_heat_map_grows_with_the_layers_and_is_the_same_each_time(tmp_path: Path) -> None:
    sizes = []
    for layers in (["a"], list("abcdef")):
        rows = [row for epoch in range(2) for row in epoch_rows(epoch, dict.fromkeys(layers, HEALTH), {"a": 0.0})]
        for name in ("one.png", "two.png"):
            draw_health(rows, tmp_path / name)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
        sizes.append(Image.open(tmp_path / "one.png").size)
    assert sizes[0][0] > 1000
    assert sizes[1][1] > sizes[0][1]


def test_the_heat_map_has_a_cell_for_each_layer_and_epoch(tmp_path: Path) -> None:
    rows = []
    for epoch in range(3):
        stem = replace(HEALTH, zero_share=0.3 * epoch, dead_units=epoch, p99=2.0 + epoch)
        rows += epoch_rows(epoch, {"stem": stem, "hidden": HEALTH}, {"hidden": 0.1**epoch, "head": 0.0})
    draw_health(rows, tmp_path / "relu_health.png")
    expect_picture(tmp_path / "relu_health.png")


def test_a_network_without_gradients_or_activations_is_drawn_too(tmp_path: Path) -> None:
    draw_health(epoch_rows(0, {"a": HEALTH}, {}), tmp_path / "health.png")
    draw_health(epoch_rows(0, {}, {"a": 1.0}), tmp_path / "health.png")
