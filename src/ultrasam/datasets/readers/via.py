"""Read regions annotated with the VGG Image Annotator (VIA): projects and JSON exports of VIA 1 and 2."""

from __future__ import annotations

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
    box_of,
    read_annotated,
    without_area,
)
from ultrasam.datasets.readers.attributes import SEVERAL_STRUCTURES, value_of
from ultrasam.datasets.readers.listed_images import ListedImage, OtherFormatError, text_of
from ultrasam.datasets.readers.polygons import ellipse_points, polygons_mask
from ultrasam.images.masks import BoolMask

NOT_VIA = "no VIA file: it lists no images with 'regions'"
NO_REGIONS = "listed without a list of 'regions'"
UNNAMED = "regions without a name, which got the data set's"


def _records(content: Any) -> list[Any]:
    """The image records of a VIA project, export, or list of records."""
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    return list(content.values() if isinstance(content, dict) else content)


def is_via(content: Any) -> bool:
    """Whether parsed JSON is a VIA project or export."""
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict | list):
        return False
    return any(isinstance(record, dict) and "regions" in record for record in _records(content))


def region_attributes(content: Any) -> Iterator[Mapping[str, Any]]:
    """The attributes of all regions in a VIA file."""
    for record in _records(content):
        for region in _regions(record) or []:
            yield _attributes(region)


def via_images(content: Any, *, attribute: str | None, default: str) -> list[ListedImage]:
    """The images that a VIA file lists, with their regions.

    Args:
        content: the parsed file.
        attribute: region attribute that names the structure; None if regions have none.
        default: structure of regions without a name.

    Raises:
        OtherFormatError: This is not a VIA file.
    """
    if not is_via(content):
        raise OtherFormatError(NOT_VIA)
    listed = []
    for record in _records(content):
        regions = _regions(record)
        path = text_of(record.get("filename")) if isinstance(record, dict) else None
        annotations = [
            _annotation(position, region, attribute, default)
            for position, region in enumerate(regions or [])
        ]
        problem = NO_REGIONS if regions is None else None
        listed.append(ListedImage(path or "", tuple(annotations), problem=problem))
    return listed


def _regions(record: Any) -> list[Any] | None:
    """The regions of a record: a list in VIA 2, a mapping in VIA 1; None if it has neither."""
    regions = record.get("regions") if isinstance(record, dict) else None
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else None


def _attributes(region: Any) -> Mapping[str, Any]:
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _annotation(position: int, region: Any, attribute: str | None, default: str) -> Annotation:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    stated = _attributes(region)
    values = [stated.get(attribute)] if attribute is not None else list(stated.values())
    name, note = value_of(values[0]) if attribute is not None else None, None
    # Of several checked boxes, none can be chosen; where nothing is stated, the data set's name is used.
    several = name is None and any(isinstance(v, Mapping) and any(v.values()) for v in values)
    if name is None and not several:
        name, note = default, UNNAMED if attribute is not None else None
    outline = shape if isinstance(shape, dict) and shape else None
    region = SEVERAL_STRUCTURES if several else None
    return Annotation(f"at position {position}", name, outline, region=region, note=note)


def read_via(image: FileEntry, regions: tuple[Annotation, ...]) -> Iterator[CaseImage | Skip]:
    """Read an image with its VIA regions (see `via_images` and `read_annotated`)."""
    yield from read_annotated(image, regions, draw_via)


def draw_via(shape: Any, canvas: Canvas) -> BoolMask:
    """Rasterize a VIA shape as COCO rasterizes polygons: VIA has COCO's coordinates, and no rule of its own.

    Raises:
        UnusableError: The shape has no area, is malformed, or lies outside the image.
    """
    return polygons_mask([_outline(shape)], canvas)


def _outline(shape: Mapping[str, Any]) -> Points:
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        xs, ys = (np.asarray(shape[k], dtype=np.float64) for k in ("all_points_x", "all_points_y"))
        points = np.stack([xs, ys], axis=1)
        if not np.isfinite(points).all():
            raise UnusableError("outline with coordinates that are not numbers")
        if kind == "polyline" and (points[0] != points[-1]).any():
            raise without_area("open polyline")
        return points
    if kind == "rect":
        box = box_of(*(shape[k] for k in ("x", "y", "width", "height")))
        if box is None:
            raise UnusableError("rectangle without an area")
        x0, y0, x1, y1 = box
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind in ("circle", "ellipse"):
        center = float(shape["cx"]), float(shape["cy"])
        radii = (
            (float(shape["r"]),) * 2
            if kind == "circle"
            else (float(shape["rx"]), float(shape["ry"]))
        )
        return ellipse_points(center, (radii[0], radii[1]), float(shape.get("theta") or 0.0))
    if kind == "point":
        raise without_area(kind)
    raise UnusableError(f"shape of an unknown kind ({kind})")
