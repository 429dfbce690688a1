"""CardiacUDC: the heart in clips from six sites, rotated by 180 degrees. Holes in labels are filled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes
from ultrasam.images.masks import BoolMask, fill_holes

INFO = DatasetInfo(
    id="cardiac_udc",
    name="CardiacUDC",
    url="https://www.kaggle.com/datasets/xiaoweixumedicalai/cardiacudc-dataset",
    access="kaggle",
    organ="heart",
    structures=(
        "left_ventricle", "left_atrium", "right_atrium", "right_ventricle", "epicardium",
        "left_ventricle_2",
    ),
    kind="cine",
    size="about 500 clips of 6 sites",
    layout="cardiacUDC_dataset.change2zip (a ZIP file): cardiacUDC_dataset/<site>/<patient>_image….nii.gz "
    "and <patient>_label….nii.gz",
    folders=("cardiacUDC_dataset", "cardiacUDC_dataset.change2zip", "cardiacudc-dataset"),
    citation=bibtex(
        "inproceedings",
        "yang2023",
        author="Yang, Jiewen and Ding, Xinpeng and Zheng, Ziyang and Xu, Xiaowei and Li, Xiaomeng",
        title="GraphEcho: Graph-driven unsupervised domain adaptation for echocardiogram video "
        "segmentation",
        booktitle="ICCV",
        year=2023,
    ),
)  # fmt: skip


def _filled(mask: BoolMask, pixels: npt.NDArray[np.uint8]) -> BoolMask:
    return fill_holes(mask)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/(?P<site>[^/]+)/(?P<patient>[^/]+?)_image[^/]*\.nii(\.gz)?$",
        label=r"/(?P<site>[^/]+)/(?P<patient>[^/]+?)_label[^/]*\.nii(\.gz)?$",
        options=VolumeOptions(
            dict(enumerate(INFO.structures, 1)),
            clean=_filled,
            rotate_180=True,
            min_coverage=0.025,
        ),
        describe=lambda g: {"subject": f"{g['site']}/{g['patient']}"},
    )


DATASET = DatasetSpec(INFO, _cases)
