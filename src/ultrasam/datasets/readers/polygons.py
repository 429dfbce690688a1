"""Read outlines stored as lists of points, and rasterize polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.images.masks import BoolMask, polygon_mask
from ultrasam.images.raster import decode_frame

with needs("Working with data sets", extra="data"):
    pass
_MIN_INSIDE = 0.25
_NO_POINTS = np.zeros((0, 2))

Polygon = tuple[tuple[float, float], ...]


def points_of(points: Any, where: str) -> Polygon:
    """Convert [[x, y], …] from JSON to a polygon, in pixels.

    Raises:
        DataError: ``points`` is anything else.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected a list of [x, y] points.") from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise DataError(f"{where}: expected a list of [x, y] points.")
    return tuple((float(x), float(y)) for x, y in array)


def read_polygon_lists(
    image: FileEntry, outlines: tuple[tuple[FileEntry, str], ...]
) -> Iterator[CaseImage | Skip]:
    """Read an image with one JSON list of points per structure.

    Args:
        image: the image file.
        outlines: pairs of a JSON file and the name of its structure.
    """
    pixels = decode_frame(image.read(), image.path)
    instances = [
        Instance(name, polygons_mask([points_of(parse_json(e), e.path)], pixels.shape[:2], e.path))
        for e, name in outlines
    ]
    yield CaseImage(pixels, tuple(instances))


def polygons_mask(
    polygons: Sequence[npt.ArrayLike], shape: tuple[int, int], where: str
) -> BoolMask:
    """The union of polygons as a mask [H, W]; parts outside the image are clipped.

    Args:
        polygons: arrays [N, 2] of (x, y) in pixels.
        shape: (height, width) of the image in pixels.
        where: the file that the error message names.

    Raises:
        DataError: Less than a quarter of the bounding box lies in the image, so the polygons belong to
            another image or to another size of it.
    """
    parts = [np.asarray(p, np.float64).reshape(-1, 2) for p in polygons]
    points = np.concatenate(parts or [_NO_POINTS])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        inside = np.minimum(high, shape[::-1]) - np.maximum(low, 0)
        if (inside < 0).any() or np.prod(inside) < _MIN_INSIDE * np.prod(high - low):
            (x0, y0), (x1, y1) = low, high
            raise DataError(
                f"{where}: the outline from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies outside the image "
                f"({shape[1]} × {shape[0]} pixels). Was it drawn at another image size?"
            )
    return polygon_mask(polygons, shape)
