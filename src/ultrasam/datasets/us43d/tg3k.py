"""TG3K: the thyroid gland in frames of 16 recordings, which file names do not identify."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="tg3k",
    name="TG3K",
    url="https://github.com/openmedlab/Awesome-Medical-Dataset/blob/main/resources/TN3K.md",
    access="open",
    organ="thyroid",
    structures=("thyroid_gland",),
    kind="still",
    size="3585 images of 16 recordings",
    layout="Thyroid Dataset/tg3k/thyroid-image/<i>.jpg, thyroid-mask/<i>.jpg",
    folders=("tg3k",),
    citation=bibtex(
        "inproceedings",
        "gong2021",
        author="Gong, Haifan and Chen, Guanqi and Wang, Ranran and others",
        title="Multi-task learning for thyroid nodule segmentation with thyroid region prior",
        booktitle="IEEE 18th International Symposium on Biomedical Imaging (ISBI)",
        year=2021,
    ),
    note="Recordings are not identified; similar consecutive frames stay in one split.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/thyroid-image/(?P<number>\d+)\.jpe?g$",
        mask=r"/thyroid-mask/(?P<number>\d+)\.jpe?g$",
        labels=Threshold("thyroid_gland", 150),
    )


DATASET = DatasetSpec(INFO, _cases, sequence=True)
