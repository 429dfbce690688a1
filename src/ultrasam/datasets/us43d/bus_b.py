"""BUS (Dataset B): breast nodules."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="bus_b",
    name="BUS (Dataset B)",
    url="http://www2.docm.mmu.ac.uk/STAFF/M.Yap/dataset.php",
    access="request",
    license="research only",
    organ="breast",
    structures=("breast_nodule",),
    kind="still",
    size="163 images",
    layout="BUS/original/<i>.png, BUS/GT/<i>.png",
    folders=("BUS-B",),
    generic_folders=("BUS", "DatasetB", "Dataset B"),
    citation=bibtex(
        "article",
        "yap2018",
        author="Yap, Moi Hoon and Pons, Gerard and Martí, Joan and others",
        title="Automated breast ultrasound lesions detection using convolutional neural networks",
        journal="IEEE Journal of Biomedical and Health Informatics",
        volume=22,
        number=4,
        year=2018,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/original/(?P<stem>[^/]+)\.png$",
        mask=r"/GT/(?P<stem>[^/]+)\.png$",
        labels=Threshold("breast_nodule", 150),
    )


DATASET = DatasetSpec(INFO, _cases)
