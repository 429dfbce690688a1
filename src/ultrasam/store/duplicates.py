"""Find identical and similar images, which must stay in one split.

Two images are similar if two perceptual hashes of 256 bits agree: one of the discrete cosine transform
(coarse shape) and one of horizontal differences (texture). A single hash mistakes fetal heads of different
people for duplicates.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs
from ultrasam.images.pixels import Frame, gray

BITS = 256
Hashes = npt.NDArray[np.uint8]  # [N, 32]


def content_hash(pixels: Frame) -> bytes:
    """SHA-256 of the pixels and their shape: equal for equal images, whatever their file format."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def perceptual_hashes(pixels: Frame) -> tuple[bytes, bytes]:
    """The shape hash and the texture hash of an image, 32 bytes each."""
    image = gray(pixels)
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16].ravel()
    shape = np.packbits(low > np.median(low))
    steps = cv2.resize(small, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    texture = np.packbits(steps[:, 1:] > steps[:, :-1])
    return shape.tobytes(), texture.tobytes()


@dataclass(frozen=True, slots=True)
class DuplicateThresholds:
    """Maximum Hamming distances, of 256 bits, between images that belong to one group.

    Attributes:
        similar: between any two images, in both hashes.
        consecutive: between consecutive images of a data set without known subjects, in the shape hash.
        sequence: the same, if the images are known to be frames of recordings.
    """

    similar: int = 24
    consecutive: int = 40
    sequence: int = 80


def distances(left: Hashes, right: Hashes) -> npt.NDArray[np.int64]:
    """Hamming distances [N] between the rows of two arrays [N, 32]."""
    return np.asarray(np.bitwise_count(left ^ right).sum(axis=1), dtype=np.int64)


def similar_pairs(
    shape: Hashes, texture: Hashes, max_distance: int, *, block: int = 256
) -> npt.NDArray[np.int64]:
    """Pairs [P, 2] of rows i < j whose distances in both hashes are at most ``max_distance``.

    Compares all pairs with OpenCV, in blocks of bounded memory: a few minutes for 280,000 images.

    Args:
        shape, texture: hashes [N, 32] of N images.
        max_distance: in bits of 256.
        block: number of rows compared at once.
    """
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    blocks = []
    for start in range(0, len(shape) - 1, block):
        matches = matcher.radiusMatch(
            shape[start : start + block], shape[start:], max_distance + 0.5
        )
        pairs = np.array(
            [(m.queryIdx, m.trainIdx) for row in matches for m in row if m.trainIdx > m.queryIdx],
            dtype=np.int64,
        ).reshape(-1, 2)
        pairs += start
        distance = distances(texture[pairs[:, 0]], texture[pairs[:, 1]])
        blocks.append(pairs[distance <= max_distance])
    return np.concatenate(blocks) if blocks else np.empty((0, 2), np.int64)


def consecutive_pairs(
    names: Sequence[str], shape: Hashes, max_distance: int
) -> npt.NDArray[np.int64]:
    """Pairs [P, 2] of images that are consecutive in natural order of their names, and similar.

    Args:
        names: names of the N images of a data set.
        shape: shape hashes [N, 32].
        max_distance: in bits of 256.
    """
    keys = [natural_sort_key(name) for name in names]
    order = np.array(sorted(range(len(names)), key=lambda i: keys[i]), dtype=np.int64)
    first, second = order[:-1], order[1:]
    similar = distances(shape[first], shape[second]) <= max_distance
    return np.stack([first[similar], second[similar]], axis=1)


def natural_sort_key(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by the numbers in them."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def connected_groups(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The connected component of each of ``count`` items, [N], numbered by the index of its first item.

    Args:
        count: number of items.
        pairs: linked items, [P, 2].
    """
    with needs("Finding duplicates", extra="data"):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

    links = coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    _, labels = connected_components(links, directed=False)
    _, first = np.unique(labels, return_index=True)
    return np.asarray(first[labels], dtype=np.int64)
