"""MMOTU-3D: contrast-enhanced images of ovarian tumors."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired
from ultrasam.datasets.us43d.mmotu_2d import INFO as SISTER

INFO = DatasetInfo(
    id="mmotu_3d",
    name="MMOTU-3D",
    url=SISTER.url,
    access="open",
    license=SISTER.license,
    organ="ovary",
    structures=("lesion",),
    kind="still",
    size="170 images",
    layout="OTU_3d/images/<i>.JPG, OTU_3d/annotations/<i>.PNG",
    folders=("OTU_3d", "MMOTU_3d", "MMOTU-3D"),
    citation=SISTER.citation,
    note="Hosted on a cloud drive linked from the page. Contrast-enhanced.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"^(?!.*/OTU_2d/).*/images/(?P<stem>[^/]+)\.jpe?g$",
        mask=r"^(?!.*/OTU_2d/).*/annotations/(?P<stem>[^/]+)\.png$",
        exclude={r"/annotations/[^/]+_binary\.png$": "copy of the color mask"},
        labels=Threshold("lesion"),
    )


DATASET = DatasetSpec(INFO, _cases)
