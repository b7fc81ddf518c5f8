"""Packed images are what the decoder gives, file by file."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relu_inputs.images import decode_image
from relu_pipeline import artifacts
from relu_pipeline.config import ImageDataConfig, ImagePrepareConfig
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.packing import SIDES, automatic_side
from relu_pipeline.data.pictures import Pixels
from relu_pipeline.data.prepare import prepare_images
from relu_pipeline.data.sources import obtain
from relu_pipeline.errors import DataError


def write_noise(path: Path, size: tuple[int, int], grey: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(*size[::-1], 1 if grey else 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(pixels, 3, axis=2) if grey else pixels).save(path, quality=90)


def prepared_from(root: Path, out: Path, size: int | str = "auto") -> ImageSplit:
    obtain("image", str(root), ImageDataConfig(test_fraction=0.25), None, out / "raw")
    prepare_images(out / "raw", ImagePrepareConfig(val_fraction=0.25, size=size), out / "prepared")
    return ImageSplit.load(out / "prepared", "train")


def folder_of_noise(root: Path, grey: bool = False) -> Path:
    suffixes = ("png", "jpg") if grey else ("png", "jpg", "webp")  # a lossy WebP has no exact grey
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number}.{suffixes[number // 2 % len(suffixes)]}"
        write_noise(root / name, (70 + number, 90 - number), grey, number)
    return root


def test_rows_are_what_the_service_decodes(tmp_path: Path) -> None:
    split = prepared_from(folder_of_noise(tmp_path / "in"), tmp_path)
    assert split.images_BHWC.shape[1:] == (64, 64, 3)
    decoded = [decode_image(path.read_bytes(), 64, 3, 10**6) for path in (tmp_path / "in").rglob("*.*")]
    rows = split.images_BHWC.numpy()
    assert all(any(np.array_equal(row, image) for image in decoded) for row in rows)


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path: Path) -> None:
    root = folder_of_noise(tmp_path / "in", grey=True)
    grey = prepared_from(root, tmp_path / "grey", 32).images_BHWC.numpy()
    assert grey.shape[1:] == (32, 32, 1)
    file = min(root.rglob("*.png"))  # not the last of a split
    decoded = [decode_image(path.read_bytes(), 32, 1, 10**6) for path in root.rglob("*.*")]
    assert all(any(np.array_equal(row, image) for image in decoded) for row in grey)
    write_noise(file, (70, 70), grey=False, seed=99)
    assert prepared_from(root, tmp_path / "coloured", 32).images_BHWC.shape[1:] == (32, 32, 3)


def test_a_file_that_cannot_be_decoded_is_named_and_the_earlier_arrays_stay(tmp_path: Path) -> None:
    root = folder_of_noise(tmp_path / "in")
    prepared_from(root, tmp_path)
    before = artifacts.sha256_of(*sorted((tmp_path / "prepared").iterdir()))
    buffer = io.BytesIO()
    Image.effect_noise((80, 80), 50).save(buffer, "JPEG")
    for label in "ab":  # one of these is in the training split
        for number in range(8):
            (root / f"{label}/cut{number}.jpg").write_bytes(buffer.getvalue()[: 400 + number])
    with pytest.raises(DataError, match=r"cut\d\.jpg: The file is not a readable"):
        prepared_from(root, tmp_path)
    assert artifacts.sha256_of(*sorted((tmp_path / "prepared").iterdir())) == before


@pytest.mark.parametrize(
    ("shorter", "side"), [(1, 32), (63, 32), (64, 64), (127, 64), (128, 128), (223, 128), (224, 224), (600, 224)]
)
def test_the_automatic_side_is_one_of_four(shorter: int, side: int) -> None:
    assert automatic_side([Pixels(np.zeros((shorter, 700, 3), dtype=np.uint8))]) == side


@given(sides=st.lists(st.integers(1, 600), min_size=1, max_size=9))
def test_the_automatic_side_is_one_that_half_of_the_images_fill(sides: list[int]) -> None:
    side = automatic_side([Pixels(np.zeros((shorter, 700, 3), dtype=np.uint8)) for shorter in sides])
    assert side in SIDES
    assert side == SIDES[0] or sum(shorter >= side for shorter in sides) >= len(sides) / 2
