"""GIST514-DB: stromal tumors and leiomyomas in endoscopic ultrasound, as COCO polygons, one instance each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    IMAGE_NOT_FOUND,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
    bibtex,
)
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.coco import coco_images, read_coco_image
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.text import name_key

_CATEGORIES = {"1": "leiomyoma", "2": "gist"}

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
    images = {name_key(e.name): e for e, _ in tree.match(r"/images/[^/]+\.jpe?g$")}
    has_annotations = False
    for table, groups in tree.match(r"/(?P<part>train|val)_anno_crop_split_0\.json$"):
        has_annotations = True
        listed = coco_images(
            parse_json(table), table, report, categories=_CATEGORIES, split_polygons=True
        )
        for record in listed:
            image = images.pop(name_key(record.path).rpartition("/")[2], None)
            if image is None:
                report.skip(record.path, IMAGE_NOT_FOUND, what="file")
                continue
            if record.problem is not None:
                report.skip(image, record.problem)
                continue
            kinds = sorted({a.name for a in record.annotations if a.name is not None})
            yield Case(
                INFO.id,
                image.stem.casefold(),
                (image,),
                partial(read_coco_image, image, record.annotations),
                subject=image.stem,
                split="test" if groups["part"].casefold() == "val" else "trainval",
                class_label=kinds[0] if len(kinds) == 1 else None,
            )
    for entry, _ in tree.match(r"_anno_crop_split_[1-9]\d*\.json$"):
        report.skip(entry, "alternative split of the same images", what="file")
    if not has_annotations:
        raise DataError(
            "GIST514-DB: the annotation files of split 0 are missing; add them to the folder."
        )
    for image in images.values():
        report.skip(image, MISSING_MASK)


DATASET = DatasetSpec(INFO, _cases, version=2)
