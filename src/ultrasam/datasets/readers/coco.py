"""Read COCO annotations: polygons and run-length encoded (RLE) masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
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
    """Convert COCO segmentations to instances.

    Args:
        segmentations: pairs of a structure's name and a COCO segmentation.
        shape: (height, width) of the image in pixels.
        split_polygons: make each polygon of an annotation an instance.
        where: the file that error messages name.

    Raises:
        DataError: A segmentation is neither polygons nor RLE, or lies outside the image.
    """
    instances = []
    for name, segmentation in segmentations:
        if isinstance(segmentation, list):
            polygons = [np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation]
            groups = [[p] for p in polygons] if split_polygons else [polygons]
            instances += [Instance(name, polygons_mask(group, shape, where)) for group in groups]
        elif isinstance(segmentation, dict) and "counts" in segmentation:
            instances.append(Instance(name, decode_rle(segmentation)))  # type: ignore[arg-type]
        else:
            raise DataError(
                f"{where}: an annotation of '{name}' is neither polygons nor RLE; export masks as RLE."
            )
    return instances


def read_coco_image(
    image: FileEntry, segmentations: tuple[tuple[str, Any], ...], *, split_polygons: bool = False
) -> Iterator[CaseImage | Skip]:
    """Read an image with its COCO segmentations (see `coco_instances`)."""
    pixels = decode_frame(image.read(), image.path)
    instances = coco_instances(
        segmentations, pixels.shape[:2], split_polygons=split_polygons, where=image.path
    )
    for instance in instances:
        require_shape(instance.mask, pixels.shape[:2], image.path)
    yield CaseImage(pixels, tuple(instances))
