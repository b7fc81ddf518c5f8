"""Warnings about ReLU health, with advice."""

import itertools
from collections.abc import Iterator, Mapping

from relu_pipeline.config import HealthConfig
from relu_pipeline.health.probe import LayerHealth


def findings(
    layers: Mapping[str, LayerHealth], gradient_norms: Mapping[str, float], thresholds: HealthConfig
) -> Iterator[tuple[str, str]]:
    """Yield a key and a message for each threshold that is crossed; the key is the same in each epoch."""
    for layer, health in layers.items():
        yield from _of_layer(layer, health, thresholds)
    yield from _explosions(layers, thresholds)
    yield from _vanishing(gradient_norms, thresholds)


def _of_layer(layer: str, health: LayerHealth, thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    if health.dead_share > thresholds.max_dead_share:
        yield (
            f"dead {layer}",
            f"{health.dead_units} of {health.units} units of {layer} are dead: no validation example activates them "
            f"(health.max_dead_share is {thresholds.max_dead_share:g}); try a lower learning rate, a longer warm-up, "
            "or leaky_relu where the network takes an activation",
        )
    if health.zero_share > thresholds.max_zero_share:
        yield (
            f"sparse {layer}",
            f"{health.zero_share:.1%} of the outputs of {layer} are 0 (health.max_zero_share is "
            f"{thresholds.max_zero_share:g}); try a lower learning rate, or fewer units in this layer",
        )
    if health.saturated_share > thresholds.max_saturated_share:
        yield (
            f"saturated {layer}",
            f"{health.saturated_share:.1%} of the outputs of {layer} are saturated, with gradients close to 0 "
            f"(health.max_saturated_share is {thresholds.max_saturated_share:g}); try relu, or smaller initial weights",
        )


def _explosions(layers: Mapping[str, LayerHealth], thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    for (before, small), (layer, large) in itertools.pairwise(layers.items()):
        if large.p99 > thresholds.max_growth * small.p99 > 0:
            yield (
                f"growing {layer}",
                f"the 99th percentile of the activations grows {large.p99 / small.p99:.3g}-fold from {before} to "
                f"{layer} (health.max_growth is {thresholds.max_growth:g}); try a lower learning rate or a norm",
            )


def _vanishing(gradient_norms: Mapping[str, float], thresholds: HealthConfig) -> Iterator[tuple[str, str]]:
    if not gradient_norms:
        return
    weakest, strongest = (pick(gradient_norms, key=gradient_norms.__getitem__) for pick in (min, max))
    if gradient_norms[weakest] < thresholds.min_gradient_ratio * gradient_norms[strongest]:
        yield (
            "vanishing gradients",
            f"the gradient norm of {weakest} is {gradient_norms[weakest]:.1e}, that of {strongest} is "
            f"{gradient_norms[strongest]:.1e} (health.min_gradient_ratio is {thresholds.min_gradient_ratio:g}); "
            "try relu instead of a saturating function, He initialisation, norms or residual connections",
        )
