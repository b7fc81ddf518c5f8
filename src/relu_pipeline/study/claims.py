"""Textbook claims about ReLU, and the tests that confirm or do not confirm them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import mean

from relu_pipeline.config import ActivationName
from relu_pipeline.study.results import Results

VANISHED = 1e-3
SPARSE = 0.3


@dataclass(frozen=True)
class Claim:
    """Claim with the result of its test, and the measurements as a sentence."""

    statement: str
    confirmed: bool
    evidence: str


Judge = Callable[[Results], Claim]


def judge(results: Results) -> list[Claim]:
    return [claim(results) for claim in CLAIMS]


def _learns_better_than(other: ActivationName, r: Results) -> Claim:
    relu, rival = (r.accuracy(name, r.shallow, r.normal) for name in ("relu", other))
    deep_relu, deep_rival = (r.accuracy(name, r.deep, r.normal) for name in ("relu", other))
    return Claim(
        f"ReLU reaches a higher accuracy than {other} in the same number of epochs.",
        relu.above(rival) and deep_relu.above(deep_rival),
        f"Validation accuracy with {r.shallow} hidden layers: ReLU {relu:.1f} %, {other} {rival:.1f} %; "
        f"with {r.deep}: {deep_relu:.1f} % and {deep_rival:.1f} %.",
    )


def _vanishes(name: ActivationName, r: Results) -> Claim:
    ratio = r.gradient_ratio(name)
    return Claim(
        f"Gradients vanish in a deep {name} network.",
        max(ratio.values) < VANISHED,
        f"With {r.deep} hidden layers and Glorot initialisation the gradient norm of the first layer is {ratio:.2g} "
        "times that of the last.",
    )


def _relu_does_not_vanish(r: Results) -> Claim:
    ratio = r.gradient_ratio("relu")
    return Claim(
        "Gradients do not vanish in a deep ReLU network.",
        ratio.above(0.1),
        f"With {r.deep} hidden layers and He initialisation the gradient norm of the first layer is {ratio:.2g} times "
        "that of the last.",
    )


def _is_sparse(r: Results) -> Claim:
    spread = r.spread(lambda result: 100 * mean(result.last("zero_share")), r.of("relu", r.shallow, r.normal))
    other = r.spread(lambda result: 100 * mean(result.last("zero_share")), r.of("tanh", r.shallow, r.normal))
    return Claim(
        "ReLU makes activations sparse.",
        spread.above(100 * SPARSE) and spread.above(other),
        f"Activations that are exactly 0: ReLU {spread:.0f} %, tanh {other:.0f} %.",
    )


def _is_unbounded(r: Results) -> Claim:
    relu, tanh, sigmoid = (
        r.spread(lambda result: max(result.last("max")), r.of(name, r.shallow, r.normal))
        for name in ("relu", "tanh", "sigmoid")
    )
    return Claim(
        "The outputs of ReLU are unbounded; those of sigmoid and tanh are bounded.",
        relu.above(1) and max(*tanh.values, *sigmoid.values) <= 1,
        f"Largest activation: ReLU {relu:.1f}, tanh {tanh:.3f}, sigmoid {sigmoid:.3f}.",
    )


def _high_rate_kills(r: Results) -> Claim:
    normal, high = (r.dead("relu", r.shallow, rate) for rate in (r.normal, r.high))
    accuracy = r.accuracy("relu", r.shallow, r.high)
    return Claim(
        "ReLU units die if the learning rate is far too high.",
        high.above(normal) and high.above(10),
        f"Dead units with {r.shallow} hidden layers: {normal:.1f} % at {r.normal:g}, {high:.1f} % at {r.high:g}, with "
        f"an accuracy of {accuracy:.1f} %.",
    )


def _leaky_survives(r: Results) -> Claim:
    relu, leaky, parametric = (r.accuracy(name, r.shallow, r.high) for name in ("relu", "leaky_relu", "prelu"))
    dead = r.dead("leaky_relu", r.shallow, r.high)
    return Claim(
        "Leaky ReLU still trains at a learning rate at which ReLU units die.",
        leaky.above(relu),
        f"Accuracy at {r.high:g}: ReLU {relu:.1f} %, leaky {leaky:.1f} %, parametric {parametric:.1f} %. {dead:.0f} % "
        "of the leaky units never have an input above 0, but their gradient is not 0.",
    )


def _he_matters(r: Results) -> Claim:
    he, small = (r.accuracy("relu", r.deep, r.normal, initialisation) for initialisation in ("he", "small"))
    shallow = r.accuracy("relu", r.shallow, r.normal, "small")
    ratio = r.gradient_ratio("relu", "small")
    return Claim(
        "Deep ReLU networks need He initialisation; with small random weights they do not train.",
        he.above(small),
        f"With {r.deep} hidden layers: He {he:.1f} %, normal weights of standard deviation 0.01 {small:.1f} % "
        f"(gradient norm of the first layer {ratio:.1e} times that of the last). With {r.shallow} hidden layers the "
        f"small weights reach {shallow:.1f} %.",
    )


def _elu_is_centred(r: Results) -> Claim:
    relu, elu = (
        r.spread(lambda result: abs(mean(result.last("mean"))), r.of(name, r.shallow, r.normal))
        for name in ("relu", "elu")
    )
    return Claim(
        "The mean activation of ELU is closer to 0 than that of ReLU.",
        relu.above(elu),
        f"Absolute mean activation: ReLU {relu:.2f}, ELU {elu:.2f}.",
    )


def _gelu_is_better(r: Results) -> Claim:
    relu, gelu = (r.accuracy(name, r.deep, r.normal) for name in ("relu", "gelu"))
    return Claim(
        "GELU is more accurate than ReLU in deep networks.",
        gelu.above(relu),
        f"Validation accuracy with {r.deep} hidden layers: ReLU {relu:.1f} %, GELU {gelu:.1f} %.",
    )


def _is_cheap(r: Results) -> Claim:
    ratios = [
        f"{name} {r.cost[name]['median']:.2f} (quartiles {r.cost[name]['lower_quartile']:.2f} to "
        f"{r.cost[name]['upper_quartile']:.2f})"
        for name in ("sigmoid", "tanh", "gelu")
    ]
    return Claim(
        "ReLU is cheaper to compute than sigmoid and tanh.",
        all(r.cost[name]["lower_quartile"] > 1 for name in ("sigmoid", "tanh")),
        f"Forward and backward pass over a million values on one thread, relative to ReLU: {', '.join(ratios)}. Both "
        "are small compared with the matrix multiplications of a network.",
    )


CLAIMS: tuple[Judge, ...] = (
    partial(_learns_better_than, "sigmoid"),
    partial(_learns_better_than, "tanh"),
    partial(_vanishes, "sigmoid"),
    partial(_vanishes, "tanh"),
    _relu_does_not_vanish,
    _is_sparse,
    _is_unbounded,
    _high_rate_kills,
    _leaky_survives,
    _he_matters,
    _elu_is_centred,
    _gelu_is_better,
    _is_cheap,
)
