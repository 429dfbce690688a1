"""Read Label Studio's own JSON, and its short format JSON-MIN.

Format: https://labelstud.io/guide/export. Coordinates are percentages of the image's width and height.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry, Skip, SkipReport
from ultrasam.datasets.readers.annotations import (
    Annotation,
    Box,
    Canvas,
    Size,
    UnusableError,
    bounds_of,
    points_of,
    read_annotated,
    size_of,
    without_area,
)
from ultrasam.datasets.readers.attributes import SEVERAL_STRUCTURES
from ultrasam.datasets.readers.labelstudio_rle import decode_brush
from ultrasam.datasets.readers.listed_images import (
    WHOLE_IMAGE,
    ListedImage,
    OtherFormatError,
    id_of,
    is_true,
    text_of,
)
from ultrasam.datasets.readers.polygons import ellipse_points, polygons_mask
from ultrasam.datasets.split_names import split_of
from ultrasam.images.masks import BoolMask

NOT_LABEL_STUDIO = "no Label Studio file: it lists no tasks with 'data' and 'annotations'"
NO_REGION = "a Label Studio file without a region in any image"
NOT_ANNOTATED = "not annotated yet in Label Studio"
CANCELLED = "skipped by its annotator in Label Studio"
SEVERAL = "annotated several times, differently; mark one annotation as ground truth"
ROTATED = "annotated in Label Studio while it was rotated"
SEVERAL_IMAGES = "task of several images"
UNREADABLE_TASK = "task that cannot be read"
UNCLEAR = (
    "without a region, but with other values; export JSON instead of JSON-MIN to tell what they are"
)

# Results about the whole image, or beside a region.
_WHOLE = frozenset({
    "choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "text",
    "textarea",
})  # fmt: skip
_GEOMETRY = (
    "points", "closed", "rle", "x", "y", "width", "height", "radiusX", "radiusY", "rotation", "vertices",
    "imageDataURL",
)  # fmt: skip
_OF_SHORT = frozenset({
    "agreement", "annotation_id", "annotator", "created_at", "id", "lead_time", "patient_id", "split",
    "subject", "updated_at",
})  # fmt: skip
_IMAGE = re.compile(r"\.(png|jpe?g|bmp|tiff?|gif|webp)($|[?#])", re.IGNORECASE)
_UPLOAD = re.compile(r"^(?:.*/)?upload/(?:[^/]*/)*([^/]+)$")
_PREFIX = re.compile(r"^(.*/)?[0-9a-f]{8}-([^/]+)$")


def _tasks(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _annotations_of(task: Mapping[str, Any]) -> Any:
    """All annotations of a task; they were called completions."""
    return task.get("annotations", task.get("completions"))


def _is_task(task: Any) -> bool:
    return (
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and isinstance(_annotations_of(task), list)
    )


def _is_short(record: Any) -> bool:
    return isinstance(record, dict) and "annotation_id" in record and "annotator" in record


def is_labelstudio(content: Any) -> bool:
    """Whether parsed JSON is Label Studio's: tasks, or records of JSON-MIN."""
    return any(_is_task(task) or _is_short(task) for task in _tasks(content))


def labelstudio_images(content: Any, table: FileEntry, report: SkipReport) -> list[ListedImage]:
    """The images that a Label Studio file lists, with their regions.

    An image that several people annotated is listed once: with the annotation marked as ground truth, if
    there is one; otherwise their annotations must be the same.

    Args:
        content: the parsed file.
        table: the file.
        report: receives what is no task.

    Raises:
        OtherFormatError: This is not a Label Studio file.
    """
    if not is_labelstudio(content):
        raise OtherFormatError(NOT_LABEL_STUDIO)
    tasks = _tasks(content)
    controls = {name for task in tasks if _is_short(task) for name in _controls(task)}
    if not controls and not any(_is_task(task) for task in tasks):
        raise OtherFormatError(NO_REGION)
    listed = []
    for position, task in enumerate(tasks):
        if _is_short(task):
            listed.append(_short(task, controls))
        elif isinstance(task, dict) and isinstance(task.get("data"), dict):
            listed.append(_task(task))
        else:
            report.skip(f"{table.path}, task at position {position}", UNREADABLE_TASK, what="file")
    return listed


