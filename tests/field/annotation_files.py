"""Small COCO, LabelMe and VIA files with their images, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.field.test_accounting import account
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.custom import coco_file
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import Skip

SHAPE = (100, 120)
SQUARE = [[20, 30], [60, 30], [60, 70], [20, 70]]  # 40 x 40
FLAT = [float(v) for point in SQUARE for v in point]
NOTHING = "no annotation could be used"


def picture(path: Path, gray: int = 90, shape: tuple[int, int] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, gray, np.uint8)).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def outline(x: float = 20, y: float = 30, size: float = 40) -> list[float]:
    return [x, y, x + size, y, x + size, y + size, x, y + size]


def coco(*annotations: dict[str, Any], images: list[dict[str, Any]] | None = None) -> Any:
    """A COCO file; annotations are of image 1 and category 1 unless they say otherwise."""
    listed = images or [{"id": 1, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}]
    records = [
        {"id": 7 + k, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [FLAT]} | a
        for k, a in enumerate(annotations)
    ]
    return {
        "images": listed,
        "categories": [{"id": 1, "name": "cyst"}, {"id": 2, "name": "node"}],
        "annotations": records,
    }


Read = tuple[dict[str, AnnotatedImage], list[Skip]]


def read(spec: DatasetSpec, folder: Path) -> Read:
    skips: list[Skip] = []
    images = {image.source: image for image in spec.images(folder, skipped=skips.append)}
    account(spec, folder)
    return images, skips


def objects(image: AnnotatedImage) -> list[tuple[str, int]]:
    return list(zip(image.structures, image.areas, strict=True))


def reasons(skips: list[Skip], what: str) -> list[str]:
    return [skip.reason for skip in skips if skip.what == what]


def one(tmp_path: Path, *annotations: dict[str, Any]) -> Read:
    picture(tmp_path / "a.png")
    write(tmp_path / "ann.json", coco(*annotations))
    return read(coco_file("own"), tmp_path)


def left_of(image: AnnotatedImage) -> int:
    return int(np.nonzero(image.mask(0))[1].min())


def labelme(*shapes: dict[str, Any], size: tuple[int, int] | None = SHAPE, **more: Any) -> Any:
    return {
        "version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageData": None,
        "imageHeight": size and size[0], "imageWidth": size and size[1],
    } | more  # fmt: skip


def via_region(
    xs: list[float], name: str | None = None, *, attributes: Any = None
) -> dict[str, Any]:
    x0, x1 = xs
    shape = {
        "name": "polygon", "all_points_x": [x0, x1, x1, x0], "all_points_y": [30, 30, 70, 70],
    }  # fmt: skip
    named = {"name": name} if name is not None else {}
    return {"shape_attributes": shape, "region_attributes": attributes or named}
