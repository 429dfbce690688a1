"""STU-Hospital: breast tumors. Masks are 128 × 128 pixels, smaller than the images."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="stu_hospital",
    name="STU-Hospital",
    url="https://github.com/xbhlk/STU-Hospital",
    access="open",
    organ="breast",
    structures=("breast_tumour",),
    kind="still",
    size="42 images",
    layout="Hospital/Test_Image_<i>.png, Hospital/mask_<i>.png",
    folders=("STU-Hospital", "STU-Hospital-master"),
    download=Download("github", "xbhlk/STU-Hospital"),
    citation=bibtex(
        "article",
        "zhuang2019",
        author="Zhuang, Zhemin and Li, Nan and Joseph Raj, Alex Noel and Mahesh, Vijayalakshmi G. V. and "
        "Qiu, Shunmin",
        title="An RDAU-NET model for lesion segmentation in breast ultrasound images",
        journal="PLoS ONE",
        volume=14,
        number=8,
        pages="e0221535",
        year=2019,
    ),
    note="41 of the 42 masks have gray values, of which those from 128 on are the lesion, and most have "
    "another size than their image, to which they are scaled.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/Test_Image_(?P<number>\d+)\.png$",
        mask=r"/mask_(?P<number>\d+)\.png$",
        labels=Threshold("breast_tumour", 128),
        options=MaskOptions(resize=True),
    )


DATASET = DatasetSpec(INFO, _cases)
