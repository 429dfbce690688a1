"""Read COCO annotations: polygons and run-length encoded (RLE) masks.

One odd record costs no other one. Ids join as text or number. An annotation whose image is not listed may
belong to any listed image that has no other one; such images are left out, since they cannot be known to show
no object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry, Skip, SkipReport
from ultrasam.datasets.readers.annotations import (
    BAD_RLE,
    CROWD,
    NO_OUTLINE,
    Annotation,
    Canvas,
    Size,
    UnusableError,
    box_of,
    points_of,
    read_annotated,
    size_of,
)
from ultrasam.datasets.readers.attributes import value_of
from ultrasam.datasets.readers.listed_images import (
    ListedImage,
    OtherFormatError,
    id_of,
    is_true,
    text_of,
)
from ultrasam.datasets.readers.polygons import polygons_mask
from ultrasam.datasets.split_names import split_of
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, decode_rle

NOT_COCO = "no COCO file of instances: it needs 'images', 'annotations' and 'categories'"
WITHOUT_CATEGORIES = "a COCO file without 'categories', which name the structures"
NAMELESS = "a COCO file whose categories name no structure: each needs an id of its own and a name"
UNLISTED_IMAGE = "annotation of an image that is not listed"
MAYBE_ANNOTATED = "may be annotated: its file has annotations of images that are not listed"


def is_coco(content: Any) -> bool:
    """Whether parsed JSON is a COCO file of instances, and not one of captions, keypoints or segments."""
    if not isinstance(content, dict):
        return False
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        return False
    records = [a for a in annotations if isinstance(a, dict)]
    other = ("caption", "keypoints", "segments_info")
    return not records or not all(
        any(a.get(key) for key in other) and not a.get("segmentation") for a in records
    )


def coco_images(
    content: Any,
    table: FileEntry,
    report: SkipReport,
    *,
    attribute: str | None = None,
    categories: Mapping[str, str] | None = None,
    split_polygons: bool = False,
) -> list[ListedImage]:
    """The images that a COCO file lists, with their annotations.

    Args:
        content: the parsed file.
        table: the file.
        report: receives records that belong to no image.
        attribute: attribute of the annotations that names the structure, instead of the category.
        categories: names of the categories by id; if None, the file's own.
        split_polygons: make each polygon of an annotation an instance.

    Raises:
        OtherFormatError: This is not a COCO file of instances.
    """
    if not is_coco(content):
        raise OtherFormatError(NOT_COCO)
    names = categories if categories is not None else _categories(content.get("categories"))
    if attribute is None and not names and content["annotations"]:
        raise OtherFormatError(NAMELESS if content.get("categories") else WITHOUT_CATEGORIES)
    images = [i for i in content["images"] if isinstance(i, dict)]
    files_of: dict[str | None, set[str | None]] = defaultdict(set)
    for image in images:
        files_of[id_of(image.get("id"))].add(text_of(image.get("file_name")))
    by_image: dict[str | None, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    orphans = False
    for position, record in enumerate(content["annotations"]):
        known = record if isinstance(record, dict) else {}
        number = id_of(known.get("id")) or f"at position {position}"
        image_id = id_of(known.get("image_id"))
        if image_id is None or image_id not in files_of:
            report.skip(f"{table.path}, annotation {number}", UNLISTED_IMAGE, what="annotation")
            orphans = True
        else:
            by_image[image_id].append((number, known))
    listed = []
    for position, image in enumerate(content["images"]):
        path = text_of(image.get("file_name")) if isinstance(image, dict) else None
        if path is None:
            where = f"{table.path}, image at position {position}"
            report.skip(where, "image record without a file name", what="file")
            continue
        image_id = id_of(image.get("id"))
        records = by_image.get(image_id, []) if image_id is not None else []
        problem = None
        if image_id is None:
            problem = "listed without an id, which its annotations need"
        elif len(files_of[image_id]) > 1:
            problem = "listed with the id of another image"
        elif orphans and not records:
            problem = MAYBE_ANNOTATED
        size = size_of(image.get("height"), image.get("width"))
        annotations = [
            part
            for number, record in records
            for part in _annotations(number, record, size, names, attribute, split_polygons)
        ]
        listed.append(
            ListedImage(
                path,
                tuple(annotations),
                subject=text_of(image.get("subject")) or text_of(image.get("patient_id")),
                split=split_of(image.get("split")),
                problem=problem,
            )
        )
    return listed


def _categories(records: Any) -> dict[str, str]:
    """Names by id, without ids of two names."""
    names: dict[str, set[str]] = defaultdict(set)
    for record in records if isinstance(records, list) else []:
        if isinstance(record, dict):
            number, name = id_of(record.get("id")), text_of(record.get("name"))
            if number is not None and name is not None:
                names[number].add(name)
    return {number: found.pop() for number, found in names.items() if len(found) == 1}


def annotation_attributes(content: Any) -> list[Mapping[str, Any]]:
    """The attributes of all annotations of a COCO file."""
    return [_attributes(record) for record in content["annotations"]]


def _attributes(record: Any) -> Mapping[str, Any]:
    attributes = record.get("attributes") if isinstance(record, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _annotations(
    number: str,
    record: dict[str, Any],
    size: Size | None,
    names: Mapping[str, str],
    attribute: str | None,
    split_polygons: bool,
) -> Iterator[Annotation]:
    """The annotations of a record: one, or one per polygon."""
    if attribute is not None:
        name = value_of(_attributes(record).get(attribute))
    else:
        name = names.get(id_of(record.get("category_id")) or "")
    outline, box = record.get("segmentation"), record.get("bbox")
    if isinstance(outline, dict):
        own = outline.get("size")
        stated = size_of(*own) if isinstance(own, list) and len(own) == 2 else None
        if stated is not None and stated != size:
            size, box = stated, None  # the box is of the other size
    annotation = Annotation(
        number,
        name,
        outline or None,
        size,
        box_of(*box) if isinstance(box, list) and len(box) == 4 else None,
        CROWD if is_true(record.get("iscrowd")) else None,
    )
    parts = _parts(outline) if split_polygons and isinstance(outline, list) else []
    if len(parts) < 2:
        yield annotation
        return
    for k, part in enumerate(parts):
        yield Annotation(
            f"{number}, polygon {k}", name, [part], size, None, annotation.region
        )  # the box is of all polygons


def _parts(outline: list[Any]) -> list[Any]:
    """The polygons or masks of a segmentation; some tools write a single polygon without its own list."""
    if all(isinstance(value, int | float | str) for value in outline):
        return [outline]
    if all(isinstance(part, list) and len(part) == 2 for part in outline) and not any(
        isinstance(value, list) for part in outline for value in part
    ):
        return [outline]
    return outline


def draw_coco(outline: Any, canvas: Canvas) -> BoolMask:
    """Rasterize a COCO segmentation: polygons, an RLE mask, or a list of them.

    Raises:
        UnusableError: It is anything else, or lies outside the image.
    """
    if isinstance(outline, dict):
        try:
            return canvas.mask(decode_rle(outline))  # type: ignore[arg-type]
        except UnusableError:
            raise
        except DataError as error:
            raise UnusableError(BAD_RLE) from error
    if not isinstance(outline, list):
        raise UnusableError("segmentation that is neither polygons nor RLE")
    parts = _parts(outline)
    masks = [draw_coco(part, canvas) for part in parts if isinstance(part, dict)]
    polygons = [points_of(part) for part in parts if not isinstance(part, dict) and part != []]
    if polygons:
        masks.append(polygons_mask(polygons, canvas))
    if not masks:
        raise UnusableError(NO_OUTLINE, damage=False)
    return np.asarray(np.any(masks, axis=0))


def read_coco_image(
    image: FileEntry, annotations: tuple[Annotation, ...]
) -> Iterator[CaseImage | Skip]:
    """Read an image with its COCO annotations (see `coco_images` and `read_annotated`)."""
    yield from read_annotated(image, annotations, draw_coco)
