import numpy as np
import pytest
import torch
from torch import nn

from relu_pipeline.models.residual_cnn import ResidualCNN, whitening_filters


@pytest.fixture
def images(rng: np.random.Generator) -> torch.Tensor:
    """Smooth uint8 pictures, whose neighbouring pixels are correlated as in photographs."""
    coarse = rng.integers(256, size=(200, 8, 8, 3))
    return torch.from_numpy(coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8))


def network() -> ResidualCNN:
    return ResidualCNN(
        num_classes=7, image_shape=(32, 32, 3), widths=[8, 16], stem_kernel=4, stem_stride=2, stem_components=12
    ).eval()


def test_it_takes_pixels_and_gives_logits(images: torch.Tensor) -> None:
    assert network()(images[:5]).shape == (5, 7)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_any_stem_fits_any_image(images: torch.Tensor, kernel: int, stride: int) -> None:
    model = ResidualCNN(7, (32, 32, 3), [8, 16], kernel, stride, stem_components=6)
    model.fit_input(images)
    assert model.eval()(images[:3, :28, :30]).shape == (3, 7)


@pytest.mark.parametrize(
    ("side", "first", "widths"),
    [
        (8, 8, [8, 16]),
        (63, 8, [8, 16]),
        (64, 8, [4, 8, 16]),
        (127, 8, [4, 8, 16]),
        (128, 8, [4, 4, 8, 16]),
        (64, 1, [1, 1, 16]),
    ],
)
def test_each_doubling_of_the_smaller_side_beyond_32_adds_a_block_of_half_the_first_width(
    side: int, first: int, widths: list[int]
) -> None:
    model = ResidualCNN(7, (side, 200, 3), [first, 16], stem_kernel=2, stem_stride=1, stem_components=6)
    assert [block.residual.out_channels for block in model.blocks] == widths


def test_at_the_start_a_block_hands_its_inputs_on(images: torch.Tensor) -> None:
    block = network().blocks[0].eval()
    x_BCHW = torch.rand(2, 24, 8, 8)
    wide = block.widen(x_BCHW)
    torch.testing.assert_close(wide[:, :8], x_BCHW[:, :8])


def test_all_its_activations_are_relu() -> None:
    activations = [module for module in network().modules() if type(module).__module__.endswith("activation")]
    assert len(activations) == 5
    assert all(isinstance(module, nn.ReLU) for module in activations)


def test_the_fitted_normalisation_has_mean_0_and_deviation_1(images: torch.Tensor) -> None:
    model = network()
    model.fit_input(images)
    x_BCHW = model.normalise(images)
    torch.testing.assert_close(x_BCHW.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x_BCHW.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_whitened_patches_are_uncorrelated(rng: np.random.Generator) -> None:
    noise = torch.from_numpy(rng.normal(size=(400, 3, 16, 16))).float()
    x_BCHW = noise + noise.mean(dim=1, keepdim=True)
    filters = whitening_filters(x_BCHW, kernel=4)
    answers = nn.functional.conv2d(x_BCHW, filters, stride=4).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(answers), torch.eye(len(filters)), atol=0.02, rtol=0)


def test_the_stem_is_frozen_and_holds_each_filter_with_both_signs(images: torch.Tensor) -> None:
    model = network()
    model.fit_input(images)
    before = model.stem.weight.clone()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()(images[:8]).sum().backward()
    optimiser.step()
    assert torch.equal(model.stem.weight, before)
    assert torch.equal(before[:12], -before[12:])


def test_a_stem_of_grey_images_has_no_more_filters_than_its_patches_have_pixels(images: torch.Tensor) -> None:
    grey = images[..., :1]
    model = ResidualCNN(7, (32, 32, 1), [8, 16], stem_kernel=2, stem_stride=1, stem_components=12)
    model.fit_input(grey)
    assert model.stem.out_channels == 2 * 4
    assert model.eval()(grey[:3]).shape == (3, 7)
