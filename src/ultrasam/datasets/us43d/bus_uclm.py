"""BUS-UCLM: breast lesions. The color is the class; the first four letters identify the patient.

A table has the class of each image; images of a normal breast have an empty mask.
"""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByColor
from ultrasam.datasets.readers.paired_images import paired
from ultrasam.datasets.readers.tables import column, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="bus_uclm",
    name="BUS-UCLM",
    url="https://data.mendeley.com/datasets/7fvgj4jsp7/3",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("benign_breast_lesion", "malignant_breast_lesion"),
    kind="still",
    size="683 images of 38 patients (174 benign, 90 malignant, 419 normal)",
    layout="images/<PATI>_<i>.png, masks/<PATI>_<i>.png; INFO.csv",
    folders=("BUS-UCLM", "BUS-UCLM Breast ultrasound lesion segmentation dataset"),
    download=Download("mendeley", "7fvgj4jsp7/3"),
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
    note="37 images show Doppler signals. Normal images are kept, without objects. HESN_002 to HESN_005 and "
    "HESN_009 have masks of another size than their image; how they lie on it is not known, so they are "
    "left out.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    label: dict[str, str] = {}
    for table, _ in tree.match(r"/INFO\.csv$"):
        try:
            rows = read_table(table)
            pairs = zip(column(rows, table, "Image"), column(rows, table, "Label"), strict=True)
            label |= {name.casefold(): value.casefold() for name, value in pairs if value}
        except DataError as error:
            report.skip(table, str(error), what="file")
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/images/(?P<stem>(?P<subject>[^/_]+)_[^/]+)\.png$",
        mask=r"/masks/(?P<stem>[^/_]+_[^/]+)\.png$",
        labels=ByColor(
            {(0, 255, 0): "benign_breast_lesion", (255, 0, 0): "malignant_breast_lesion"}
        ),
        describe=lambda g: {"class_label": label.get(f"{g['stem']}.png".casefold())},
    )


DATASET = DatasetSpec(INFO, _cases, version=2)
