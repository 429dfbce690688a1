"""GIST514-DB: stromal tumors and leiomyomas in endoscopic ultrasound, as COCO polygons, one instance each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    IMAGE_NOT_FOUND,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
    bibtex,
)
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.coco import read_coco_image
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError

_CATEGORIES = {1: "leiomyoma", 2: "gist"}

INFO = DatasetInfo(
    id="gist514",
    name="GIST514-DB",
    url="https://github.com/howardchina/query2",
    access="request",
    organ="stomach (endoscopic)",
    structures=("leiomyoma", "gist"),
    kind="still",
    size="514 images of 514 patients",
    layout="usd514_jpeg_roi/images/*.jpg, annotations/train_anno_crop_split_0.json, "
    "val_anno_crop_split_0.json",
    folders=("usd514_jpeg_roi", "GIST514", "GIST514-DB"),
    citation=bibtex(
        "article",
        "he2023",
        author="He, Qi and Bano, Sophia and Liu, Jing and Liu, Wentian and Stoyanov, Danail and "
        "Zuo, Siyang",
        title="Query2: Query over queries for improving gastrointestinal stromal tumour detection in an "
        "endoscopic ultrasound",
        journal="Computers in Biology and Medicine",
        volume=152,
        pages=106424,
        year=2023,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    images = {e.name.casefold(): e for e, _ in tree.match(r"/images/[^/]+\.jpe?g$")}
    has_annotations = False
    for table, groups in tree.match(r"/(?P<part>train|val)_anno_crop_split_0\.json$"):
        has_annotations = True
        content = parse_json(table)
        annotations: dict[Any, list[tuple[str, Any]]] = defaultdict(list)
        try:
            for a in content["annotations"]:
                name = _CATEGORIES[a["category_id"]]
                annotations[a["image_id"]].append((name, a["segmentation"]))
            records = [
                (str(i["file_name"]), annotations.get(i["id"], [])) for i in content["images"]
            ]
        except (KeyError, TypeError) as error:
            raise DataError(f"{table.path} is not a COCO annotation file: {error!r}.") from error
        for name, segmentations in records:
            image = images.pop(name.replace("\\", "/").rsplit("/", 1)[-1].casefold(), None)
            if image is None:
                report.skip(name, IMAGE_NOT_FOUND, what="file")
                continue
            kinds = sorted({structure for structure, _ in segmentations})
            yield Case(
                INFO.id,
                image.stem.casefold(),
                (image,),
                partial(read_coco_image, image, tuple(segmentations), split_polygons=True),
                subject=image.stem,
                split="test" if groups["part"].casefold() == "val" else "trainval",
                class_label=kinds[0] if len(kinds) == 1 else None,
            )
    for entry, _ in tree.match(r"_anno_crop_split_[1-9]\d*\.json$"):
        report.skip(entry, "alternative split of the same images")
    if not has_annotations:
        raise DataError(
            "GIST514-DB: the annotation files of split 0 are missing; add them to the folder."
        )
    for image in images.values():
        report.skip(image, MISSING_MASK)


DATASET = DatasetSpec(INFO, _cases)
