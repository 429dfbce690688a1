"""Read CVAT's own XML: "CVAT for images 1.1".

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format. Polygons have the pixels of CVAT's own COCO
export, which are those of pycocotools.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.annotations import (
    BAD_RLE,
    Annotation,
    Box,
    Canvas,
    Points,
    UnusableError,
    bounds_of,
    place_mask,
    points_of,
    read_annotated,
    size_of,
    without_area,
)
from ultrasam.datasets.readers.listed_images import WHOLE_IMAGE, ListedImage, OtherFormatError
from ultrasam.datasets.readers.polygons import ellipse_points, polygons_mask
from ultrasam.datasets.split_names import split_of
from ultrasam.images.masks import BoolMask

NOT_CVAT = "no CVAT file: it needs <annotations> with <image> elements"
VIDEO = "a file of 'CVAT for video', which names no images; export the task as 'CVAT for images 1.1' instead"
_WITHOUT_AREA = ("points", "polyline", "skeleton")
# Frames of a video are listed without a suffix.
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def is_cvat(root: Any) -> bool:
    """Whether a parsed XML file is of "CVAT for images"."""
    return (
        isinstance(root, Element)
        and root.tag == "annotations"
        and root.find("image") is not None
        and root.find("track") is None
    )


def is_cvat_video(root: Element) -> bool:
    """Whether a parsed XML file is of "CVAT for video"."""
    return root.tag == "annotations" and root.find("track") is not None


def cvat_attributes(root: Element) -> Iterator[Mapping[str, Any]]:
    """The attributes that annotators gave to each shape of a CVAT file."""
    for shape in root.iterfind("image/*"):
        yield _attributes(shape)


def cvat_images(root: Element, *, attribute: str | None = None) -> list[ListedImage]:
    """The images that a CVAT file lists, with their shapes.

    Args:
        root: the parsed file.
        attribute: attribute of the shapes that names the structure, instead of the label.

    Raises:
        OtherFormatError: This is not a file of "CVAT for images".
    """
    if not is_cvat(root):
        raise OtherFormatError(VIDEO if is_cvat_video(root) else NOT_CVAT)
    listed = []
    for image in root.iterfind("image"):
        size = size_of(image.get("height"), image.get("width"))
        name, subset = (image.get("name") or "").strip(), (image.get("subset") or "").strip()
        path = f"{subset}/{name}" if subset and name else name
        shapes = [shape for shape in image if shape.tag != "tag"]
        annotations = tuple(
            Annotation(
                f"at position {position} ({shape.tag})",
                _name(shape, attribute),
                None if shape.tag in ("box", "cuboid") else (shape.tag, dict(shape.attrib)),
                size,
                _box(shape),
            )
            for position, shape in enumerate(shapes)
        )
        listed.append(
            ListedImage(
                path,
                annotations,
                split=split_of(subset),
                # A tag may say anything of the image, also that it could not be annotated.
                problem=WHOLE_IMAGE if len(image) and not shapes else None,
                also=()
                if path.lower().endswith(_SUFFIXES) or not path
                else tuple(path + suffix for suffix in _SUFFIXES),
            )
        )
    return listed


def _attributes(shape: Element) -> dict[str, str]:
    found = ((a.get("name"), (a.text or "").strip()) for a in shape.iterfind("attribute"))
    return {name: text for name, text in found if name and text}


def _name(shape: Element, attribute: str | None) -> str | None:
    text = shape.get("label") if attribute is None else _attributes(shape).get(attribute)
    return (text or "").strip() or None


def _box(shape: Element) -> Box | None:
    """The box around a rectangle, which may be rotated, or around a cuboid; None for other shapes."""
    try:
        if shape.tag == "box":
            x0, y0, x1, y1 = (float(shape.attrib[k]) for k in ("xtl", "ytl", "xbr", "ybr"))
            center = np.array([x0 + x1, y0 + y1]) / 2
            angle = math.radians(float(shape.get("rotation") or 0))
            turn = np.array(
                [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
            )
            corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
            return bounds_of((corners - center) @ turn + center)
        if shape.tag == "cuboid":
            names = [key[1:] for key in shape.keys() if re.fullmatch(r"x[tb][lr][12]", key)]  # noqa: SIM118
            return bounds_of(
                np.array(
                    [(float(shape.attrib["x" + n]), float(shape.attrib["y" + n])) for n in names]
                )
            )
    except (KeyError, ValueError, OverflowError):
        pass
    return None


def read_cvat(image: FileEntry, shapes: tuple[Annotation, ...]) -> Iterator[CaseImage | Skip]:
    """Read an image with its CVAT shapes (see `cvat_images` and `read_annotated`)."""
    yield from read_annotated(image, shapes, draw_cvat)


def draw_cvat(shape: tuple[str, Mapping[str, str]], canvas: Canvas) -> BoolMask:
    """Rasterize a CVAT shape: its element's name and attributes.

    Raises:
        UnusableError: The shape has no area, is malformed, or lies outside the image.
    """
    kind, values = shape
    if kind in _WITHOUT_AREA:
        raise without_area(kind)
    if kind == "polygon":
        return polygons_mask([_points(values["points"])], canvas)
    if kind == "ellipse":
        cx, cy, rx, ry = (float(values[k]) for k in ("cx", "cy", "rx", "ry"))
        angle = math.radians(float(values.get("rotation") or 0))
        return polygons_mask([ellipse_points((cx, cy), (rx, ry), angle)], canvas)
    if kind == "mask":
        return _mask(values, canvas)
    raise UnusableError(f"shape of an unknown kind ({kind})")


def _points(text: str) -> Points:
    """Points from ``x,y;x,y``."""
    return points_of([point.split(",") for point in text.strip().strip(";").split(";")])


def _mask(values: Mapping[str, str], canvas: Canvas) -> BoolMask:
    """A mask: row-wise run lengths within a box, the first one of which is of the background."""
    left, top, width, height = (int(values[k]) for k in ("left", "top", "width", "height"))
    runs = np.array([int(run) for run in values["rle"].split(",")])
    if width < 1 or height < 1 or (runs < 0).any() or sum(runs.tolist()) != width * height:
        raise UnusableError(BAD_RLE)
    if width * height > 4 * canvas.drawn[0] * canvas.drawn[1]:
        raise UnusableError(BAD_RLE)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return place_mask(inside, (left, top), canvas)
