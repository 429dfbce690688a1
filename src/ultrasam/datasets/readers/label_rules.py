"""Rules that map the values of a mask file to structures: by threshold, value or color."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Instance
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, fill_holes
from ultrasam.images.pixels import gray

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Values of at least ``min_value`` are the structure; a mask of zeros and ones counts as 0 and 255."""

    name: str
    min_value: int = 1

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        if values.ndim == 3:
            # A colored pixel is not background, however low its luminance.
            values = values.max(axis=2) if self.min_value == 1 else gray(values.astype(np.uint8))
        min_value = 1 if self.min_value > 1 and int(values.max()) == 1 else self.min_value
        return (Instance(self.name, values >= min_value),)


@dataclass(frozen=True, slots=True)
class ByValue:
    """Each value is a structure.

    Attributes:
        names: maps values to structures.
        nearest: round values to the nearest of 0 and the named ones, for masks with lossy compression.
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
class ByColor:
    """Each color is a structure.

    Attributes:
        names: maps (red, green, blue) to structures.
        tolerance: maximum difference in any channel.
    """

    names: Mapping[tuple[int, int, int], str]
    tolerance: int = 0

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        rgb = values.astype(np.int16)
        return tuple(
            Instance(name, (np.abs(rgb - np.array(color)) <= self.tolerance).all(axis=-1))
            for color, name in self.names.items()
        )


@dataclass(frozen=True, slots=True)
class FilledOutline:
    """The mask shows the closed outline of the structure, in values of at least ``min_value``."""

    name: str
    min_value: int = 128

    def __call__(self, values: Values) -> tuple[Instance, ...]:
        outline = Threshold(self.name, self.min_value)(values)[0].mask
        return (Instance(self.name, fill_holes(outline)),)


LabelRule = Threshold | ByValue | ByColor | FilledOutline
"""Maps mask values [H, W] or [H, W, 3] to instances, some of which may be empty."""
RULES = (Threshold, ByValue, ByColor, FilledOutline)


def resize_values(values: Values, shape: tuple[int, int]) -> Values:
    """Resize values to ``shape`` (height, width) by nearest-neighbor interpolation."""
    if values.shape[:2] == shape:
        return values
    return np.asarray(
        cv2.resize(_for_cv2(values), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    )


def require_shape(values: Values, shape: tuple[int, int], what: str) -> None:
    """Check that a mask has the size of its image.

    Args:
        values: the mask, [H, W] or [H, W, C].
        shape: (height, width) of the image in pixels.
        what: the mask, for the error message.

    Raises:
        DataError: The sizes differ.
    """
    if values.shape[:2] != shape:
        height, width = values.shape[:2]
        raise DataError(
            f"{what}: the mask has {width} × {height} pixels, but the image {shape[1]} × {shape[0]}."
        )


def require_values(values: Values, allowed: Collection[int]) -> Values:
    """Check that a mask has no other values than those known; return it.

    Raises:
        DataError: It has others, so it would be misread.
    """
    found = np.unique(values)
    unknown = [str(value) for value in found.tolist() if value not in allowed]
    if unknown:
        known = ", ".join(str(value) for value in sorted(allowed))
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataError(f"the mask has values that are not known ({shown}); known are {known}")
    return values


def require_binary(values: Values, shape: tuple[int, int]) -> Values:
    """Check that a mask has 0 and at most one other value; return it (a `MaskOptions.fit`).

    Raises:
        DataError: It has more values, so it is not known which are the structure.
    """
    levels = np.unique(values)
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        raise DataError(f"the mask has {len(levels)} values instead of 0 and another one")
    return values


def opened(mask: BoolMask, size: int) -> BoolMask:
    """Morphological opening of a mask [H, W] with a square of ``size`` pixels."""
    square = np.ones((size, size), np.uint8)
    # OpenCV does not mirror the anchor of the square, which shifts the mask by a pixel if size is even.
    eroded = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    mirrored = (size - 1 - size // 2,) * 2
    return cv2.dilate(eroded, square, anchor=mirrored).astype(bool)


def _for_cv2(values: Values) -> npt.NDArray[Any]:
    return values.astype(np.uint8) if values.dtype == bool else np.asarray(values)
