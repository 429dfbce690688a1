"""DDTI: thyroid nodules, as cropped by the authors of TN3K; in a nested archive."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="ddti",
    name="DDTI",
    url="https://github.com/openmedlab/Awesome-Medical-Dataset/blob/main/resources/TN3K.md",
    access="open",
    organ="thyroid",
    structures=("thyroid_nodule",),
    kind="still",
    size="637 images",
    layout="Thyroid Dataset/DDTI dataset/DDTI.zip: 2_preprocessed_data/stage1/p_image/<i>.PNG, "
    "p_mask/<i>.PNG",
    folders=("DDTI dataset", "DDTI", "DDTI.zip"),
    citation=bibtex(
        "inproceedings",
        "pedraza2015",
        author="Pedraza, Lina and Vargas, Carlos and Narváez, Fabián and Durán, Oscar and "
        "Muñoz, Emma and Romero, Eduardo",
        title="An open access thyroid ultrasound image database",
        booktitle="10th International Symposium on Medical Information Processing and Analysis",
        year=2015,
    ),
)

_STEM = r"(?P<stem>((?P<subject>\d+)_)?[^/]+)\.png$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/stage1/p_image/" + _STEM,
        mask=r"/stage1/p_mask/" + _STEM,
        labels=Threshold("thyroid_nodule", 255),
    )


DATASET = DatasetSpec(INFO, _cases)
