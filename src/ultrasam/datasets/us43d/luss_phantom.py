"""LUSS_phantom: artifacts in images of a lung phantom, one mask value each."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByValue
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="luss_phantom",
    name="LUSS_phantom",
    url="https://archive.researchdata.leeds.ac.uk/1263/",
    access="open",
    license="CC BY 4.0",
    organ="lung phantom",
    structures=("rib", "pleural_line", "a_line", "b_line", "b_line_confluence"),
    kind="still",
    size="564 images",
    layout="images/<i>.png, masks/<i>.png",
    folders=("LUSS_phantom", "LUSS_phantom_data"),
    citation=bibtex(
        "article",
        "howell2024",
        author="Howell, Lewis and Ingram, Nicola and Lapham, Roger and Morrell, Adam and "
        "McLaughlan, James R.",
        title="Deep learning for real-time multi-class segmentation of artefacts in lung ultrasound",
        journal="Ultrasonics",
        volume=140,
        year=2024,
    ),
    note="All images show the same phantom, so all are in one split.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/images/(?P<stem>[^/]+)\.png$",
        mask=r"/[^/]*masks[^/]*/(?P<stem>[^/]+)\.png$",
        labels=ByValue(dict(enumerate(INFO.structures, 1))),
        describe=lambda groups: {"subject": "phantom"},
    )


DATASET = DatasetSpec(INFO, _cases)
