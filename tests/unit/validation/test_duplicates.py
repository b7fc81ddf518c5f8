"""Duplicates: what is planted is found, wherever it is; what is different is not."""

import io
from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from relu_pipeline.artifacts import Split
from relu_pipeline.data.pictures import Pixels
from relu_pipeline.validation.duplicates import contradictions, duplicates
from relu_pipeline.validation.examples import Examples, Measured
from relu_pipeline.validation.images import MAX_DISTANCE, close_pairs, measure_images, perceptual_hashes
from relu_pipeline.validation.texts import measure_texts, normal_form

Row = tuple[str, int, Split]  # text, label, split
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "A", "b", "B!", "c", "d"]), st.integers(0, 2), st.sampled_from(["train", "test"])),
    min_size=1,
    max_size=30,
)


def examples_of(rows: list[Row]) -> tuple[Examples, Measured]:
    texts, labels, splits = zip(*rows, strict=True)
    places = [f"place {number}" for number in range(len(rows))]
    return Examples(["x", "y", "z"], list(texts), np.array(labels), np.array(splits), places), measure_texts(texts)


def counted(rows: list[Row]) -> dict[tuple[str, ...], int]:
    found = examples_of(rows)
    counts: dict[tuple[str, ...], int] = {
        (each.kind, each.split, each.other): each.count for each in duplicates(*found)
    }
    return counts | {(each.kind,): each.count for each in contradictions(*found)}


@given(rows=ROWS)
def test_counts_are_those_of_a_comparison_of_all_with_all(rows: list[Row]) -> None:
    def same(one: Row, other: Row, kind: str) -> bool:
        exact = one[0] == other[0]
        return exact if kind == "exact" else normal_form(one[0]) == normal_form(other[0])

    def seen(number: int, split: str, other: str, kind: str) -> bool:
        earlier = rows[:number] if split == other else rows
        return any(row[2] == other and same(rows[number], row, kind) for row in earlier)

    def contradicted(number: int, kind: str) -> bool:
        return any(row[1] != rows[number][1] and same(rows[number], row, kind) for row in rows)

    expected: dict[tuple[str, ...], int] = {}
    for other, split in (("train", "train"), ("train", "test"), ("test", "test")):
        numbers = [number for number, row in enumerate(rows) if row[2] == split]
        exact = {number for number in numbers if seen(number, split, other, "exact")}
        near = {number for number in numbers if seen(number, split, other, "near")} - exact
        expected |= {("exact", split, other): len(exact), ("near", split, other): len(near)}
    exact = {number for number in range(len(rows)) if contradicted(number, "exact")}
    near = {number for number in range(len(rows)) if contradicted(number, "near")} - exact
    expected |= {("exact",): len(exact), ("near",): len(near)}
    assert counted(rows) == {key: count for key, count in expected.items() if count}


@given(data=st.data(), rows=ROWS)
def test_counts_do_not_depend_on_the_order(data: st.DataObject, rows: list[Row]) -> None:
    assert counted(data.draw(st.permutations(rows))) == counted(rows)


@given(rows=ROWS)
def test_pairs_are_of_the_rows_that_they_name(rows: list[Row]) -> None:
    examples, measured = examples_of(rows)
    for found in (*duplicates(examples, measured), *contradictions(examples, measured)):
        for pair in found.examples:
            one, other = (rows[examples.places.index(place)] for place in (pair.place, pair.other_place))
            assert pair.place != pair.other_place
            assert (pair.label, pair.other_label) == (examples.names[one[1]], examples.names[other[1]])
            assert (one[0] == other[0]) == (found.kind == "exact")
            assert normal_form(one[0]) == normal_form(other[0])


