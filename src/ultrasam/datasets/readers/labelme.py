"""Read LabelMe annotations: one JSON file per image. Shapes get the pixels that LabelMe gives them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.annotations import (
    Annotation,
    Canvas,
    Points,
    UnusableError,
    place_mask,
    points_of,
    read_annotated,
    require_inside,
    size_of,
    without_area,
)
from ultrasam.datasets.readers.listed_images import id_of, text_of
from ultrasam.datasets.readers.polygons import TOO_FEW_POINTS
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, drawn_mask
from ultrasam.images.raster import decode_values

# The last two are X-AnyLabeling's, which writes LabelMe's format.
_POLYGONS = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")
_OF_TWO_POINTS = ("rectangle", "circle")
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def is_labelme(content: Any) -> bool:
    """Whether parsed JSON is a LabelMe file."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read_labelme(
    image: FileEntry, file: FileEntry, names: Mapping[str, str]
) -> Iterator[CaseImage | Skip]:
    """Read an image and its LabelMe file.

    Args:
        image: the image file.
        file: the LabelMe file.
        names: maps lower-case labels to structures; shapes with other labels become regions to ignore. If
            empty, every label is a structure.

    Raises:
        DataError: The file is not a LabelMe file.
    """
    content = parse_json(file)
    if not is_labelme(content):
        raise DataError(f"{file.path} is not a LabelMe file: it has no list of 'shapes'.")
    size = size_of(content.get("imageHeight"), content.get("imageWidth"))
    annotations = []
    for position, shape in enumerate(content["shapes"]):
        known = shape if isinstance(shape, dict) else {}
        label = text_of(known.get("label"))
        name = names.get((label or "").casefold()) if names else label
        group = id_of(known.get("group_id"))
        annotations.append(
            Annotation(f"at position {position}", name, known or None, size, group=group)
        )
    yield from read_annotated(image, annotations, draw_labelme)


def draw_labelme(shape: Any, canvas: Canvas) -> BoolMask:
    """Rasterize a LabelMe shape as `labelme.utils.shape_to_mask` does: outlines belong to the shape.

    Raises:
        UnusableError: The shape has no area, is malformed, or lies outside the image.
    """
    kind = shape.get("shape_type") or "polygon"
    if kind in _WITHOUT_AREA:
        raise without_area(kind)
    points = points_of(shape.get("points"))
    if kind == "mask":
        return _mask(shape.get("mask"), points, canvas)
    if kind in _POLYGONS or (kind == "rectangle" and len(points) == 4):
        if len(points) < 3:
            raise UnusableError(TOO_FEW_POINTS)
        return _drawn("polygon", points, canvas)
    if kind not in _OF_TWO_POINTS:
        raise UnusableError(f"shape of an unknown kind ({kind})")
    if len(points) != 2:
        raise UnusableError(f"{kind} without its two points")
    if kind == "rectangle":
        return _drawn("rectangle", np.sort(points, axis=0), canvas)
    center, edge = points
    radius = np.hypot(*(edge - center))
    return _drawn("ellipse", np.array([center - radius, center + radius]), canvas)


def _drawn(kind: Any, points: Points, canvas: Canvas) -> BoolMask:
    scaled = canvas.points(points)
    require_inside(scaled, canvas)
    return drawn_mask(kind, scaled, canvas.shape)


def _mask(encoded: Any, points: Points, canvas: Canvas) -> BoolMask:
    """The mask of LabelMe's AI tools: a PNG in Base64, which lies between two corner pixels."""
    if not isinstance(encoded, str):
        raise UnusableError("mask without its PNG")
    data = base64.b64decode(encoded.rpartition(",")[2], validate=True)
    values = np.asarray(decode_values(data, "mask"), dtype=np.int64)
    inside = (values.max(axis=2) if values.ndim == 3 else values) > 0
    corner = points.min(axis=0).astype(np.int64)  # LabelMe truncates, too
    if len(points) == 2:
        width, height = points.max(axis=0).astype(np.int64) - corner + 1
        if inside.shape != (height, width):
            raise UnusableError("mask that does not fit its box")
    x, y = (int(v) for v in corner)
    return place_mask(inside, (x, y), canvas)
