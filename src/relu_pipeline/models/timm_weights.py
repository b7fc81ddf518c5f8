"""Networks of timm by name, and their pretrained weights: from its hub or from a file."""

import difflib
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relu_pipeline.errors import ConfigError, DownloadError

if TYPE_CHECKING:  # here and below: importing timm takes a second, and only its own networks need it
    from timm.models import PretrainedCfg

SECTION = "image.model.timm"
MAX_PIXEL = 255
# What networks raise for arguments, inputs or weights that do not fit them.
REFUSALS = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def build(name: str, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """Build the network with random weights for images of `image_shape` (H, W, C). Raises ConfigError."""
    published(name)
    try:
        return _create(name, num_classes, image_shape)
    except REFUSALS as error:
        raise shape_error(name, image_shape, error) from error


def pretrained_model(name: str, num_classes: int, image_shape: Sequence[int], weights: str | None) -> nn.Module:
    """Build the network with the weights of the file, or of the hub; the classifier is new where its classes differ.

    Raises ConfigError, DownloadError.
    """
    arguments = (name, num_classes, image_shape)
    loaded = _from_file(weights, *arguments) if weights else _from_hub(*arguments)
    config: Any = loaded.pretrained_cfg
    _, height, width = config["input_size"]
    if (height, width) != tuple(image_shape[:2]):
        print(
            f"warning: {name} is pretrained on images of {height}x{width} pixels, these have "
            f"{image_shape[0]}x{image_shape[1]}; image.prepare.size sets it",
            file=sys.stderr,
        )
    return loaded


def normalisation(model: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of pixels from 0 to 255 that the weights expect, `[C]`; `[1]` where C is not 3."""
    from timm.data.config import resolve_model_data_config

    expected = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    mean_C, std_C = (torch.tensor(expected[name]) * MAX_PIXEL for name in ("mean", "std"))
    return (mean_C, std_C) if len(mean_C) == model.in_chans else (mean_C.mean()[None], std_C.mean()[None])


def classifiers(model: Any) -> tuple[nn.Module, ...]:
    """Return the last layers; a network that was distilled has two."""
    classifier = model.get_classifier()
    return classifier if isinstance(classifier, tuple) else (classifier,)


def published(name: str) -> "PretrainedCfg | None":
    """What timm knows of a network's weights. Raises ConfigError for a name that timm does not have."""
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = ", ".join(difflib.get_close_matches(architecture, timm.list_models())) or "none is near it"
        raise ConfigError(
            f"{SECTION}.name: timm has no network {architecture}: {near}; "
            "`python -c 'import timm; print(timm.list_models())'` lists all"
        )
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        names = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ConfigError(f"{SECTION}.name: timm has no weights {name}; of {architecture} there are {names}") from error


def shape_error(name: str, image_shape: Sequence[int], error: Exception) -> ConfigError:
    """Say that the network does not take images of this shape, and which size it is made for."""
    config = published(name)
    size = f"{config.input_size[1]}" if config else "224"
    return ConfigError(
        f"{SECTION}.name: {name} does not take images of {image_shape[0]}x{image_shape[1]} pixels "
        f"({_summary(error)}); set image.prepare.size, it is made for {size}, or choose another network"
    )


def _create(name: str, num_classes: int, image_shape: Sequence[int], **source: Any) -> nn.Module:
    import timm

    config = published(name)
    height, width, channels = image_shape
    size: dict[str, Any] = {"img_size": (height, width)} if config and config.fixed_input_size else {}
    return timm.create_model(name, num_classes=num_classes, in_chans=channels, **size, **source)


def _from_hub(name: str, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
    config = published(name)
    if not (config and config.has_weights):
        raise ConfigError(
            f"{SECTION}.name: timm has no pretrained weights for {name}; set {SECTION}.pretrained to false, or choose "
            "a name of those that `python -c 'import timm; print(timm.list_pretrained())'` lists"
        )
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would print each of its retries
    try:
        return _create(name, num_classes, image_shape, pretrained=True)
    except (OSError, *REFUSALS) as error:
        raise DownloadError(
            f"the pretrained weights of {name} could not be loaded from timm's hub ({_summary(error)}); name a "
            f"local file of them in {SECTION}.weights, or set {SECTION}.pretrained to false"
        ) from error


def _from_file(weights: str, name: str, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """timm keeps random weights where the file has none: these differ between two seeds."""
    from safetensors import SafetensorError

    def load(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            source = {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}}
            return _create(name, num_classes, image_shape, **source)

    try:
        loaded, other = (load(torch.initial_seed() + shift) for shift in (0, 1))
    except (OSError, EOFError, SafetensorError, *REFUSALS) as error:
        raise ConfigError(
            f"{SECTION}.weights: {weights} has no weights for {name} ({_summary(error)}); it must be a .safetensors "
            "or .pth file of a state dict, as timm saves it"
        ) from error
    if random := _different_weights(loaded, other):
        raise ConfigError(
            f"{SECTION}.weights: {weights} lacks {len(random)} of the weights of {name}, {random[0]} among them; "
            f"{SECTION}.name must be the network that was saved"
        )
    return loaded


def _different_weights(one: nn.Module, other: nn.Module) -> list[str]:
    """Names of the parameters, but for the classifiers', that are not the same in both."""
    heads = {id(parameter) for classifier in classifiers(one) for parameter in classifier.parameters()}
    weights = {name: parameter for name, parameter in one.named_parameters() if id(parameter) not in heads}
    return [name for name, weight in weights.items() if not torch.equal(weight, other.get_parameter(name))]


def _summary(error: Exception) -> str:
    """The first two lines, as the first alone may only announce what follows; one that says nothing by its type."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
