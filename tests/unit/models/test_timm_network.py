"""Networks of timm, without its hub: random weights, and files of weights that timm itself saved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from relu_pipeline.errors import ConfigError
from relu_pipeline.models.checkpoint import load_network, save_checkpoint
from relu_pipeline.models.timm_network import TimmNetwork

SHAPE = (32, 32, 3)
# The hub's own switch, and a cache without any weights.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HOME": "nowhere"}


def pixels(rows: int = 4, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randint(256, (rows, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def saved(path: Path, name: str = "test_resnet") -> nn.Module:
    """A network of 1000 classes, as the hub has it, and its weights in `path`."""
    torch.manual_seed(1)
    model = timm.create_model(name)
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return model.eval()


def from_file(path: Path, num_classes: int = 10, shape: tuple[int, int, int] = SHAPE, **changes: object) -> TimmNetwork:
    settings = {"name": "test_resnet", "pretrained": True, "weights": str(path)} | changes
    network = TimmNetwork(num_classes, shape, **settings)
    network.fit_input(pixels(shape=shape))
    return network


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pretrained_weights_see_the_pixels_that_timm_would_show_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    model = saved(path)
    expected = resolve_model_data_config(model)
    mean, std = (torch.tensor(expected[name])[:, None, None] for name in ("mean", "std"))
    seen = (pixels().permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(from_file(path, num_classes=1000).eval()(pixels()), model(seen))


def test_other_classes_get_a_new_classifier_which_follows_the_seed(tmp_path: Path) -> None:
    model = saved(tmp_path / "weights.pth")
    classifiers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = from_file(tmp_path / "weights.pth")
        for name, weight in network.model.state_dict().items():
            assert name.startswith("fc.") or torch.equal(weight, model.state_dict()[name])
        classifiers.append(network.model.fc.weight)
    assert torch.equal(classifiers[0], classifiers[1])
    assert not torch.equal(classifiers[0], classifiers[2])


def test_random_weights_see_normalised_pixels() -> None:
    network = TimmNetwork(10, SHAPE, "test_resnet")
    network.fit_input(pixels())
    shown = network.normalise(pixels())
    assert shown.mean().abs() < 1e-5
    assert shown.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("pretrained", [False, True])
def test_grey_images(tmp_path: Path, pretrained: bool) -> None:
    saved(tmp_path / "weights.pth")
    weights = str(tmp_path / "weights.pth") if pretrained else None
    network = from_file(tmp_path, shape=(32, 32, 1), pretrained=pretrained, weights=weights)
    assert network.eval()(pixels(shape=(32, 32, 1))).shape == (4, 10)
    assert network.normalise.mean.shape == (1,)


def test_a_frozen_network_trains_its_classifier_alone(tmp_path: Path) -> None:
    saved(tmp_path / "weights.pth")
    network = from_file(tmp_path / "weights.pth", freeze=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    network.eval()
    network.train()
    network(pixels()).sum().backward()
    optimiser.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"model.fc.bias", "model.fc.weight"}


def test_the_head_is_the_classifier_if_it_is_a_single_linear_layer() -> None:
    network = TimmNetwork(10, SHAPE, "test_resnet")
    assert network.head is network.model.fc


def test_a_network_with_two_classifiers_trains_both() -> None:
    network = TimmNetwork(10, SHAPE, "deit_tiny_distilled_patch16_224", freeze=True)
    assert network.head is None
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {f"model.{head}.{part}" for head in ("head", "head_dist") for part in ("weight", "bias")}


def test_a_checkpoint_is_read_without_the_file_of_weights(tmp_path: Path) -> None:
    saved(tmp_path / "weights.pth")
    network = from_file(tmp_path / "weights.pth").eval()
    settings = {"num_classes": 10, "image_shape": list(SHAPE), "name": "test_resnet", "pretrained": True}
    settings |= {"freeze": False, "weights": str(tmp_path / "weights.pth")}
    save_checkpoint(tmp_path / "best.ckpt", "timm", settings, network.state_dict())
    (tmp_path / "weights.pth").unlink()
    assert torch.equal(load_network(tmp_path / "best.ckpt")(pixels()), network(pixels()))


def offline(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | OFFLINE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_hub_a_checkpoint_is_read_and_training_is_told_of_the_other_way(tmp_path: Path) -> None:
    settings = {"num_classes": 10, "image_shape": list(SHAPE), "name": "test_resnet", "pretrained": True}
    save_checkpoint(tmp_path / "best.ckpt", "timm", settings, TimmNetwork(**settings).state_dict())
    read = "from pathlib import Path; from relu_pipeline.models.checkpoint import load_network; "
    read += "network = load_network(Path('best.ckpt')); "
    assert offline(tmp_path, read).returncode == 0
    fit = "import torch; from relu_pipeline.errors import DownloadError\n"
    fit += "try: network.fit_input(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))\nexcept DownloadError as e: print(e)"
    answer = offline(tmp_path, read + fit)
    assert answer.stdout.startswith("the pretrained weights of test_resnet could not be loaded from timm's hub")
    assert "set image.model.timm.weights to a local file of them" in answer.stdout
    assert answer.stdout.count("\n") == 1
    assert answer.stderr == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnett18", r"image\.model\.timm\.name: timm has no model resnett18; similar names: .*resnet18"),
        ("resnet18.of_mine", r"timm has no weights resnet18\.of_mine; those of resnet18 are .*resnet18\.a1_in1k"),
        (
            "inception_v3",
            r"inception_v3 does not support images of 32x32 .*set image\.prepare\.size, for example to 299",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TimmNetwork(10, SHAPE, name).fit_input(pixels())
    assert "\n" not in str(caught.value)


def test_weights_that_nobody_published_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"no pretrained weights for test_mambaout; set .*pretrained to false"):
        TimmNetwork(10, SHAPE, "test_mambaout", pretrained=True).fit_input(pixels())


def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    saved(tmp_path / "other.pth", "test_vit")
    saved(tmp_path / "similar.pth", "test_efficientnet")
    saved(tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-100])
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "empty.pth")
    for file, message in (
        ("other.pth", r"other\.pth lacks \d+ of the weights of test_resnet, including conv1\.0\.weight"),
        ("similar.pth", r"similar\.pth has no weights for test_resnet \(.*size mismatch for bn1\.weight"),
        ("empty.pth", r"empty\.pth lacks \d+ of the weights"),
        ("cut.safetensors", r"cut\.safetensors has no weights for test_resnet \("),
        ("cut.pth", r"cut\.pth has no weights for test_resnet \("),
        ("none.pth", r"none\.pth has no weights for test_resnet \(FileNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            from_file(tmp_path / file)
        assert "\n" not in str(caught.value)


def test_a_transformer_is_built_for_the_size_of_the_images() -> None:
    network = TimmNetwork(10, (48, 48, 3), "test_vit3")
    network.fit_input(pixels(shape=(48, 48, 3)))
    assert network.eval()(pixels(shape=(48, 48, 3))).shape == (4, 10)


def test_another_size_than_that_of_the_weights_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "weights.pth")
    from_file(tmp_path / "weights.pth")
    warning = "warning: test_resnet was pretrained on images of 160x160 pixels, but these have 32x32"
    assert capsys.readouterr().err.startswith(warning)
    from_file(tmp_path / "weights.pth", shape=(160, 160, 3))
    assert capsys.readouterr().err == ""


def test_other_networks_do_not_pay_for_importing_timm() -> None:
    code = "import sys, pipelines.train, pipelines.export; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_layers_train_unless_they_are_frozen() -> None:
    network = TimmNetwork(10, SHAPE, "test_resnet")
    network.fit_input(pixels())
    assert all(module.training for module in network.modules())
    network.eval()
    assert all(module.training for module in network.train().modules())
