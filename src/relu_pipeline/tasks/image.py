"""Image classification."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relu_pipeline.artifacts import Split
from relu_pipeline.config import ImageConfig, ImageTrainConfig
from relu_pipeline.data.augment import AugmentedImages
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.models.catalogue import ImageNetwork
from relu_pipeline.task import Budget, Task

BUDGET = Budget(examples=1_080_000, epochs=(10, 60), batch_sizes=(32, 256))
SAMPLED_PIXELS = 5000 * 32 * 32
SAMPLE_SEED = 0


class ImageTask(Task[ImageSplit]):
    """Image classification task."""

    name = "image"
    input_name = "image"
    dynamic_axes: ClassVar[Mapping[int, str]] = {0: "N"}
    served_files = ()

    def load(self, prepared: Path, split: Split) -> ImageSplit:
        return ImageSplit.load(prepared, split)

    def settle(self, config: ImageConfig, train: ImageSplit, num_classes: int) -> ImageConfig:
        """Return the settled section; the learning rate is scaled with the batch size (Goyal et al. 2017)."""
        numbers: dict[str, float] = {**BUDGET.settle(config.train, len(train))}
        if "batch_size" in numbers:
            numbers["learning_rate"] = config.train.learning_rate * numbers["batch_size"] / BUDGET.batch_sizes[1]
        return config.model_copy(update={"train": config.train.model_copy(update=numbers)})

    def augment(self, train: ImageSplit, config: ImageTrainConfig, seed: int) -> AugmentedImages:
        padding = round(config.crop_padding * train.images_BHWC.shape[1])
        return AugmentedImages(train, padding, config.horizontal_flip, config.erasing, config.colour, seed)

    def network_settings(self, train: ImageSplit, prepared: Path) -> dict[str, Any]:
        return {"image_shape": list(train.images_BHWC.shape[1:])}

    def fit_input(self, network: ImageNetwork, train: ImageSplit) -> None:
        _, height, width, _ = train.images_BHWC.shape
        network.fit_input(train.gather(sampled_rows(len(train), max(1, SAMPLED_PIXELS // (height * width)))))

    def shown(self, split: ImageSplit, rows: NDArray[Any], prepared: Path) -> list[NDArray[Any]]:
        return list(split.images_BHWC[torch.from_numpy(rows)].numpy())

    def to_sample(self, prepared: Path) -> Callable[[Tensor], str]:
        return as_png


def sampled_rows(count: int, most: int) -> Tensor:
    """Return up to `most` of `count` indices, drawn at random, as the data may be sorted by class.

    The sample does not depend on the training seed, so that the statistics of the data are the same in each training.
    """
    rows = generator(SAMPLE_SEED, "whitening images").permutation(count)[:most]
    return torch.from_numpy(np.sort(rows))


def as_png(row_1HWC: Tensor) -> str:
    """Return the image `[1, H, W, C]` as a PNG in base64."""
    buffer = io.BytesIO()
    pixels = row_1HWC[0].numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
