"""Read LabelMe annotations: one JSON file per image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.polygons import Polygon, points_of, polygons_mask
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.images.raster import decode_frame


def read_labelme(
    image: FileEntry, file: FileEntry, names: Mapping[str, str]
) -> Iterator[CaseImage | Skip]:
    """Read an image and its LabelMe file.

    Args:
        image: the image file.
        file: the LabelMe file.
        names: maps lower-case labels to structures; other labels are reported as skipped. If empty, every
            label is a structure.
    """
    pixels = decode_frame(image.read(), image.path)
    content = parse_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise DataError(f"{file.path} is not a LabelMe file: it has no 'shapes'.")
    instances = []
    for shape in shapes:
        label = str(shape.get("label", "")).strip()
        name = names.get(label.casefold()) if names else label
        kind = shape.get("shape_type") or "polygon"
        if not name:
            yield Skip(file.path, f"unknown label '{label}'")
        elif kind not in ("polygon", "rectangle", "circle"):
            yield Skip(file.path, f"shape without area ({kind})")
        else:
            points = _outline(kind, points_of(shape.get("points"), file.path))
            instances.append(Instance(name, polygons_mask([points], pixels.shape[:2], file.path)))
    yield CaseImage(pixels, tuple(instances))


def _outline(kind: str, points: Polygon) -> Polygon:
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    if kind == "circle" and len(points) == 2:
        (x, y), (u, v) = points
        radius = float(np.hypot(u - x, v - y))
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return tuple((x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a in angles)
    return points
