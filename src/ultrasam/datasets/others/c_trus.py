"""C-TRUS: the colon wall, with JPEG files as masks. A table gives the patient."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired
from ultrasam.datasets.readers.tables import column, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="c_trus",
    name="C-TRUS",
    url="https://github.com/wwu-mmll/c-trus",
    access="open",
    license="not stated",
    organ="colon",
    structures=("colon_wall",),
    kind="still",
    size="827 images of 13 patients",
    download=Download("github", "wwu-mmll/c-trus"),
    note="Masks are JPEG files: their edges hold gray values, of which those from 128 on are the wall. "
    "Images without a colon wall are included; their masks are empty.",
    citation=bibtex(
        "inproceedings",
        "ctrus",
        title="C-TRUS: A Novel Dataset and Initial Benchmark for Colon Wall Segmentation in "
        "Transabdominal Ultrasound",
        booktitle="Advances in Simplifying Medical Ultrasound (ASMUS)",
        year=2024,
        doi="10.1007/978-3-031-73647-6_10",
    ),
    layout="original/<id>.jpg, labels/<id>.jpg, c-trus.csv",
    folders=("c-trus", "c-trus-main", "c-trus-master"),
    part_of_paper=False,
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    patient: dict[str, str] = {}
    for table, _ in tree.match(r"/c-trus\.csv$"):
        try:
            rows = read_table(table)
            pairs = zip(column(rows, table, "file"), column(rows, table, "patient"), strict=True)
            patient |= {name.casefold(): value for name, value in pairs if value}
        except DataError as error:
            report.skip(table, str(error), what="file")
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/original/(?P<stem>[^/]+)\.jpg$",
        mask=r"/labels/(?P<stem>[^/]+)\.jpg$",
        labels=Threshold("colon_wall", 128),
        describe=lambda g: {"subject": patient.get(f"{g['stem']}.jpg".casefold())},
    )


DATASET = DatasetSpec(INFO, _cases)
