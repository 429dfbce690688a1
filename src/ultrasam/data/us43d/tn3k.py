"""TN3K: thyroid nodules; JPEG masks; the folders are the split."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.data.description import Info, RawDataset, bibtex
from ultrasam.data.labels import Threshold
from ultrasam.data.raw import RawTree, Report
from ultrasam.data.readers import paired
from ultrasam.data.samples import Case

INFO = Info(
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


def _cases(tree: RawTree, report: Report) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<split>trainval|test)-image/(?P<number>\d+)\.jpe?g$",
        mask=r"/(?P<split>trainval|test)-mask/(?P<number>\d+)\.jpe?g$",
        labels=Threshold("thyroid_nodule", 150),
    )


DATASET = RawDataset(INFO, _cases)
