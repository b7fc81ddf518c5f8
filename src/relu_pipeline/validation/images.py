"""Measurements of images: whether they can be decoded, their sizes, and perceptual hashes to find near duplicates."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.data.pictures import Picture, map_chunks
from relu_pipeline.data.splits import groups_of_equal
from relu_pipeline.errors import UnreadableError
from relu_pipeline.validation.examples import Measured

SIDE = 32  # pixels of the square that is hashed
FREQUENCIES = 8  # in each direction: 64 bits
MAX_DISTANCE = 3  # bits in which the hashes of near duplicates may differ
MIN_CONTRAST = 8  # of 255 grey levels; below it, the bits of the hash are noise

COSINES = np.cos(np.pi / SIDE * np.arange(FREQUENCIES)[:, None] * (np.arange(SIDE) + 0.5)).astype(np.float32)


def measure_images(pictures: Sequence[Picture]) -> Measured:
    """Decode and measure `pictures` in parallel. Raises DataError if a file has changed or is missing."""
    hashes = np.zeros(len(pictures), dtype=np.uint64)
    unreadable: dict[int, str] = {}

    def look(start: int, chunk: Sequence[Picture]) -> list[str]:
        squares = np.zeros((len(chunk), SIDE, SIDE, 3), dtype=np.uint8)
        for row, picture in enumerate(chunk):
            try:
                squares[row] = picture.square(SIDE)
            except UnreadableError as error:
                unreadable[start + row] = error.why
        hashes[start : start + len(chunk)] = perceptual_hashes(squares)
        return [picture.identity for picture in chunk]

    exact = groups_of_equal(chain.from_iterable(map_chunks(look, pictures, "images")))
    sizes = np.array([picture.size for picture in pictures])
    return Measured(unreadable, exact, near_groups(exact, hashes), {"width": sizes[:, 0], "height": sizes[:, 1]})


def perceptual_hashes(squares: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return perceptual hashes `[N]` of images `[N, 32, 32, 3]`; that of a uniform image is 0.

    Each bit tells whether a low-frequency coefficient of the cosine transform of the grey image exceeds their median:
    pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). The hash hardly changes
    with resizing, compression and small changes of colour. Different images of similar composition may have the same
    hash.
    """
    red, green, blue = (squares[..., channel].astype(np.float32) for channel in range(3))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    frequencies = (COSINES @ grey @ COSINES.T).reshape(len(squares), -1)
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)  # the first coefficient is the mean
    hashes = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return np.where(np.ptp(grey, axis=(1, 2)) < MIN_CONTRAST, np.uint64(0), hashes)


def near_groups(exact: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Merge the groups `exact` `[N]` whose hashes `[N]` are close. Groups with the hash 0 are not merged."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    joined = _joined(len(unique), close_pairs(unique))
    return np.where(hashes == 0, exact + len(unique), joined[inverse])


def close_pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the indices of pairs of hashes that differ in 1 to `MAX_DISTANCE` bits, each pair at least once.

    The hashes are cut into `MAX_DISTANCE + 1` blocks of bits, so that such a pair has at least one block in common.
    For each block, the hashes are sorted by it, and only those with the same block are compared.
    """
    width = 64 // (MAX_DISTANCE + 1)
    for block in range(MAX_DISTANCE + 1):
        keys = hashes >> np.uint64(block * width) & np.uint64(2**width - 1)
        order = np.argsort(keys, kind="stable")
        keys, shift = keys[order], 1
        first = np.flatnonzero(keys[:-1] == keys[1:])
        while len(first):
            one, other = order[first], order[first + shift]
            close = np.bitwise_count(hashes[one] ^ hashes[other]) <= MAX_DISTANCE
            yield one[close], other[close]
            shift += 1
            first = first[first + shift < len(keys)]
            first = first[keys[first] == keys[first + shift]]


def _joined(count: int, pairs: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.int64]:
    """Return for each node `[count]` the smallest node of its connected component."""
    ends = [np.concatenate(side) for side in zip(*pairs, strict=True)] or [np.empty(0, np.int64)] * 2
    one, other = ends
    group = np.arange(count)
    while (group[one] != group[other]).any():
        smallest = np.minimum(group[one], group[other])
        np.minimum.at(group, one, smallest)
        np.minimum.at(group, other, smallest)
    return group
