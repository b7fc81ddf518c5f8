from dataclasses import replace

import pytest

from relu_pipeline.config import load_params
from relu_pipeline.health.findings import findings
from relu_pipeline.health.probe import LayerHealth

THRESHOLDS = load_params().health
WELL = LayerHealth(
    units=100,
    zero_share=0.5,
    dead_units=0,
    always_active_units=0,
    mean=0.5,
    p99=2.0,
    max=5.0,
    saturated_share=0.0,
)
NORMS = {"a": 1.0, "b": 0.5}


def test_a_healthy_network_is_not_spoken_of() -> None:
    assert list(findings({"a": WELL, "b": WELL}, NORMS, THRESHOLDS)) == []
    assert list(findings({}, {}, THRESHOLDS)) == []


def test_a_threshold_that_is_met_exactly_is_not_crossed() -> None:
    edge = replace(
        WELL,
        dead_units=round(WELL.units * THRESHOLDS.max_dead_share),
        zero_share=THRESHOLDS.max_zero_share,
        saturated_share=THRESHOLDS.max_saturated_share,
        p99=WELL.p99 * THRESHOLDS.max_growth,
    )
    norms = {"a": THRESHOLDS.min_gradient_ratio, "b": 1.0}
    assert list(findings({"a": WELL, "b": edge}, norms, THRESHOLDS)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dead_units": 11}, "11 of 100 units of b are dead: no validation example activates them"),
        ({"zero_share": 0.96}, "96.0% of the outputs of b are 0"),
        ({"saturated_share": 0.6}, "60.0% of the outputs of b are saturated"),
        ({"p99": 21.0}, "the 99th percentile of the activations grows 10.5-fold from a to b"),
    ],
)
def test_a_crossed_threshold_is_told_with_its_figure_and_what_to_try(change: dict[str, float], words: str) -> None:
    ((_, sentence),) = findings({"a": WELL, "b": replace(WELL, **change)}, NORMS, THRESHOLDS)
    assert sentence.startswith(words)
    assert "(health.m" in sentence
    assert "try " in sentence


def test_vanishing_gradients_name_both_ends() -> None:
    ((_, sentence),) = findings({}, {"a": 1e-5, "b": 0.5}, THRESHOLDS)
    assert sentence.startswith("the gradient norm of a is 1.0e-05, that of b is 5.0e-01")
