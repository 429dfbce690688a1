"""Outlines kept as lists of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Instance, Picture
from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.images.masks import BoolMask, polygon_mask
from ultrasam.images.raster import decode_frame

with needs("Working with data sets", extra="data"):
    pass
_LEAST_INSIDE = 0.25
_NONE = np.zeros((0, 2))

Polygon = tuple[tuple[float, float], ...]


def points_of(points: Any, where: str) -> Polygon:
    """[[x, y], …] as read from JSON.

    Raises:
        DataError: anything else.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is not a list of [x, y]") from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise DataError(f"{where} is not a list of [x, y]")
    return tuple((float(x), float(y)) for x, y in array)


def read_polygon_lists(
    image: Entry, outlines: tuple[tuple[Entry, str], ...]
) -> Iterator[Picture | Skip]:
    """An image with one JSON list of points per structure."""
    pixels = decode_frame(image.read(), image.path)
    instances = [
        Instance(name, polygons_mask([points_of(parse_json(e), e.path)], pixels.shape[:2], e.path))
        for e, name in outlines
    ]
    yield Picture(pixels, tuple(instances))


def polygons_mask(
    polygons: Sequence[npt.ArrayLike], shape: tuple[int, int], where: str
) -> BoolMask:
    """The union of polygons.

    Raises:
        DataError: less than a quarter of their box lies in the image: they are another image's, or were
            drawn at another size. What leaves the image by less is cut off.
    """
    points = np.concatenate([np.asarray(p, np.float64).reshape(-1, 2) for p in polygons] or [_NONE])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        seen = np.minimum(high, shape[::-1]) - np.maximum(low, 0)
        if (seen < 0).any() or np.prod(seen) < _LEAST_INSIDE * np.prod(high - low):
            (x0, y0), (x1, y1) = low, high
            raise DataError(
                f"{where}: an outline from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies outside its image of "
                f"{shape[1]} × {shape[0]} pixels; was it drawn on the image at another size?"
            )
    return polygon_mask(polygons, shape)
