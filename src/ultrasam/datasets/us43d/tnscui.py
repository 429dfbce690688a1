"""TN-SCUI: thyroid nodules. Masks have values 0 and 1, or 0 and 255."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="tnscui",
    name="TN-SCUI",
    url="https://tn-scui2020.grand-challenge.org/",
    access="request",
    license="research only",
    organ="thyroid",
    structures=("thyroid_nodule",),
    kind="still",
    size="3,644 images for training; 910 test images without annotation",
    layout="tnscui/JPEGImages/<i>.jpg, tnscui/SegmentationClass/<i>.png",
    folders=("tnscui", "TN-SCUI", "TN-SCUI2020"),
    citation=bibtex(
        "misc",
        "zhou2020",
        author="Zhou, Jianqiao and Jia, Xiaohong and Ni, Dong and others",
        title="Thyroid nodule segmentation and classification in ultrasound images",
        howpublished="MICCAI challenge TN-SCUI 2020",
        year=2020,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/JPEGImages/(?P<stem>[^/]+)\.jpe?g$",
        mask=r"/SegmentationClass/(?P<stem>[^/]+)\.png$",
        labels=Threshold("thyroid_nodule"),
    )


DATASET = DatasetSpec(INFO, _cases)
