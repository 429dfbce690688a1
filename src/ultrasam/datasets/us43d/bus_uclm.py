"""BUS-UCLM: breast lesions. The color is the class; the first four letters identify the patient."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByColor
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="bus_uclm",
    name="BUS-UCLM",
    url="https://data.mendeley.com/datasets/7fvgj4jsp7/1",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("benign_breast_lesion", "malignant_breast_lesion"),
    kind="still",
    size="683 images of 38 patients",
    layout="images/<PATI>_<i>.png, masks/<PATI>_<i>.png; INFO.csv",
    folders=("BUS-UCLM", "BUS-UCLM Breast ultrasound lesion segmentation dataset"),
    download=Download("mendeley", "7fvgj4jsp7/1"),
    citation=bibtex(
        "article",
        "vallez2025",
        author="Vallez, Noelia and Bueno, Gloria and Deniz, Oscar and Rienda, Miguel Angel and "
        "Pastor, Carlos",
        title="BUS-UCLM: Breast ultrasound lesion segmentation dataset",
        journal="Scientific Data",
        volume=12,
        pages=242,
        year=2025,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/images/(?P<stem>(?P<subject>[^/_]+)_[^/]+)\.png$",
        mask=r"/masks/(?P<stem>[^/_]+_[^/]+)\.png$",
        labels=ByColor(
            {(0, 255, 0): "benign_breast_lesion", (255, 0, 0): "malignant_breast_lesion"}
        ),
        options=MaskOptions(skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
