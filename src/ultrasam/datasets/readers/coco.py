"""Instances as COCO's annotations have them: polygons or run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import Instance, Picture
from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.datasets.readers.label_rules import require_shape
from ultrasam.datasets.readers.polygons import polygons_mask
from ultrasam.errors import DataError
from ultrasam.images.masks import decode_rle
from ultrasam.images.raster import decode_frame


def coco_instances(
    segmentations: Sequence[tuple[str, Any]],
    shape: tuple[int, int],
    *,
    split_polygons: bool,
    where: str = "an annotation",
) -> list[Instance]:
    """(structure, COCO segmentation) pairs to instances.

    Args:
        split_polygons: each polygon of an annotation is an instance of its own.

    Raises:
        DataError: a segmentation is neither polygons nor run lengths, or lies outside the image.
    """
    found = []
    for name, segmentation in segmentations:
        if isinstance(segmentation, list):
            polygons = [np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation]
            groups = [[p] for p in polygons] if split_polygons else [polygons]
            found += [Instance(name, polygons_mask(group, shape, where)) for group in groups]
        elif isinstance(segmentation, dict) and "counts" in segmentation:
            found.append(Instance(name, decode_rle(segmentation)))  # type: ignore[arg-type]
        else:
            raise DataError(
                f"an annotation of '{name}' has neither polygons nor run lengths; export masks as RLE"
            )
    return found


def read_coco_image(
    image: Entry, segmentations: tuple[tuple[str, Any], ...], *, split_polygons: bool = False
) -> Iterator[Picture | Skip]:
    """An image with (structure, COCO segmentation) pairs."""
    pixels = decode_frame(image.read(), image.path)
    found = coco_instances(
        segmentations, pixels.shape[:2], split_polygons=split_polygons, where=image.path
    )
    for instance in found:
        require_shape(instance.mask, pixels.shape[:2], image.path)
    yield Picture(pixels, tuple(found))
