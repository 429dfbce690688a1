"""Regions drawn with the VGG Image Annotator (VIA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import Instance, Picture
from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.datasets.readers.polygons import Polygon, polygons_mask
from ultrasam.images.raster import decode_frame


def read_via(
    image: Entry, regions: tuple[dict[str, Any], ...], attribute: str | None, default: str
) -> Iterator[Picture | Skip]:
    """An image with VIA regions (polygons, rectangles, circles, ellipses)."""
    pixels = decode_frame(image.read(), image.path)
    instances = []
    for region in regions:
        shape = region.get("shape_attributes", {})
        outline = _via_outline(shape)
        if outline is None:
            yield Skip(image.path, f"a region of kind '{shape.get('name')}' has no area")
            continue
        attributes = region.get("region_attributes") or {}
        named = attributes.get(attribute) if attribute else None
        if named is None and attribute is None and attributes:
            named = attributes.get("name", next(iter(attributes.values())))
        name = str(named).strip() if isinstance(named, str) and named.strip() else default
        instances.append(Instance(name, polygons_mask([outline], pixels.shape[:2], image.path)))
    yield Picture(pixels, tuple(instances))


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
            turn = float(shape.get("theta", 0.0))
            angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            u, v = rx * np.cos(angles), ry * np.sin(angles)
            x_, y_ = (
                cx + u * np.cos(turn) - v * np.sin(turn),
                cy + u * np.sin(turn) + v * np.cos(turn),
            )
            return tuple(zip(x_.tolist(), y_.tolist(), strict=True))
    except (KeyError, TypeError, ValueError):
        return None
    return None
