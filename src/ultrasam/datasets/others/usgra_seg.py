"""USGRA-seg: nerves and vessels in regional anesthesia, marked by color. Not one of the paper's 43."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByColor
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="usgra_seg",
    name="USGRA-seg",
    url="unknown",
    access="open",
    license="CC BY 4.0",
    organ="regional anesthesia",
    structures=("nerve", "vessel"),
    kind="still",
    size="unknown",
    layout="dataset/[test/]images/<i>.png, dataset/[test/]masks/<i>.png",
    folders=("USGRA-seg",),
    citation=bibtex("misc", "usgraseg", title="USGRA-seg", year=2025),
    part_of_paper=False,
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/images/(?P<stem>[^/]+)\.png$",
        mask=r"/masks/(?P<stem>[^/]+)\.png$",
        labels=ByColor({(128, 0, 0): "nerve", (0, 128, 0): "vessel"}),
    )


DATASET = DatasetSpec(INFO, _cases)
