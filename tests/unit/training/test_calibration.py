import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from relu_pipeline.config import NETWORKS
from relu_pipeline.data.batches import OrderedBatches
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.teaching import TEACHING
from relu_pipeline.training.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, calibrate, fit_temperature

IMAGE = {"num_classes": 5, "image_shape": [12, 12, 3]}
SETTINGS = {
    "residual_cnn": IMAGE | {"widths": [8], "stem_kernel": 4, "stem_stride": 2, "stem_components": 4},
    "plain_cnn": IMAGE | {"widths": [4], "hidden_dims": [6], "activation": "relu"},
    "mlp": IMAGE | {"hidden_dims": [6], "activation": "relu"},
    "resnet18": IMAGE,
    "timm": IMAGE | {"image_shape": [32, 32, 3], "name": "test_resnet"},
    "text_mlp": {"num_classes": 5, "vocab_size": 9, "embedding_dim": 4, "hidden_dims": [6], "dropout": 0.1},
}


def drawn(rows: int, classes: int, seed: int, sharpness: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that follow their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


@settings(deadline=None)
@given(temperature=st.floats(0.1, 10), classes=st.integers(2, 20), seed=st.integers(0, 99))
def test_the_temperature_that_logits_were_multiplied_by_is_found(temperature: float, classes: int, seed: int) -> None:
    logits, labels = drawn(4000, classes, seed)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.15)


@settings(deadline=None)
@given(rows=st.integers(1, 50), classes=st.integers(2, 6), seed=st.integers(0, 999), factor=st.floats(0.2, 5))
def test_scaled_logits_have_a_scaled_temperature(rows: int, classes: int, seed: int, factor: float) -> None:
    logits, labels = drawn(rows, classes, seed)
    once, scaled = fit_temperature(logits, labels), fit_temperature(logits * factor, labels)
    assert MIN_TEMPERATURE <= once <= MAX_TEMPERATURE
    if MIN_TEMPERATURE * 1.001 < scaled < MAX_TEMPERATURE * 0.999 and 0.051 < once < 19.9:
        assert scaled == pytest.approx(factor * once, rel=1e-6)


@settings(deadline=None)
@given(rows=st.integers(20, 200), seed=st.integers(0, 999), other=st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE))
def test_no_other_temperature_has_a_lower_loss(rows: int, seed: int, other: float) -> None:
    logits, labels = drawn(rows, 4, seed)
    best, found = (
        F.cross_entropy(logits / divisor, labels, label_smoothing=1 / (rows + 2))
        for divisor in (fit_temperature(logits, labels), other)
    )
    assert best <= found + 1e-9


@settings(deadline=None)
@given(rows=st.integers(1, 500), margin=st.floats(1, 8))
def test_a_split_without_a_mistake_leaves_as_much_doubt_as_its_rows_allow(rows: int, margin: float) -> None:
    logits, labels = margin * torch.eye(2)[torch.zeros(rows, dtype=torch.int64)], torch.zeros(rows, dtype=torch.int64)
    right = 1 - 0.5 / (rows + 2)
    assert fit_temperature(logits, labels) == pytest.approx(margin / math.log(right / (1 - right)), rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_network_that_knows_nothing_or_is_always_wrong_gets_a_temperature_within_the_bounds(sign: int) -> None:
    labels = torch.arange(100) % 4
    for logits in (torch.zeros(100, 4), -1e4 * F.one_hot(labels, 4).double(), 1e4 * F.one_hot(labels, 4).double()):
        assert MIN_TEMPERATURE <= fit_temperature(sign * logits, labels) <= MAX_TEMPERATURE


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_calibrated_by_its_head_alone(name: str) -> None:
    torch.manual_seed(0)
    network, labels = build_network(name, SETTINGS[name]), torch.arange(40) % 5
    if name == "text_mlp":
        split = TextSplit(torch.randint(1, 9, (120,)), torch.arange(0, 121, 3), labels)
    else:
        split = ImageSplit(torch.randint(256, (40, 12, 12, 3), dtype=torch.uint8), labels)
        network.fit_input(split.images_BHWC)
    inputs = split.gather(torch.arange(40))
    with torch.no_grad():
        before, others = network.eval()(inputs), {name: t.clone() for name, t in network.state_dict().items()}
        found = calibrate(network, OrderedBatches(split, 7))
        after = network(inputs)
    torch.testing.assert_close(after, before / found.temperature, rtol=1e-4, atol=1e-5)
    assert torch.equal(after.argmax(dim=1), before.argmax(dim=1))
    assert found.val_loss_before == pytest.approx(F.cross_entropy(before, labels).item(), abs=1e-5)
    assert found.val_loss_after == pytest.approx(F.cross_entropy(after, labels).item(), abs=1e-5)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, others[name])}
    assert len(changed) == 2  # the weights and biases of the head


class Headless(nn.Module):
    """A network whose classifier is no single linear layer."""

    head = None

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12 * 12 * 3, 5)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return self.layer(image_BHWC.flatten(1) / 255)


def test_a_network_without_a_single_head_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    network = Headless()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    split = ImageSplit(torch.randint(256, (40, 12, 12, 3), dtype=torch.uint8), torch.arange(40) % 5)
    with torch.no_grad():
        found = calibrate(network, OrderedBatches(split, 7))
    assert (found.temperature, found.val_loss_after) == (1, found.val_loss_before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert "warning: probabilities not calibrated" in capsys.readouterr().err


def test_every_network_by_name_is_tested_here() -> None:
    assert set(SETTINGS) == set(NETWORKS) >= {name for name, _ in TEACHING.values()}
