"""105US: liver tumours; the number before the first blank pairs image and mask."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.data.description import Info, RawDataset, bibtex
from ultrasam.data.labels import Threshold
from ultrasam.data.raw import RawTree, Report
from ultrasam.data.readers import MaskStyle, paired
from ultrasam.data.samples import Case

INFO = Info(
    id="us105",
    name="105US",
    url="https://www.researchgate.net/publication/329586355_100_2D_US_Images_and_Tumor_Segmentation_Masks",
    access="registration",
    organ="liver",
    structures=("tumor",),
    kind="still",
    size="105 images",
    layout="'<i> ….png' at any depth; masks of the same number right in a folder named '…Masks…'",
    folders=("105US", "100 2D US Images and Tumor Segmentation Masks"),
    citation=bibtex(
        "misc",
        "us105",
        title="100 2D US Images and Tumor Segmentation Masks",
        year=2018,
        howpublished="ResearchGate, publication 329586355",
    ),
)


def _cases(tree: RawTree, report: Report) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<number>\d+)( [^/]*)?\.png$",
        mask=r"/[^/]*masks[^/]*/(?P<number>\d+)( [^/]*)?\.png$",
        labels=Threshold("tumor", 255),
        style=MaskStyle(skip_empty=True),
    )


DATASET = RawDataset(INFO, _cases)
