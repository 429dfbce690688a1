"""FASS: four structures of the fetal abdomen. Masks are pickles; only arrays are unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    MISSING_IMAGE,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
    Download,
    bibtex,
)
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.arrays import read_pickled_masks

INFO = DatasetInfo(
    id="fass",
    name="FASS",
    url="https://data.mendeley.com/datasets/4gcpm9dsc3/1",
    access="open",
    license="CC BY 4.0",
    organ="fetal abdomen",
    structures=("artery", "liver", "stomach", "vein"),
    kind="still",
    size="1588 images of 169 subjects",
    layout="nested ZIP: IMAGES/P<NN>_IMG<k>.png, ARRAY_FORMAT/P<NN>_IMG<k>.npy",
    folders=("FASS", "Fetal Abdominal Structures Segmentation Dataset Using Ultrasonic Images"),
    download=Download("mendeley", "4gcpm9dsc3/1"),
    citation=bibtex(
        "misc",
        "dacorreggio2023",
        author="Da Correggio, Karine Souza and Noya Galluzzo, Roberto and Santos, Luís Otávio and others",
        title="Fetal abdominal structures segmentation dataset using ultrasonic images",
        publisher="Mendeley Data, V1",
        doi="10.17632/4gcpm9dsc3.1",
        year=2023,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    stem = r"(?P<stem>(?P<subject>P\d+)_IMG\d+)"
    masks = {
        groups["stem"].casefold(): entry
        for entry, groups in tree.match(rf"/ARRAY_FORMAT/{stem}\.npy$")
    }
    for image, groups in tree.match(rf"/IMAGES/{stem}\.png$"):
        key = groups["stem"].casefold()
        if key not in masks:
            report.skip(image, MISSING_MASK)
            continue
        mask = masks.pop(key)
        yield Case(
            INFO.id,
            key,
            (image, mask),
            partial(read_pickled_masks, image, mask, INFO.structures),
            subject=groups["subject"],
        )
    for entry in masks.values():
        report.skip(entry, MISSING_IMAGE, what="file")


DATASET = DatasetSpec(INFO, _cases)