def _task(task: dict[str, Any]) -> ListedImage:
    records = _annotations_of(task)
    if not isinstance(records, list):
        return _listed(task["data"], task, (), problem=UNREADABLE_TASK)
    known = [record for record in records if isinstance(record, dict)]
    if len(known) < len(records):
        return _listed(task["data"], task, (), problem=UNREADABLE_TASK)
    done = [r for r in known if not (is_true(r.get("was_cancelled")) or is_true(r.get("skipped")))]
    if not done:
        return _listed(task["data"], task, (), problem=CANCELLED if known else NOT_ANNOTATED)
    chosen = [record for record in done if is_true(record.get("ground_truth"))] or done
    results = [record.get("result") for record in chosen]
    found = [_regions(result) for result in results if isinstance(result, list)]
    names = {
        text_of(r.get("to_name"))
        for result in results
        for r in (result if isinstance(result, list) else [])
        if isinstance(r, dict)
    }
    if len(found) < len(results):
        return _listed(task["data"], task, names, problem=UNREADABLE_TASK)
    stated = [[replace(a, id="") for a in one.annotations] for one in found]
    problems = [one.problem for one in found if one.problem is not None]
    if any(annotations != stated[0] for annotations in stated[1:]):
        problems.append(SEVERAL)
    return _listed(
        task["data"],
        task,
        names,
        annotations=found[0].annotations,
        problem=problems[0] if problems else None,
    )


def _short(record: dict[str, Any], controls: Iterable[str]) -> ListedImage:
    """The image of a record of JSON-MIN, whose regions are in lists named after the controls."""
    results: list[Any] = []
    problem = None
    for control in sorted(controls & record.keys()):
        if isinstance(record[control], list):
            results += [_as_result(value) for value in record[control]]
        else:
            problem = UNREADABLE_TASK
    data = {key: value for key, value in record.items() if key not in controls}
    found = _regions(results)
    others = {key for key, value in data.items() if key not in _OF_SHORT and not _is_image(value)}
    if not found.annotations and others:
        problem = problem or UNCLEAR
    return _listed(data, {}, (), annotations=found.annotations, problem=problem or found.problem)


def _controls(record: Mapping[str, Any]) -> Iterator[str]:
    """The names of a JSON-MIN record's values that are lists of regions."""
    for name, value in record.items():
        if isinstance(value, list) and any(
            isinstance(v, dict) and any(key in v for key in _GEOMETRY) for v in value
        ):
            yield name


def _as_result(value: Any) -> Any:
    """A value of JSON-MIN as a result of JSON; it has no type, so that its keys must tell."""
    if not isinstance(value, dict):
        return value
    kind = next((key for key in value if key in _WHOLE), None)
    if any(key in value for key in _GEOMETRY):
        kind = None
    sizes = {key: value.get(key) for key in ("original_width", "original_height")}
    return {"type": kind, "value": value} | sizes


@dataclass(frozen=True, slots=True)
class _Found:
    """The regions of one annotation of a task, and why the image must be left out, if it must."""

    annotations: tuple[Annotation, ...]
    problem: str | None


def _regions(results: list[Any]) -> _Found:
    """The regions among the results of one annotation.

    Label Studio writes a region several times under one id: for its shape, its label and its other values.
    """
    regions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    whole = rotated = False
    ids = set()
    for position, result in enumerate(results):
        known = result if isinstance(result, dict) else {}
        number = id_of(known.get("id"))
        kind = known.get("type")
        if isinstance(kind, str) and kind.casefold() in _WHOLE:
            continue
        rotated |= _is_rotated(known.get("image_rotation"))
        value = known.get("value")
        shape = (
            {k: v for k, v in value.items() if k in _GEOMETRY} if isinstance(value, dict) else {}
        )
        key = number or f"at position {position}", json.dumps(shape, sort_keys=True)
        regions.setdefault(key, []).append(known)
        ids.add(number)
    for result in results:
        kind = result.get("type") if isinstance(result, dict) else None
        if isinstance(kind, str) and kind.casefold() in _WHOLE:
            whole |= id_of(result.get("id")) not in ids
    annotations = tuple(_annotation(number, parts) for (number, _), parts in regions.items())
    if any(isinstance(r, dict) and "item_index" in r for r in results):
        return _Found(annotations, SEVERAL_IMAGES)
    if rotated:
        return _Found(annotations, ROTATED)
    return _Found(annotations, WHOLE_IMAGE if whole and not annotations else None)


def _is_rotated(angle: Any) -> bool:
    """Whether the image was rotated, in degrees; what cannot be told counts as rotated."""
    try:
        return float(angle or 0) % 360 != 0
    except (TypeError, ValueError, OverflowError):
        return True


