"""STMUS_NDA: cross-sections of muscles: biceps (BB), gastrocnemius (GM), tibialis (TA)."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="stmus_nda",
    name="STMUS_NDA",
    url="https://data.mendeley.com/datasets/3jykz7wz8d/1",
    access="open",
    license="CC BY 4.0",
    organ="muscle (biceps, gastrocnemius, tibialis)",
    structures=("transverse_muscle",),
    kind="still",
    size="3,917 images of 1,283 subjects; 4,355 images after conversion (OpenUS)",
    layout="nested ZIP: Polito-Radboud-DeepLearningUS/<BB|GM|TA>/…/<stem>.png; masks in a folder named "
    "'…Masks…'",
    folders=("STMUS_NDA", "Polito-Radboud-DeepLearningUS"),
    download=Download("mendeley", "3jykz7wz8d/1"),
    citation=bibtex(
        "article",
        "marzola2021",
        author="Marzola, Francesco and van Alfen, Nens and Doorduin, Jonne and Meiburger, Kristen M.",
        title="Deep learning segmentation of transverse musculoskeletal ultrasound images for "
        "neuromuscular disease assessment",
        journal="Computers in Biology and Medicine",
        volume=135,
        pages=104623,
        year=2021,
    ),
)

_STEM = r"(?P<stem>((?P<subject>\d+)_)?[^/]+)\.png$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"^(?!.*masks).*/(?P<muscle>BB|GM|TA)/(.+/)?" + _STEM,
        mask=r"^(?=.*masks).*/(?P<muscle>BB|GM|TA)/(.+/)?" + _STEM,
        labels=Threshold("transverse_muscle"),
        options=MaskOptions(skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
