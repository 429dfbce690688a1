"""How the values of a mask file name structures: by a threshold, by value, or by colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Instance
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import grey

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Grey of at least ``least`` is the structure; a mask of 0 and 1 counts as 0 and 255."""

    name: str
    least: int = 1

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        if values.ndim == 3:
            # A coloured pixel is not black, whatever its luminance.
            values = values.max(axis=2) if self.least == 1 else grey(values.astype(np.uint8))
        least = 1 if self.least > 1 and int(values.max()) == 1 else self.least
        return (Instance(self.name, values >= least),)


@dataclass(frozen=True, slots=True)
class ByValue:
    """Each value is a structure of its own.

    Attributes:
        names: value to structure.
        nearest: a value counts as the nearest of 0 and the named ones (lossy masks).
    """

    names: Mapping[int, str]
    nearest: bool = False

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        if values.ndim == 3:
            values = values.max(axis=2)
        if self.nearest:
            levels = np.array([0, *self.names])
            values = levels[np.abs(values[..., None].astype(np.int64) - levels).argmin(axis=-1)]
        return tuple(Instance(name, values == value) for value, name in self.names.items())


@dataclass(frozen=True, slots=True)
class ByColour:
    """Each (red, green, blue) is a structure of its own.

    Attributes:
        tolerance: largest difference in any channel.
    """

    names: Mapping[tuple[int, int, int], str]
    tolerance: int = 0

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        rgb = values.astype(np.int16)
        return tuple(
            Instance(name, (np.abs(rgb - np.array(colour)) <= self.tolerance).all(axis=-1))
            for colour, name in self.names.items()
        )


@dataclass(frozen=True, slots=True)
class FilledOutline:
    """The mask holds the structure's closed outline."""

    name: str
    least: int = 128

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        outline = Threshold(self.name, self.least)(values)[0].mask
        return (Instance(self.name, fill_holes(outline)),)


LabelRule = Threshold | ByValue | ByColour | FilledOutline
"""Turns a mask's values, [H, W] or [H, W, 3], into instances, of which some may be empty."""
RULES = (Threshold, ByValue, ByColour, FilledOutline)


def resize_values(values: Values, shape: tuple[int, int]) -> Values:
    """Values at ``shape``, the nearest one each."""
    if values.shape[:2] == shape:
        return values
    return np.asarray(
        cv2.resize(_for_cv2(values), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    )


def require_shape(values: Values, shape: tuple[int, int], what: str) -> None:
    """Refuse a mask that doesn't fit its image.

    Raises:
        DataError: they differ.
    """
    if values.shape[:2] != shape:
        height, width = values.shape[:2]
        raise DataError(
            f"{what}: mask is {width} × {height} pixels, its image {shape[1]} × {shape[0]}"
        )


def fill_holes(mask: BoolMask) -> BoolMask:
    """The mask with its holes filled."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def largest_component(mask: BoolMask) -> BoolMask:
    """The largest 8-connected component; all of an empty mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def opened(mask: BoolMask, size: int) -> BoolMask:
    """Morphological opening with a ``size`` × ``size`` square."""
    square = np.ones((size, size), np.uint8)
    # OpenCV doesn't mirror the square's anchor between the two, which shifts by a pixel if it is even.
    eroded = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    mirrored = (size - 1 - size // 2,) * 2
    return cv2.dilate(eroded, square, anchor=mirrored).astype(bool)


def _for_cv2(values: Values) -> npt.NDArray[Any]:
    return values.astype(np.uint8) if values.dtype == bool else np.asarray(values)
