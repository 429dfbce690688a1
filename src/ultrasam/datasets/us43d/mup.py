"""MUP: the volumes of MicroSeg processed differently: flipped, black lines unlabeled, empty slices kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.volumes import Volume, VolumeOptions, paired_volumes
from ultrasam.datasets.us43d.micro_seg import INFO as SISTER

INFO = DatasetInfo(
    id="mup",
    name="MUP",
    url=SISTER.url,
    access="open",
    license=SISTER.license,
    organ="prostate",
    structures=("prostate",),
    kind="volume",
    size="75 patients",
    layout="microUS_<train|test>_<NN>.nii.gz, expert_annotation_<train|test>_<NN>.nii.gz",
    generic_folders=("MUP",),
    download=Download("zenodo", "10475293"),
    citation=SISTER.citation,
    note="Same 75 patients as MicroSeg. In a store with both, each patient stays in one split.",
)


def _off_black_lines(labels: Volume, image: Volume) -> Volume:
    keep = np.ones(image.shape, dtype=bool)
    for axis in range(3):
        keep &= (image > 0).any(axis=axis, keepdims=True)
    return np.where(keep, labels, 0)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/microUS_(?P<part>train|test)_(?P<nn>\d+)\.nii(\.gz)?$",
        label=r"/expert_annotation_(?P<part>train|test)_(?P<nn>\d+)\.nii(\.gz)?$",
        options=VolumeOptions(
            {1: "prostate"}, clean_volume=_off_black_lines, flip_vertical=True, keep_empty=True
        ),
        describe=lambda g: {
            "subject": f"{g['part'].casefold()}_{g['nn']}",
            "split": "test" if g["part"].casefold() == "test" else "trainval",
        },
    )


DATASET = DatasetSpec(INFO, _cases, shares_subjects="micro_seg")
