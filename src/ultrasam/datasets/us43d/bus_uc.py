"""BUS-UC: breast lesions, in one folder per class. A third folder repeats both."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="bus_uc",
    name="BUS-UC",
    url="https://data.mendeley.com/datasets/3ksd7w7jkx/1",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("breast_benign", "breast_malignant"),
    kind="still",
    size="811 images (358 benign, 453 malignant)",
    layout="<Benign|Malignant>/images/<i>.png and …/masks/<i>.png; 'All' repeats them",
    folders=("BUS_UC", "BUS-UC"),
    download=Download("mendeley", "3ksd7w7jkx/1"),
    citation=bibtex(
        "misc",
        "iqbal2023",
        author="Iqbal, Ahmed",
        title="BUS_UC",
        publisher="Mendeley Data, V1",
        doi="10.17632/3ksd7w7jkx.1",
        year=2023,
    ),
    note="Mask 0319.png has 257 × 256 pixels instead of 256 × 256; masks of another size are scaled to their "
    "image.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<class_label>benign|malignant)/images/(?P<stem>[^/]+)\.png$",
        mask=r"/(?P<class_label>benign|malignant)/masks/(?P<stem>[^/]+)\.png$",
        exclude={r"/All/": "copy of another file"},
        labels=lambda g: Threshold(f"breast_{g['class_label'].casefold()}", 255),
        options=MaskOptions(resize=True, skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
