"""BrEaST: breast lesions, one image per patient, with a mask for the tumor and masks for other findings."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="breast_lesions_usg",
    name="BrEaST",
    url="https://www.cancerimagingarchive.net/collection/breast-lesions-usg/",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("breast_nodule", "other_lesion"),
    kind="still",
    size="256 images of 256 patients",
    layout="BrEaST-Lesions_USG-images_and_masks/case<i>.png, case<i>_tumor.png, case<i>_other<k>.png",
    folders=("BrEaST-Lesions_USG-images_and_masks", "Breast-Lesions-USG"),
    generic_folders=("BrEaST",),
    citation=bibtex(
        "article",
        "pawlowska2024",
        author="Pawłowska, Anna and Ćwierz-Pieńkowska, Anna and Domalik, Agnieszka and others",
        title="Curated benchmark dataset for ultrasound based breast lesion analysis",
        journal="Scientific Data",
        volume=11,
        pages=148,
        year=2024,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<subject>case\d+)\.png$",
        mask=r"/(?P<subject>case\d+)_(?P<what>tumor|other)\d*\.png$",
        labels=lambda g: Threshold(
            "breast_nodule" if g["what"].casefold() == "tumor" else "other_lesion"
        ),
    )


DATASET = DatasetSpec(INFO, _cases)
