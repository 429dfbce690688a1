"""US Nerve Segmentation (Kaggle 2016): brachial plexus. The number before the underscore is the subject."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="us_nerve",
    name="US Nerve Segmentation",
    url="https://www.kaggle.com/c/ultrasound-nerve-segmentation/data",
    access="kaggle",
    license="competition rules",
    organ="brachial plexus",
    structures=("cervical_nerves",),
    kind="still",
    size="5635 images of 47 subjects",
    layout="train/<s>_<i>.tif, train/<s>_<i>_mask.tif",
    folders=("ultrasound-nerve-segmentation",),
    generic_folders=("US_nerve",),
    citation=bibtex(
        "misc",
        "kaggle2016",
        author="Montoya, Anna and Hasnin and kaggle446 and shirzad and Cukierski, Will and yffud",
        title="Ultrasound Nerve Segmentation",
        howpublished="Kaggle",
        year=2016,
    ),
    note="About 60% of the masks are empty. Some near-duplicate images have contradictory masks.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<stem>(?P<subject>\d+)_\d+)\.tiff?$",
        mask=r"/(?P<stem>\d+_\d+)_mask\.tiff?$",
        labels=Threshold("cervical_nerves", 150),
    )


DATASET = DatasetSpec(INFO, _cases)
