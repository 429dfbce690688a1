"""DL_Track: aponeuroses of leg muscles, in frames of videos that resemble each other."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="dl_track",
    name="DL_Track",
    url="https://github.com/njcronin/DL_Track",
    access="open",
    license="Apache 2.0",
    organ="muscle",
    structures=("aponeurosis",),
    kind="still",
    size="574 images",
    layout="apo_images/<i>.*, apo_masks/<i>.*",
    folders=("DL_Track",),
    generic_folders=("apo_images",),
    citation=bibtex(
        "article",
        "cronin2020",
        author="Cronin, Neil J. and Finni, Taija and Seynnes, Olivier",
        title="Fully automated analysis of muscle architecture from B-mode ultrasound images with deep "
        "learning",
        journal="arXiv",
        eprint="2009.04790",
        year=2020,
    ),
    note="Videos and subjects are not identified; similar consecutive frames stay in one split. FALLMUD's "
    "half NeilCronin has its file names, and is probably of its images: never evaluate on FALLMUD after "
    "training on DL_Track.",
    overlaps=("fallmud",),
    part_of_paper=False,
)

_IMAGE = r"(?P<stem>[^/]+)\.(png|jpe?g|bmp|tiff?)$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image="/apo_images/" + _IMAGE,
        mask="/apo_masks/" + _IMAGE,
        labels=Threshold("aponeurosis", 128),
    )


DATASET = DatasetSpec(INFO, _cases, sequence=True)
