"""PSFHS: pubic symphysis and fetal head, laid out as FH-PS-AOP is, whose images it may repeat."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import require_values
from ultrasam.datasets.readers.volumes import Volume
from ultrasam.datasets.us43d.fh_ps_aop import labeled_stills

INFO = DatasetInfo(
    id="psfhs",
    name="PSFHS",
    url="https://zenodo.org/records/10969427",
    access="open",
    license="CC BY 4.0",
    organ="fetal head and pelvis",
    structures=("pubic_symphysis", "fetal_head"),
    kind="still",
    size="1,358 images of 1,124 women",
    layout="PSFHS/image_mha/<i>.mha, PSFHS/label_mha/<i>.mha",
    folders=("PSFHS",),
    download=Download("zenodo", "10969427"),
    citation=bibtex(
        "article",
        "chen2024",
        author="Chen, Gaowen and Bai, Jieyun and Ou, Zhanhong and Lu, Yaosheng and Wang, Huijin",
        title="PSFHS: Intrapartum ultrasound image dataset for AI-based segmentation of pubic symphysis and "
        "fetal head",
        journal="Scientific Data",
        volume=11,
        pages=436,
        doi="10.1038/s41597-024-03266-4",
        year=2024,
    ),
    note="Women are not identified, and some have several images. FH-PS-AOP and JNU-IFM are by the same "
    "group and may have images in common: never evaluate on one after training on another. In a store with "
    "several of them, images that look alike stay in one split.",
    overlaps=("fh_ps_aop", "jnu_ifm"),
    part_of_paper=False,
)


def _checked(labels: Volume, image: Volume) -> Volume:
    return require_values(labels, (0, 1, 2))


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return labeled_stills(INFO.id, tree, report, _checked)


DATASET = DatasetSpec(INFO, _cases)
