"""Plain words for a network that is not well, and what to try."""

import itertools
from collections.abc import Iterator, Mapping

from relu_pipeline.config import HealthConfig
from relu_pipeline.health.probe import LayerHealth


def findings(
    layers: Mapping[str, LayerHealth], gradient_norms: Mapping[str, float], thresholds: HealthConfig
) -> Iterator[tuple[str, str]]:
    """What crosses a threshold: a key that stays the same from epoch to epoch, and a sentence."""
    for layer, health in layers.items():
        yield from _of_layer(layer, health, thresholds)
    yield from _explosions(layers, thresholds)
    yield from _vanishing(gradient_norms, thresholds)


def _of_layer(layer: str, health: LayerHealth, thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    if health.dead_share > thresholds.max_dead_share:
        yield (
            f"dead {layer}",
            f"{health.dead_units} of {health.units} units of {layer} are dead, no validation row activates them "
            f"(health.max_dead_share is {thresholds.max_dead_share:g}); try a lower learning rate, a longer warm-up, "
            "or leaky_relu where the network takes an activation",
        )
    if health.zero_share > thresholds.max_zero_share:
        yield (
            f"sparse {layer}",
            f"{health.zero_share:.1%} of the outputs of {layer} are 0 (health.max_zero_share is "
            f"{thresholds.max_zero_share:g}); try a lower learning rate, or fewer units there",
        )
    if health.saturated_share > thresholds.max_saturated_share:
        yield (
            f"saturated {layer}",
            f"{health.saturated_share:.1%} of the outputs of {layer} are saturated (health.max_saturated_share is "
            f"{thresholds.max_saturated_share:g}), where gradients are almost 0; try relu, or smaller initial weights",
        )


def _explosions(layers: Mapping[str, LayerHealth], thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    for (before, small), (layer, large) in itertools.pairwise(layers.items()):
        if large.p99 > thresholds.max_growth * small.p99 > 0:
            yield (
                f"growing {layer}",
                f"activations grow {large.p99 / small.p99:.3g} times from {before} to {layer}, by their 99th "
                f"percentiles (health.max_growth is {thresholds.max_growth:g}); try a lower learning rate or a norm",
            )


def _vanishing(gradient_norms: Mapping[str, float], thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    if not gradient_norms:
        return
    weakest, strongest = (pick(gradient_norms, key=gradient_norms.__getitem__) for pick in (min, max))
    if gradient_norms[weakest] < thresholds.min_gradient_ratio * gradient_norms[strongest]:
        yield (
            "vanishing gradients",
            f"the gradient of {weakest} has a norm of {gradient_norms[weakest]:.1e}, that of {strongest} "
            f"{gradient_norms[strongest]:.1e} (health.min_gradient_ratio is {thresholds.min_gradient_ratio:g}); "
            "try relu instead of a saturating function, He initialisation, norms or residual connections",
        )
