"""CCAUI: cross-sections of the common carotid artery. The number before '_slice_' is the subject."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="ccaui",
    name="CCAUI",
    url="https://data.mendeley.com/datasets/d4xt63mgjm/1",
    access="open",
    license="CC BY 4.0",
    organ="neck",
    structures=("carotid_artery",),
    kind="still",
    size="1100 images of 11 subjects",
    layout="'US images/<stem>.png', 'Expert mask images/<stem>.png'",
    folders=("CCAUI", "Common Carotid Artery Ultrasound Images"),
    download=Download("mendeley", "d4xt63mgjm/1"),
    citation=bibtex(
        "misc",
        "momot2022",
        author="Momot, Agata",
        title="Common Carotid Artery Ultrasound Images",
        publisher="Mendeley Data, V1",
        doi="10.17632/d4xt63mgjm.1",
        year=2022,
    ),
)

_STEM = r"(?P<stem>((?P<subject>\d+)[^/]*_slice_)?[^/]+)\.(png|jpe?g|bmp|tiff?)$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(US )?images/" + _STEM,
        mask=r"/[^/]*mask[^/]*/" + _STEM,
        labels=Threshold("carotid_artery", 255),
        options=MaskOptions(skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
