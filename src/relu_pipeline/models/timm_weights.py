"""Construction of timm models, and their pretrained weights from timm's hub or from a file."""

import difflib
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relu_pipeline.errors import ConfigError, DownloadError

if TYPE_CHECKING:  # timm is imported where it is used: the import takes a second, and other networks do not need it
    from timm.models import PretrainedCfg

SECTION = "image.model.timm"
MAX_PIXEL = 255
# Exceptions that timm models raise for arguments, inputs or weights that do not fit.
REFUSALS = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def build(name: str, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """Return the model with random weights for images of `image_shape` (H, W, C). Raises ConfigError."""
    published(name)
    try:
        return _create(name, num_classes, image_shape)
    except REFUSALS as error:
        raise shape_error(name, image_shape, error) from error


def pretrained_model(name: str, num_classes: int, image_shape: Sequence[int], weights: str | None) -> nn.Module:
    """Return the model with pretrained weights from the file or from the hub.

    The classifier is initialised at random if its number of classes differs. Raises ConfigError, DownloadError.
    """
    arguments = (name, num_classes, image_shape)
    loaded = _from_file(weights, *arguments) if weights else _from_hub(*arguments)
    config: Any = loaded.pretrained_cfg
    _, height, width = config["input_size"]
    if (height, width) != tuple(image_shape[:2]):
        print(
            f"warning: {name} was pretrained on images of {height}x{width} pixels, but these have "
            f"{image_shape[0]}x{image_shape[1]}; set image.prepare.size to change it",
            file=sys.stderr,
        )
    return loaded


def normalisation(model: Any) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of pixels from 0 to 255 that the weights expect, `[C]` or `[1]`.

    They are averaged over the channels, `[1]`, if the model does not take three.
    """
    from timm.data.config import resolve_model_data_config

    expected = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    mean_C, std_C = (torch.tensor(expected[name]) * MAX_PIXEL for name in ("mean", "std"))
    return (mean_C, std_C) if len(mean_C) == model.in_chans else (mean_C.mean()[None], std_C.mean()[None])


def classifiers(model: Any) -> tuple[nn.Module, ...]:
    """Return the classifier layers; a distilled model has two."""
    classifier = model.get_classifier()
    return classifier if isinstance(classifier, tuple) else (classifier,)


def published(name: str) -> "PretrainedCfg | None":
    """Return timm's configuration of the pretrained weights, if any. Raises ConfigError for an unknown name."""
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = ", ".join(difflib.get_close_matches(architecture, timm.list_models())) or "none"
        raise ConfigError(
            f"{SECTION}.name: timm has no model {architecture}; similar names: {near}; "
            "`python -c 'import timm; print(timm.list_models())'` lists all"
        )
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        names = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ConfigError(f"{SECTION}.name: timm has no weights {name}; those of {architecture} are {names}") from error


def shape_error(name: str, image_shape: Sequence[int], error: Exception) -> ConfigError:
    """Return the error that the model does not support this image size, naming the size that it expects."""
    config = published(name)
    size = f"{config.input_size[1]}" if config else "224"
    return ConfigError(
        f"{SECTION}.name: {name} does not support images of {image_shape[0]}x{image_shape[1]} pixels "
        f"({_summary(error)}); set image.prepare.size, for example to {size}, or choose another model"
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
            "a name that `python -c 'import timm; print(timm.list_pretrained())'` lists"
        )
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each retry
    try:
        return _create(name, num_classes, image_shape, pretrained=True)
    except (OSError, *REFUSALS) as error:
        raise DownloadError(
            f"the pretrained weights of {name} could not be loaded from timm's hub ({_summary(error)}); set "
            f"{SECTION}.weights to a local file of them, or {SECTION}.pretrained to false"
        ) from error


def _from_file(weights: str, name: str, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """Return the model with the weights of the file.

    timm silently keeps random weights that the file lacks. They are found by loading the file with two seeds: random
    weights differ. Raises ConfigError.
    """
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
            f"{SECTION}.weights: {weights} lacks {len(random)} of the weights of {name}, including {random[0]}; "
            f"{SECTION}.name must be the model that was saved"
        )
    return loaded


def _different_weights(one: nn.Module, other: nn.Module) -> list[str]:
    """Return the names of the parameters that differ between the models, without those of the classifiers."""
    heads = {id(parameter) for classifier in classifiers(one) for parameter in classifier.parameters()}
    weights = {name: parameter for name, parameter in one.named_parameters() if id(parameter) not in heads}
    return [name for name, weight in weights.items() if not torch.equal(weight, other.get_parameter(name))]


def _summary(error: Exception) -> str:
    """Return the first two lines of the message, as the first may be only a heading, or the type if it is empty."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
