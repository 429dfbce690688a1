"""SegThy: thyroid, carotid and jugular in tracked volumes, rotated by 180 degrees."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes

INFO = DatasetInfo(
    id="segthy",
    name="SegThy",
    url="https://www.cs.cit.tum.de/camp/publications/segthy-dataset/",
    access="registration",
    organ="thyroid",
    structures=("thyroid", "carotid", "jugular"),
    kind="volume",
    size="32 volunteers; 12,737 images after conversion (OpenUS)",
    layout="<stem>_US.nii at any depth; <stem>.nii in a folder named '…label…'",
    folders=("SegThy",),
    generic_folders=("US_data",),
    citation=bibtex(
        "article",
        "kroenke2022",
        author="Krönke, Markus and Eilers, Christine and Dimova, Desislava and others",
        title="Tracked 3D ultrasound and deep neural network-based thyroid segmentation reduce "
        "interobserver variability in thyroid volumetry",
        journal="PLoS ONE",
        volume=17,
        number=7,
        year=2022,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/(?P<stem>(?P<subject>[^/_]+)[^/]*)_US\.nii(\.gz)?$",
        label=r"^(?=.*label).*/(?P<stem>[^/]+?)\.nii(\.gz)?$",
        options=VolumeOptions({1: "thyroid", 2: "carotid", 3: "jugular"}, rotate_180=True),
    )


DATASET = DatasetSpec(INFO, _cases)
