"""EchoCP: heart chambers in contrast echocardiography, rotated by 180 degrees."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes

INFO = DatasetInfo(
    id="echocp",
    name="EchoCP",
    url="https://www.kaggle.com/datasets/xiaoweixumedicalai/echocp",
    access="kaggle",
    license="Apache 2.0",
    organ="heart",
    structures=("chamber",),
    kind="cine",
    size="60 clips of 30 patients",
    layout="<patient>…_image.nii.gz with <patient>…_label.nii.gz",
    folders=("EchoCP", "EchoCP_dataset"),
    citation=bibtex(
        "inproceedings",
        "wang2021",
        author="Wang, Tianchen and Li, Zhihe and Huang, Meiping and others",
        title="EchoCP: An echocardiography dataset in contrast transthoracic echocardiography for patent "
        "foramen ovale diagnosis",
        booktitle="MICCAI",
        year=2021,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/(?P<stem>(?P<subject>[^/_]+)[^/]*)_image\.nii(\.gz)?$",
        label=r"/(?P<stem>[^/_]+[^/]*)_label\.nii(\.gz)?$",
        options=VolumeOptions({-1: "chamber"}, rotate_180=True),
    )


DATASET = DatasetSpec(INFO, _cases)
