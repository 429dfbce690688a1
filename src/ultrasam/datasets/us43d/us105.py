"""105US: liver tumors. The number before the first space pairs image and mask."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="us105",
    name="105US",
    url="https://www.researchgate.net/publication/329586355_100_2D_US_Images_and_Tumor_Segmentation_Masks",
    access="registration",
    organ="liver",
    structures=("tumor",),
    kind="still",
    size="105 images",
    layout="'<i> ….png' at any depth; masks '<i> ….png' in a folder named '…Masks…'",
    folders=("105US", "100 2D US Images and Tumor Segmentation Masks"),
    citation=bibtex(
        "misc",
        "us105",
        title="100 2D US Images and Tumor Segmentation Masks",
        year=2018,
        howpublished="ResearchGate, publication 329586355",
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<number>\d+)( [^/]*)?\.png$",
        mask=r"/[^/]*masks[^/]*/(?P<number>\d+)( [^/]*)?\.png$",
        labels=Threshold("tumor", 255),
        options=MaskOptions(skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
