"""The probe against counts made by hand and by NumPy."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, multiprocessing, nn

from relu_pipeline.data.batches import OrderedBatches
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.health import probe as module
from relu_pipeline.health.hooks import watching
from relu_pipeline.health.probe import Probe, probe
from relu_pipeline.models.mlp import MLP
from relu_pipeline.models.plain_cnn import PlainCNN

NEVER, ALWAYS = -1e4, 1e4


def _probe_of_rank(rank: int, out: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=rank, world_size=2)
    torch.manual_seed(0)
    network, seen = PlainCNN(2, (12, 12, 1), [16], [8], "relu"), Probe()
    network.eval()
    with watching(network, seen.see), torch.no_grad():
        for inputs, _ in OrderedBatches(split(41), 10, (rank, 2)):
            network(inputs)
    torch.save({layer: asdict(health) for layer, health in seen.health().items()}, out / f"{rank}.pt")
    distributed.destroy_process_group()


def test_processes_that_share_a_split_tell_the_health_over_all_of_it(tmp_path: Path) -> None:
    multiprocessing.start_processes(_probe_of_rank, (tmp_path,), nprocs=2, start_method="spawn")
    torch.manual_seed(0)
    whole = {
        layer: asdict(health) for layer, health in probe(PlainCNN(2, (12, 12, 1), [16], [8], "relu"), split(41)).items()
    }
    for rank in range(2):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert shared.keys() == whole.keys()
        assert all(shared[layer] == pytest.approx(whole[layer], rel=1e-5) for layer in whole)


def split(rows: int, seed: int = 0, shape: tuple[int, ...] = (12, 12, 1)) -> ImageSplit:
    pixels = torch.randint(256, (rows, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ImageSplit(pixels, torch.zeros(rows, dtype=torch.int64))


@given(
    dead=st.sets(st.integers(0, 15)), always=st.sets(st.integers(0, 15)), rows=st.integers(1, 40), conv=st.booleans()
)
def test_planted_dead_and_always_active_units_are_counted_exactly(
    dead: set[int], always: set[int], rows: int, conv: bool
) -> None:
    torch.manual_seed(0)
    if conv:
        network: nn.Module = PlainCNN(2, (12, 12, 1), [16], [], "relu")
        layer = network.features[0][0]
    else:
        network = MLP(2, (12, 12, 1), [16], "relu")
        layer = network.hidden[0]
    with torch.no_grad():
        nn.init.normal_(layer.weight)
        # One positive and one negative weight on noise: every other unit is active in some places and not in others.
        layer.bias.zero_()
        layer.bias[list(dead)] = NEVER
        layer.bias[list(always - dead)] = ALWAYS
    network.normalise.fit(split(64).images_BHWC)
    (health,) = probe(network, split(max(rows, 20))).values()
    assert (health.units, health.dead_units, health.always_active_units) == (16, len(dead), len(always - dead))


@given(
    values=st.integers(1, 3),
    rows=st.integers(1, 50),
    units=st.integers(1, 7),
    batch=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_measure_is_numpys_however_the_rows_are_batched(
    values: int, rows: int, units: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, units, values, values)).astype(np.float32) * (rng.random(units)[:, None, None] > 0.3)
    x = np.maximum(x, 0)
    seen = Probe()
    for part in torch.from_numpy(x).split(batch):
        seen.see("layer", nn.ReLU(), part)
    health = seen.health()["layer"]
    assert health.zero_share == (x == 0).mean()
    assert health.dead_units == (x.max(axis=(0, 2, 3)) == 0).sum()
    assert health.always_active_units == (x.min(axis=(0, 2, 3)) > 0).sum()
    assert health.mean == pytest.approx(x.mean(), abs=1e-6)
    assert health.max == x.max()
    assert health.p99 == pytest.approx(np.quantile(x, 0.99, method="inverted_cdf"), rel=0.004, abs=1e-30)
    assert health.saturated_share == 0


def test_minus_zero_and_nan_have_their_place() -> None:
    seen = Probe()
    seen.see("layer", nn.GELU(), torch.tensor([[-0.0, 1.0], [0.0, 2.0]]))
    health = seen.health()["layer"]
    assert (health.zero_share, health.dead_units, health.p99) == (0.5, 1, 2.0)
    seen.see("layer", nn.GELU(), torch.full((1, 2), -torch.nan))
    assert np.isnan(seen.health()["layer"].mean)


def test_small_chunks_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = PlainCNN(2, (12, 12, 1), [8, 4], [], "relu")
    whole = probe(network, split(30))
    monkeypatch.setitem(module.CHUNK_VALUES, "cpu", 1000)
    parts = probe(network, split(30))
    for layer, health in whole.items():
        assert (health.zero_share, health.dead_units, health.p99) == (
            parts[layer].zero_share,
            parts[layer].dead_units,
            parts[layer].p99,
        )


@pytest.mark.parametrize(
    ("activation", "inputs", "saturated", "active"),
    [
        (nn.Sigmoid(), [-3.0, -2.9, 0.0, 2.9, 3.0], 0.4, 2),
        (nn.Tanh(), [-1.5, -1.4, 0.0, 1.4, 1.5], 0.4, 2),
        (nn.LeakyReLU(), [-3.0, 0.0, 3.0], 0.0, 1),
    ],
)
def test_saturation_is_the_last_twentieth_of_the_range(
    activation: nn.Module, inputs: list[float], saturated: float, active: int
) -> None:
    x = torch.tensor(inputs)
    seen = Probe()
    seen.see("layer", activation, activation(x)[None])
    health = seen.health()["layer"]
    assert health.saturated_share == pytest.approx(saturated)
    assert health.units - health.dead_units == health.always_active_units == active


def test_layers_are_named_by_the_weights_before_them_and_hooks_are_removed() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.GELU(), nn.Linear(4, 2))
    network.eval()
    names: list[str] = []
    for _ in range(2):
        with watching(network, lambda layer, _activation, _output: names.append(layer)):
            network(torch.zeros(5, 3))
            network(torch.zeros(5, 3))
    assert names == ["0", "1", "1:2"] * 4
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_units_behind_a_linear_layer_on_a_grid_are_its_features() -> None:
    network = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Flatten(1), nn.Linear(4 * 5 * 7, 2)).eval()
    with torch.no_grad():
        network[0].bias[:2] = NEVER
    seen = Probe()
    with watching(network, seen.see):
        network(torch.rand(6, 4, 5, 3))
    health = seen.health()["0"]
    assert (health.units, health.dead_share >= 2 / 7) == (7, True)


def test_a_subclass_of_an_activation_is_one() -> None:
    class Slope(nn.PReLU):
        pass

    seen = Probe()
    seen.see("layer", Slope(), torch.tensor([[-0.5, 1.0]]))
    assert seen.health()["layer"].dead_units == 1


def test_a_failure_while_watching_removes_the_hooks() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with pytest.raises(RuntimeError), watching(network, lambda *_: None):
        network(torch.zeros(5, 99))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_the_network_answers_the_same_while_it_is_watched() -> None:
    network = PlainCNN(3, (12, 12, 1), [8], [5], "relu").eval()
    inputs = split(9).images_BHWC
    before = network(inputs)
    with watching(network, Probe().see):
        assert torch.equal(network(inputs), before)
