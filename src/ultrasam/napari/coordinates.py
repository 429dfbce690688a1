"""Between napari's coordinates and ours.

In napari, (row, column), in cines (frame, row, column), names the center of a pixel by its index; ours are
(x, y), with the origin at the top-left corner of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask

Json = dict[str, Any]


def click_at(position: Sequence[float]) -> tuple[int, float, float]:
    """(frame, x, y) of a point of napari, [row, column] or [frame, row, column]."""
    *frame, row, column = (float(value) for value in position)
    return (round(frame[0]) if frame else 0), column + 0.5, row + 0.5


def box_at(corners: npt.ArrayLike) -> tuple[int, list[float]]:
    """(frame, [x0, y0, x1, y1]) of a rectangle of napari, [4, 2] or [4, 3]."""
    array = np.asarray(corners, float)
    frame = round(float(array[0, 0])) if array.shape[1] == 3 else 0
    (y0, x0), (y1, x1) = array[:, -2:].min(axis=0) + 0.5, array[:, -2:].max(axis=0) + 0.5
    return frame, [float(x0), float(y0), float(x1), float(y1)]


def points_of(
    prompts: Sequence[Json], label: int, frame: int, dimensions: int
) -> npt.NDArray[np.float64]:
    """The clicks of an object's prompts as points of napari, [K, dimensions].

    Args:
        label: 1 for clicks on the object, 0 for those outside.
        frame: whose prompts they are.
        dimensions: 2 or 3.
    """
    rows = [
        [frame, y - 0.5, x - 0.5][-dimensions:]
        for prompt in prompts
        for x, y, kind in prompt.get("points") or ()
        if kind == label
    ]
    return np.array(rows, float).reshape(-1, dimensions)


def boxes_of(prompts: Sequence[Json], frame: int, dimensions: int) -> list[npt.NDArray[np.float64]]:
    """The boxes of an object's prompts as rectangles of napari, each [4, dimensions]."""
    found = []
    for prompt in prompts:
        if prompt.get("box"):
            x0, y0, x1, y1 = (value - 0.5 for value in prompt["box"])
            corners = [[frame, y0, x0], [frame, y0, x1], [frame, y1, x1], [frame, y1, x0]]
            found.append(np.array(corners)[:, -dimensions:])
    return found


def label_map(
    numbered: Sequence[tuple[int, BoolMask]], shape: tuple[int, int]
) -> npt.NDArray[np.uint16]:
    """The numbers of objects where their masks are, [H, W]; later ones lie on top."""
    labels = np.zeros(shape, np.uint16)
    for number, mask in numbered:
        labels[mask] = number
    return labels
