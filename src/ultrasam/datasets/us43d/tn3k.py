"""TN3K: thyroid nodules with JPEG masks. The folders give the split."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="tn3k",
    name="TN3K",
    url="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    access="open",
    organ="thyroid",
    structures=("thyroid_nodule",),
    kind="still",
    size="3493 images of 2421 patients",
    layout="Thyroid Dataset/tn3k/<trainval|test>-image/<i>.jpg, <trainval|test>-mask/<i>.jpg",
    folders=("tn3k",),
    citation=bibtex(
        "article",
        "gong2023",
        author="Gong, Haifan and Chen, Jiaxin and Chen, Guanqi and Li, Haofeng and Li, Guanbin and "
        "Chen, Fei",
        title="Thyroid region prior guided attention for ultrasound segmentation of thyroid nodules",
        journal="Computers in Biology and Medicine",
        volume=155,
        pages=106389,
        year=2023,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<split>trainval|test)-image/(?P<number>\d+)\.jpe?g$",
        mask=r"/(?P<split>trainval|test)-mask/(?P<number>\d+)\.jpe?g$",
        labels=Threshold("thyroid_nodule", 150),
    )


DATASET = DatasetSpec(INFO, _cases)
