"""Read regions annotated with the VGG Image Annotator (VIA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.polygons import Polygon, polygons_mask
from ultrasam.images.raster import decode_frame


def read_via(
    image: FileEntry, regions: tuple[dict[str, Any], ...], attribute: str | None, default: str
) -> Iterator[CaseImage | Skip]:
    """Read an image with VIA regions: polygons, rectangles, circles and ellipses.

    Args:
        image: the image file.
        regions: VIA's region records.
        attribute: region attribute that names the structure; defaults to ``name``, else the first one.
        default: structure of regions without a name.
    """
    pixels = decode_frame(image.read(), image.path)
    instances = []
    for region in regions:
        shape = region.get("shape_attributes", {})
        outline = _via_outline(shape)
        if outline is None:
            yield Skip(image.path, f"shape without area ({shape.get('name')})")
            continue
        attributes = region.get("region_attributes") or {}
        value = attributes.get(attribute) if attribute else None
        if value is None and attribute is None and attributes:
            value = attributes.get("name", next(iter(attributes.values())))
        name = value.strip() if isinstance(value, str) and value.strip() else default
        instances.append(Instance(name, polygons_mask([outline], pixels.shape[:2], image.path)))
    yield CaseImage(pixels, tuple(instances))


def _via_outline(shape: Mapping[str, Any]) -> Polygon | None:
    kind = shape.get("name")
    try:
        if kind in ("polygon", "polyline"):
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            return tuple((float(x), float(y)) for x, y in zip(xs, ys, strict=True))
        if kind == "rect":
            x, y, w, h = (float(shape[k]) for k in ("x", "y", "width", "height"))
            return ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
        if kind in ("circle", "ellipse"):
            cx, cy = float(shape["cx"]), float(shape["cy"])
            rx = float(shape["r"] if kind == "circle" else shape["rx"])
            ry = float(shape["r"] if kind == "circle" else shape["ry"])
            theta = float(shape.get("theta", 0.0))
            angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            u, v = rx * np.cos(angles), ry * np.sin(angles)
            x_, y_ = (
                cx + u * np.cos(theta) - v * np.sin(theta),
                cy + u * np.sin(theta) + v * np.cos(theta),
            )
            return tuple(zip(x_.tolist(), y_.tolist(), strict=True))
    except (KeyError, TypeError, ValueError):
        return None
    return None
