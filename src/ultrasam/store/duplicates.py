"""Images that are the same, or look the same, and the groups that must stay on one side of a split.

Two images look the same if two perceptual hashes of 256 bits both say so: one of the discrete cosine
transform (coarse shape), one of horizontal differences (texture). One alone takes two fetal heads of
different people for duplicates.
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
from ultrasam.images.pixels import Frame, grey

BITS = 256
Hashes = npt.NDArray[np.uint8]  # [N, 32]


def content_hash(pixels: Frame) -> bytes:
    """SHA-256 of the pixels and their shape: equal for equal images, however they were stored."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def perceptual_hashes(pixels: Frame) -> tuple[bytes, bytes]:
    """The two hashes of an image, 32 bytes each."""
    image = grey(pixels)
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16].ravel()
    shape = np.packbits(low > np.median(low))
    steps = cv2.resize(small, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    texture = np.packbits(steps[:, 1:] > steps[:, :-1])
    return shape.tobytes(), texture.tobytes()


@dataclass(frozen=True, slots=True)
class DuplicateThresholds:
    """Largest distances, in bits of 256, at which images are taken for the same.

    Attributes:
        near: of any two images, by both hashes.
        following: of images that follow each other in a set whose subjects are unknown, by shape.
        sequence: the same, in a set that is known to come from recordings.
    """

    near: int = 24
    following: int = 40
    sequence: int = 80


def distances(left: Hashes, right: Hashes) -> npt.NDArray[np.int64]:
    """Bits that differ between rows of equal index."""
    return np.asarray(np.bitwise_count(left ^ right).sum(axis=1), dtype=np.int64)


def near_pairs(
    shape: Hashes, texture: Hashes, most: int, *, block: int = 256
) -> npt.NDArray[np.int64]:
    """Pairs [P, 2] of rows whose distances by both hashes are at most ``most``; each once, i < j.

    Compares all with all, in OpenCV, in blocks of bounded memory: 280,000 images in some minutes.
    """
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    found = []
    for start in range(0, len(shape) - 1, block):
        matches = matcher.radiusMatch(shape[start : start + block], shape[start:], most + 0.5)
        pairs = np.array(
            [(m.queryIdx, m.trainIdx) for row in matches for m in row if m.trainIdx > m.queryIdx],
            dtype=np.int64,
        ).reshape(-1, 2)
        pairs += start
        found.append(pairs[distances(texture[pairs[:, 0]], texture[pairs[:, 1]]) <= most])
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def consecutive_pairs(names: Sequence[str], shape: Hashes, most: int) -> npt.NDArray[np.int64]:
    """Pairs of images that follow each other by the numbers in their names and look alike.

    Args:
        names: of one data set's images; shape: [N, 32].
        most: largest distance to the next.
    """
    order = np.array(sorted(range(len(names)), key=lambda i: natural(names[i])), dtype=np.int64)
    here, after = order[:-1], order[1:]
    alike = distances(shape[here], shape[after]) <= most
    return np.stack([here[alike], after[alike]], axis=1)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by the numbers in them."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def group(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The connected component [N] of each of ``count`` items, numbered by its first item's place."""
    with needs("Finding duplicates", extra="data"):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

    links = coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    _, found = connected_components(links, directed=False)
    _, first = np.unique(found, return_index=True)
    return np.asarray(first[found], dtype=np.int64)