@given(text=st.text().filter(lambda text: any(character.isalnum() for character in text)), cased=st.text("aBc -d"))
def test_the_normal_form_knows_neither_case_nor_punctuation_nor_white_space(text: str, cased: str) -> None:
    assert normal_form(f"\t{text}  …!\n") == normal_form(text)
    assert normal_form(f"x{cased.upper()}") == normal_form(f"x{cased.lower()}")


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("Where's my card?", "where s  my CARD", True),
        ("\N{LATIN SMALL LIGATURE FI}ne print", "fine print", True),
        ("Straße", "STRASSE", True),
        ("great 👍", "great 👎", False),
        ("C++", "C", False),
        ("???", "!!!", False),
        ("हिन्दी", "हनद", False),
        ("my card", "mycard", False),
    ],
)
def test_what_nearly_equals(one: str, other: str, near: bool) -> None:
    assert (normal_form(one) == normal_form(other)) == near


HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12)
FLIPS = st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=6)), max_size=12)


@settings(max_examples=300)
@given(hashes=HASHES, flips=FLIPS)
def test_all_close_hashes_are_found_and_no_others(hashes: list[int], flips: list[tuple[int, set[int]]]) -> None:
    hashes += [hashes[index % len(hashes)] ^ sum(1 << bit for bit in bits) for index, bits in flips]
    unique = sorted(set(hashes))
    found = {
        tuple(sorted(pair))
        for one, other in close_pairs(np.array(unique, dtype=np.uint64))
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }
    rows = range(len(unique))
    close = {(a, b) for a, b in combinations(rows, 2) if (unique[a] ^ unique[b]).bit_count() <= MAX_DISTANCE}
    assert found == close


def scene(seed: int, side: int = 200) -> Image.Image:
    """Soft spots of colour, different for each seed."""
    spots = np.random.default_rng(seed).integers(256, size=(9, 9, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((side, side), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("seed", range(5))
def test_a_compressed_smaller_or_brighter_copy_is_near_and_other_scenes_are_not(seed: int) -> None:
    image = scene(seed)
    copies = [as_jpeg(image, 60), image.resize((90, 90), Image.Resampling.LANCZOS), image.point(lambda v: 0.8 * v + 30)]
    others = [scene(1000 * (seed + 1) + number) for number in range(100)]
    measured = measure_images([Pixels(pixels(each)) for each in (image, image.copy(), *copies, *others)])
    assert measured.exact.tolist() == [0, 0, *range(1, 104)]
    assert len(set(measured.near[:5])) == 1
    assert len(set(measured.near)) == 101


def test_plain_images_of_different_colours_are_not_near_each_other() -> None:
    plain = [Pixels(np.full((40, 50, 3), shade, dtype=np.uint8)) for shade in (0, 0, 90, 200)]
    measured = measure_images(plain)
    assert [*map(measured.near.tolist().index, measured.near)] == [0, 0, 2, 3]
    assert {name: values.tolist() for name, values in measured.sizes.items()} == {"width": [50] * 4, "height": [40] * 4}


def test_only_hashes_with_a_block_in_common_are_compared(rng: np.random.Generator) -> None:
    """Else the time would grow with the square of the number of images. A round compares each hash at most once."""
    hashes = np.unique(rng.integers(2**64, size=20_000, dtype=np.uint64))
    assert sum(1 for _ in islice(close_pairs(hashes), 1000)) < 100


@pytest.mark.parametrize(("brighter", "has_hash"), [((7, 8, 7), False), ((8, 9, 8), True)])
def test_an_image_of_less_than_8_grey_levels_counts_as_uniform(brighter: tuple[int, ...], has_hash: bool) -> None:
    """The grey levels of its halves differ by 7.6 and by 8.6."""
    image = np.full((1, 32, 32, 3), 100, dtype=np.uint8)
    image[:, :, 16:] += np.array(brighter, dtype=np.uint8)
    assert (perceptual_hashes(image)[0] != 0) == has_hash


def test_a_hash_has_the_bits_of_scipys_cosine_transform() -> None:
    images = np.stack([pixels(scene(seed, 32)) for seed in range(20)])
    low = dctn(images @ np.array([0.299, 0.587, 0.114]), axes=(1, 2))[:, :8, :8].reshape(20, 64)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    expected = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    apart = np.bitwise_count(perceptual_hashes(images) ^ expected)
    assert apart.max() <= 2  # rounding may exchange the two next to the median