def _annotation(number: str, parts: list[dict[str, Any]]) -> Annotation:
    values = [part["value"] for part in parts if isinstance(part.get("value"), dict)]
    value = {key: v for one in reversed(values) for key, v in one.items()}
    size = size_of(parts[0].get("original_height"), parts[0].get("original_width"))
    names = {
        text_of(name)
        for one in values
        for key, found in one.items()
        if key.casefold().endswith("labels")
        for name in (found if isinstance(found, list) else [found])
    } - {None}
    kind = _kind(value)
    is_outline = kind not in (None, "rectangle")
    return Annotation(
        number,
        names.pop() if len(names) == 1 else None,
        {k: v for k, v in value.items() if k in _GEOMETRY} if is_outline else None,
        size,
        _box(value, size) if kind == "rectangle" else None,
        SEVERAL_STRUCTURES if len(names) > 1 else None,
    )


def _kind(value: Mapping[str, Any]) -> str | None:
    """The shape that a region's values describe."""
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value or "radiusY" in value:
        return "ellipse"
    if "vertices" in value:
        return "vector"
    if "imageDataURL" in value:
        return "bitmask"
    if "width" in value and "height" in value:
        return "rectangle"
    return "keypoint" if "x" in value or "y" in value else None


def _box(value: Mapping[str, Any], size: Size | None) -> Box | None:
    """The box around a rectangle, which is rotated about its first corner."""
    if size is None:
        return None
    try:
        scale = np.array(size[::-1]) / 100
        corner = np.array([float(value["x"]), float(value["y"])]) * scale
        w, h = np.array([float(value["width"]), float(value["height"])]) * scale
        angle = math.radians(float(value.get("rotation") or 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    along = np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-math.sin(angle), math.cos(angle)])
    return bounds_of(corner + np.array([0 * along, w * along, w * along + h * down, h * down]))


def _listed(
    data: Mapping[str, Any],
    task: Mapping[str, Any],
    to_names: Iterable[str | None],
    *,
    annotations: tuple[Annotation, ...] = (),
    problem: str | None = None,
) -> ListedImage:
    """The image of a task.

    Args:
        data: the task's data, one of which is the image.
        task: the task.
        to_names: names of the images that the regions are on, which often are keys of the data.
        annotations, problem: as in `ListedImage`.
    """
    keys = [key for key, value in data.items() if _is_image(value)]
    several = any(isinstance(v, list) and any(map(_is_image, v)) for v in data.values())
    named = [key for key in keys if key in to_names]
    if len(keys) > 1 and len(named) == 1:
        keys = named
    if (several or len(keys) > 1) and problem is None:
        problem = SEVERAL_IMAGES
    stated = text_of(data[keys[0]] if keys else task.get("file_upload")) or ""
    path = stated.replace("\\", "/")
    if "?d=" not in path and (upload := _UPLOAD.match(path.partition("?")[0])):
        path = upload[1]  # the folders are the server's
    stripped = _PREFIX.match(path)
    return ListedImage(
        path,
        annotations,
        subject=text_of(data.get("subject")) or text_of(data.get("patient_id")),
        split=split_of(data.get("split")),
        problem=problem,
        also=((stripped[1] or "") + stripped[2],) if stripped else (),
    )


def _is_image(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 4096 and _IMAGE.search(value) is not None


def read_labelstudio(
    image: FileEntry, regions: tuple[Annotation, ...]
) -> Iterator[CaseImage | Skip]:
    """Read an image with its Label Studio regions (see `labelstudio_images` and `read_annotated`)."""
    yield from read_annotated(image, regions, draw_labelstudio)


def draw_labelstudio(value: Any, canvas: Canvas) -> BoolMask:
    """Rasterize a Label Studio region; polygons and ellipses as COCO rasterizes polygons.

    Raises:
        UnusableError: The region has no area, is malformed, or lies outside the image.
    """
    kind = _kind(value)
    height, width = canvas.drawn
    scale = np.array([width, height]) / 100
    if kind == "brush":
        rgba = decode_brush(value["rle"], height * width * 4).reshape(height, width, 4)
        return canvas.mask(rgba[:, :, 3] > 0)
    if kind == "polygon":
        if value.get("closed") is False:
            raise without_area("open polygon")
        return polygons_mask([points_of(value["points"]) * scale], canvas)
    if kind == "ellipse":
        x, y = np.array([float(value["x"]), float(value["y"])]) * scale
        rx, ry = np.array([float(value["radiusX"]), float(value["radiusY"])]) * scale
        angle = math.radians(float(value.get("rotation") or 0))
        return polygons_mask([ellipse_points((x, y), (rx, ry), angle)], canvas)
    if kind in ("keypoint", "vector"):
        raise without_area(kind)
    raise UnusableError(f"shape of an unknown kind ({kind})")
