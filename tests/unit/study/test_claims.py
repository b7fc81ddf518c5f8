"""Claims follow the figures: planted results for and against each."""

from dataclasses import replace
from itertools import product
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.config import StudyConfig, load_params
from relu_pipeline.health.probe import LayerHealth
from relu_pipeline.health.record import epoch_rows
from relu_pipeline.study.cells import INITIALISATION, Cell, grid
from relu_pipeline.study.claims import CLAIMS, judge
from relu_pipeline.study.results import Results, Spread
from relu_pipeline.study.train import CellResult

CONFIG: StudyConfig = load_params().study
HEALTH = LayerHealth(
    units=100, zero_share=0.0, dead_units=0, always_active_units=0, mean=0.5, p99=0.9, max=0.99, saturated_share=0.0
)
QUARTILES = {"lower_quartile": 1.0, "median": 1.0, "upper_quartile": 1.0}
COST = [{"activation": name, "median_ms": 1.0, **QUARTILES} for name in (*INITIALISATION, "silu")]


def result(cell: Cell, accuracy: float = 0.4, health: LayerHealth = HEALTH, first_gradient: float = 1.0) -> CellResult:
    layers = epoch_rows(0, {"hidden.0": health}, {"hidden.0": first_gradient, "head": 1.0})
    return CellResult(cell, [{"epoch": 0, "train_loss": 1.0, "val_accuracy": accuracy}], layers)


def all_alike() -> list[CellResult]:
    return [result(cell) for cell in grid(CONFIG)]


def as_taught() -> list[CellResult]:
    """What courses would have us find."""

    def taught(cell: Cell) -> CellResult:
        deep, high = cell.depth == CONFIG.depths[-1], cell.learning_rate == CONFIG.learning_rates[-1]
        best = {"relu": 0.5, "gelu": 0.6, "leaky_relu": 0.5, "prelu": 0.5, "elu": 0.5}.get(cell.activation, 0.3)
        dies = cell.activation == "relu" and high
        health = {
            "relu": replace(HEALTH, zero_share=0.5, max=20.0, dead_units=50 if dies else 0),
            "elu": replace(HEALTH, mean=0.1),
        }.get(cell.activation, HEALTH)
        vanishes = deep and cell.activation in ("sigmoid", "tanh")
        starved = deep and cell.initialisation == "small"
        return result(cell, 0.1 if dies or starved else best, health, 1e-7 if vanishes else 1.0)

    return [taught(cell) for cell in grid(CONFIG)]


def test_figures_as_taught_confirm_every_claim() -> None:
    cost = [row | {"lower_quartile": 1.0 if row["activation"] == "relu" else 1.5} for row in COST]
    assert [claim.statement for claim in judge(Results(as_taught(), CONFIG, cost)) if not claim.confirmed] == []


def test_where_all_are_alike_no_difference_is_confirmed() -> None:
    confirmed = [claim.statement for claim in judge(Results(all_alike(), CONFIG, COST)) if claim.confirmed]
    assert confirmed == ["Gradients do not vanish in a deep ReLU network."]


def test_one_seed_against_it_is_enough_to_leave_a_claim_unconfirmed() -> None:
    cells = as_taught()
    shallow, normal = CONFIG.depths[0], CONFIG.learning_rates[0]
    for index, found in enumerate(cells):
        if (found.cell.activation, found.cell.depth, found.cell.learning_rate) == ("sigmoid", shallow, normal):
            cells[index] = result(found.cell, accuracy=0.55)
            break
    first = judge(Results(cells, CONFIG, COST))[0]
    assert first.statement.startswith("ReLU reaches a higher accuracy than sigmoid")
    assert not first.confirmed


def test_every_claim_shows_its_figures() -> None:
    for claim in judge(Results(as_taught(), CONFIG, COST)):
        assert any(character.isdigit() for character in claim.evidence)
    assert len({claim.statement for claim in judge(Results(as_taught(), CONFIG, COST))}) == len(CLAIMS)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5))
def test_above_is_every_seed_against_every_seed(a: list[float], b: list[float]) -> None:
    left, right = Spread(tuple(a)), Spread(tuple(b))
    assert left.above(right) == all(x > y for x, y in product(a, b))
    assert not (left.above(right) and right.above(left))
    assert left.mean == mean(a)


def test_a_spread_is_written_with_its_smallest_and_largest() -> None:
    assert f"{Spread((1.0, 2.0, 6.0)):.1f}" == "3.0 (1.0 to 6.0)"


def test_the_grid_has_every_combination_for_every_seed() -> None:
    cells = grid(CONFIG)
    assert len(cells) == len(set(cells)) == len({cell.name for cell in cells})
    combinations = len(INITIALISATION) * len(CONFIG.depths) * len(CONFIG.learning_rates) + len(CONFIG.depths)
    assert len(cells) == combinations * CONFIG.seeds


@pytest.mark.parametrize("activation", INITIALISATION)
def test_results_are_found_by_what_they_are_of(activation: str) -> None:
    results = Results(all_alike(), CONFIG, COST)
    found = results.of(activation, CONFIG.depths[0], CONFIG.learning_rates[1])
    assert [cell.cell.seed for cell in found] == list(range(CONFIG.seeds))
    assert {cell.cell.initialisation for cell in found} == {INITIALISATION[activation]}
