"""Rasterize outlines given as points, and read files that contain nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.annotations import (
    Annotation,
    Canvas,
    Points,
    UnusableError,
    points_of,
    read_annotated,
    require_inside,
)
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.images.masks import BoolMask, polygon_mask

TOO_FEW_POINTS = "outline of fewer than three points"


def polygons_mask(polygons: Sequence[Points], canvas: Canvas) -> BoolMask:
    """The union of polygons as COCO rasterizes it, on a canvas; parts outside the image are clipped.

    Polygons of one or two points, which have no area, do not count.

    Args:
        polygons: each [N, 2] of (x, y), finite, in pixels of the size at which they were drawn.
        canvas: the image.

    Raises:
        UnusableError: No polygon has three points, or they lie outside the image.
    """
    parts = [canvas.points(polygon) for polygon in polygons if len(polygon) >= 3]
    if not parts:
        raise UnusableError(TOO_FEW_POINTS)
    require_inside(np.concatenate(parts), canvas)
    return polygon_mask(parts, canvas.shape)


def draw_polygon(outline: Any, canvas: Canvas) -> BoolMask:
    """Rasterize one polygon, [[x, y], …] from JSON, as COCO does."""
    return polygons_mask([points_of(outline)], canvas)


def ellipse_points(
    center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0
) -> Points:
    """64 points on an ellipse, [64, 2].

    Args:
        center: (x, y) in pixels.
        radii: in pixels, along the ellipse's own axes.
        angle: of the first axis to the x axis, in radians, clockwise in the image.

    Raises:
        UnusableError: A number is not finite, or a radius not positive.
    """
    if not np.isfinite([*center, *radii, angle]).all() or min(radii) <= 0:
        raise UnusableError("ellipse without a radius")
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    along = np.stack([radii[0] * np.cos(turns), radii[1] * np.sin(turns)], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(along @ np.array([[cos, sin], [-sin, cos]]) + np.array(center))


def read_polygon_lists(
    image: FileEntry, outlines: tuple[tuple[FileEntry, str], ...]
) -> Iterator[CaseImage | Skip]:
    """Read an image with one JSON list of points per structure.

    Args:
        image: the image file.
        outlines: pairs of a JSON file and the name of its structure.
    """
    annotations = [Annotation(file.name, name, parse_json(file)) for file, name in outlines]
    yield from read_annotated(image, annotations, draw_polygon)
