"""Recognize annotation files of other tools and tasks, to say what to do with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from ultrasam.datasets.readers.coco import is_coco
from ultrasam.datasets.readers.cvat import VIDEO, is_cvat, is_cvat_video
from ultrasam.datasets.readers.labelme import is_labelme
from ultrasam.datasets.readers.labelstudio import is_labelstudio
from ultrasam.datasets.readers.via import is_via
from ultrasam.datasets.readers.xml_trees import xml_root
from ultrasam.errors import DataError
from ultrasam.text import decode_text

_AS_COCO = "export the annotations as COCO instead"


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _first(content: Any) -> Any:
    return next(iter(content), None) if isinstance(content, list) else None


_JSON: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    (
        "a VIA 3 project; export it as COCO, or annotate with VIA 2",
        lambda c: _has(c, "project", "file", "metadata", "view"),
    ),
    (f"Supervisely's own format; {_AS_COCO}", lambda c: _has(c, "objects", "size")),
    (f"Labelbox's own format; {_AS_COCO}", lambda c: _has(_first(c), "data_row")),
    (f"Darwin JSON of V7; {_AS_COCO}", lambda c: _has(c, "item", "annotations")),
    (
        f"Datumaro's own format; {_AS_COCO}",
        lambda c: _has(c, "items", "categories"),
    ),
    (
        "a COCO file without annotations; export it with its annotations",
        lambda c: _has(c, "images", "categories") and "annotations" not in c,
    ),
    (
        "COCO without 'images', which name the annotated files",
        lambda c: _has(c, "annotations", "categories") and "images" not in c,
    ),
    (
        "COCO panoptic segmentation; export instances instead",
        lambda c: _has(c, "annotations") and _has(_first(c["annotations"]), "segments_info"),
    ),
    (
        "COCO captions, which have no outlines",
        lambda c: _has(c, "annotations") and _has(_first(c["annotations"]), "caption"),
    ),
    (
        "COCO keypoints, which are no outlines",
        lambda c: _has(c, "annotations") and _has(_first(c["annotations"]), "keypoints"),
    ),
    (
        "COCO results without images; give the annotation file",
        lambda c: _has(_first(c), "image_id", "score"),
    ),
)

_OURS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("coco", "COCO", is_coco),
    ("labelme", "LabelMe", is_labelme),
    ("via", "VIA", is_via),
    ("labelstudio", "Label Studio", is_labelstudio),
)

_CVAT = "a CVAT file; import it with --format cvat"
_VOC = f"an XML file of Pascal VOC or LabelMe's web page; {_AS_COCO}"
_CSV = r"region_shape_attributes"


def other_json(content: Any, *, reading: str | None = None) -> str | None:
    """What parsed JSON is, and what to do with it; None if it is nothing known.

    Args:
        content: the parsed file.
        reading: the format that is being read, in which the file is not.
    """
    for format_, name, test in _OURS:
        if format_ != reading and test(content):
            return f"a {name} file; import it with --format {format_}"
    return next((what for what, test in _JSON if test(content)), None)


def other_file(name: str, data: bytes) -> str | None:
    """What a JSON, XML or CSV file is, and what to do with it; None if it is nothing known.

    Args:
        name: the file's name.
        data: its content.
    """
    suffix = name.lower().rpartition(".")[2]
    if suffix == "xml":
        try:
            return _other_xml(xml_root(data, "the file"))
        except DataError as error:
            return str(error)
    if suffix == "json":
        try:
            return other_json(json.loads(decode_text(data)))
        except (ValueError, RecursionError):
            return None
    is_via_csv = re.search(_CSV, decode_text(data[:20_000])) is not None
    return "a CSV file of VIA; export the annotations as JSON instead" if is_via_csv else None


def _other_xml(root: Element) -> str | None:
    if is_cvat(root):
        return _CVAT
    if is_cvat_video(root):
        return VIDEO
    if root.tag == "annotation" and any(
        root.find(tag) is not None for tag in ("object", "filename")
    ):
        return _VOC
    return None
