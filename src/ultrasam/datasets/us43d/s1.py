"""S1: breast tumors; mask value 127 is benign, 255 malignant."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByValue
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="s1",
    name="S1",
    url="https://pmc.ncbi.nlm.nih.gov/articles/PMC8205136/",
    access="open",
    license="CC BY 4.0 (not verified)",
    organ="breast",
    structures=("benign_tumour", "malignant_tumour"),
    kind="still",
    size="201 images after conversion (OpenUS)",
    layout="Data/TrainingDataSet/…/<i>.jpg and Data/TestingDataSet/…; masks in folders named '…Labels…'",
    generic_folders=("S1",),
    citation=bibtex(
        "article",
        "guo2021",
        author="Guo, Yanjun and Duan, Xingguang and Wang, Chengyi and Guo, Huiqin",
        title="Segmentation and recognition of breast ultrasound images based on an expanded U-Net",
        journal="PLoS ONE",
        volume=16,
        number=6,
        pages="e0253202",
        year=2021,
    ),
)

_IMAGE = r"\.(png|jpe?g|bmp)$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"^(?!.*(labels|general)).*/(?P<part>training|testing)DataSet/(.+/)?(?P<stem>[^/]+)"
        + _IMAGE,
        mask=r"^(?!.*general)(?=.*labels).*/(?P<part>training|testing)DataSet/(.+/)?(?P<stem>[^/]+)"
        + _IMAGE,
        exclude={rf"general.*{_IMAGE}": "label without classes"},
        labels=ByValue({127: "benign_tumour", 255: "malignant_tumour"}, nearest=True),
        describe=lambda g: {"split": "test" if g["part"].casefold() == "testing" else "trainval"},
    )


DATASET = DatasetSpec(INFO, _cases)
