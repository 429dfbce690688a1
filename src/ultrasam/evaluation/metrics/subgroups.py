"""Subgroups of objects: by their share of the image, and by the size of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
AREA_LABELS = ("small", "medium", "large")
IMAGE_SIZE_LABELS = ("< 400 px", "400–800 px", "> 800 px")


def area_terciles(relative_areas: Sequence[float] | Floats) -> list[str]:
    """``small``, ``medium`` or ``large`` for each object, by its area as a share of the image.

    The limits are the terciles of the given objects. Objects of equal area are in the same group, so groups
    differ in number where many are equal.
    """
    areas = np.asarray(relative_areas, dtype=np.float64)
    if not len(areas):
        return []
    limits = np.quantile(areas, (1 / 3, 2 / 3))
    return [AREA_LABELS[index] for index in np.searchsorted(limits, areas, side="left")]


def image_size_groups(
    heights: Sequence[int] | npt.NDArray[np.int64], widths: Sequence[int] | npt.NDArray[np.int64]
) -> list[str]:
    """``< 400 px``, ``400–800 px`` or ``> 800 px`` for each image, by its shorter side."""
    shorter = np.minimum(np.asarray(heights), np.asarray(widths))
    return [IMAGE_SIZE_LABELS[int(side >= 400) + int(side > 800)] for side in shorter]
