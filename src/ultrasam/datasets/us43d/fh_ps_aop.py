"""FH-PS-AOP: pubic symphysis and fetal head. Labels outside the scanned area are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import opened
from ultrasam.datasets.readers.volumes import Volume, VolumeOptions, paired_volumes
from ultrasam.images.masks import largest_component

INFO = DatasetInfo(
    id="fh_ps_aop",
    name="FH-PS-AOP",
    url="https://zenodo.org/records/10829116",
    access="open",
    license="CC BY 4.0",
    organ="fetal head and pelvis",
    structures=("pubic_symphysis", "fetal_head"),
    kind="still",
    size="4000 images",
    layout="nested ZIP 'Pubic Symphysis-Fetal Head Segmentation and Angle of Progression': "
    "image_mha/<i>.mha, label_mha/<i>.mha",
    folders=("FH-PS-AOP", "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"),
    download=Download("zenodo", "10829116"),
    citation=bibtex(
        "misc",
        "bai2024",
        author="Bai, Jieyun",
        title="Pubic Symphysis-Fetal Head Segmentation and Angle of Progression",
        publisher="Zenodo",
        doi="10.5281/zenodo.10829116",
        year=2024,
    ),
    note="Images are video frames of unknown subjects; similar consecutive frames stay in one split. PSFHS "
    "and JNU-IFM are by the same group and may have images in common: never evaluate on one after "
    "training on another.",
    overlaps=("jnu_ifm", "psfhs"),
)


def _inside_scanned_area(labels: Volume, image: Volume) -> Volume:
    area = opened(largest_component(image[0] > 0), 12)
    points = cv2.findNonZero(area.astype(np.uint8))
    hull = np.zeros(area.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return np.where(hull[None] > 0, labels, 0)


def labeled_stills(
    dataset: str,
    tree: FileTree,
    report: SkipReport,
    clean: Callable[[Volume, Volume], Volume],
) -> Iterator[Case]:
    """The cases of a data set of this group: ``image_mha`` and ``label_mha``, 1 symphysis and 2 head.

    Args:
        dataset: its id.
        tree, report: files to search, and where to report skipped ones.
        clean: changes the labels, given the image.
    """
    return paired_volumes(
        dataset,
        tree,
        report,
        image=r"/image_mha/(?P<stem>[^/]+)\.mha$",
        label=r"/label_mha/(?P<stem>[^/]+)\.mha$",
        options=VolumeOptions(
            {1: "pubic_symphysis", 2: "fetal_head"},
            single_image=True,
            clean_volume=clean,
            keep_empty=True,
        ),
    )


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return labeled_stills(INFO.id, tree, report, _inside_scanned_area)


DATASET = DatasetSpec(INFO, _cases, sequence=True)
