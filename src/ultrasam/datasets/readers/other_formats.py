"""Recognize annotation files of other tools and tasks, to say what to do with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ultrasam.datasets.readers.coco import is_coco
from ultrasam.datasets.readers.labelme import is_labelme
from ultrasam.datasets.readers.via import is_via
from ultrasam.text import decode_text

_AS_COCO = "export the annotations as COCO instead"


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _first(content: Any) -> Any:
    return next(iter(content), None) if isinstance(content, list) else None


_JSON: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    (
        f"Label Studio's own format; {_AS_COCO}",
        lambda c: _has(_first(c), "data") and (_has(_first(c), "annotations") or "result" in c[0]),
    ),
    (
        f"Label Studio's short format; {_AS_COCO}",
        lambda c: _has(_first(c), "image") and _has(_first(c), "annotator"),
    ),
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
)

_XML = (
    (r"<annotations>.*<image\b", "CVAT's own XML; export the task as 'COCO 1.0' instead"),
    (
        r"<annotation\b.*<(object|filename)\b",
        f"an XML file of Pascal VOC or LabelMe's web page; {_AS_COCO}",
    ),
)
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
    """What an XML or CSV file with annotations is, and what to do with it; None if it is nothing known."""
    start = decode_text(data[:20_000])
    if name.lower().endswith(".csv"):
        return (
            "a CSV file of VIA; export the annotations as JSON instead"
            * bool(re.search(_CSV, start))
            or None
        )
    return next((what for test, what in _XML if re.search(test, start, re.DOTALL)), None)
