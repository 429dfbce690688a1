"""Layouts of people's own annotations: a folder of images beside a folder of masks, and COCO files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ultrasam.data.readers import Instance, RawDataset, Sample, paired_masks, sorted_files
from ultrasam.errors import DataError


def paired_folders(name: str) -> RawDataset:
    """``images/<stem>.*`` with ``masks/<stem>.*``, one structure to a file."""

    def samples(root: Path) -> Iterator[Sample]:
        masks = {path.stem: path for path in sorted_files(root, "masks/*.*")}
        for path in sorted_files(root, "images/*.*"):
            if path.stem not in masks:
                raise DataError(f"{path} has no mask of the same name in {root / 'masks'}; add it.")
            yield Sample(
                name, path, subject=path.stem, read_instances=paired_masks(name, masks[path.stem])
            )

    return RawDataset(name, "unknown", name, samples)


def coco_file(name: str, file_name: str, images: str) -> RawDataset:
    """A COCO file with polygons or run lengths, and the folder of its images."""

    def samples(root: Path) -> Iterator[Sample]:
        path = root / file_name
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for annotation in content["annotations"]:
                by_image[annotation["image_id"]].append(annotation)
            entries = [(i["file_name"], by_image[i["id"]]) for i in content["images"]]
            categories = {c["id"]: str(c["name"]) for c in content["categories"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a COCO annotation file ({error}).") from error
        for file, found in entries:
            yield Sample(
                name,
                root / images / file,
                subject=Path(file).stem,
                read_instances=_segmentations(found, categories),
            )

    return RawDataset(name, "unknown", name, samples)


def _segmentations(
    annotations: list[dict[str, Any]], categories: dict[int, str]
) -> Callable[[tuple[int, int]], list[Instance]]:
    def read(shape: tuple[int, int]) -> list[Instance]:
        out = []
        for annotation in annotations:
            rle = annotation["segmentation"]
            if isinstance(rle, list):
                rle = coco_mask.merge(coco_mask.frPyObjects(rle, *shape))
            elif isinstance(rle["counts"], list):
                rle = coco_mask.frPyObjects(rle, *shape)
            mask = np.asarray(coco_mask.decode(rle), dtype=bool)
            out.append(Instance(categories[annotation["category_id"]], mask))
        return out

    return read
