"""BUS-BRA: breast nodules. Tables give pathology, patient and fold; the paper tests on fold 1."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import LabelRule, Threshold
from ultrasam.datasets.readers.paired_images import Groups, paired
from ultrasam.datasets.readers.tables import column, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="bus_bra",
    name="BUS-BRA",
    url="https://github.com/wgomezf/BUS-BRA",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("breast_nodule_benign", "breast_nodule_malignant"),
    kind="still",
    size="1875 images of 1064 patients",
    layout="BUSBRA/Images/bus_<i>-<side>.png, BUSBRA/Masks/mask_<i>-<side>.png, BUSBRA/5-fold-cv.csv, "
    "bus_data.csv",
    folders=("BUSBRA", "BUS-BRA"),
    download=Download("zenodo", "8231412"),
    citation=bibtex(
        "article",
        "gomezflores2024",
        author="Gómez-Flores, Wilfrido and Gregorio-Calas, Maria Julia and "
        "Coelho de Albuquerque Pereira, Wagner",
        title="BUS-BRA: A breast ultrasound dataset for assessing computer-aided diagnosis systems",
        journal="Medical Physics",
        volume=51,
        number=4,
        year=2024,
    ),
    note="Of the tables, only the fold (kFold) and the patient are read. The inner validation flags would "
    "split the views of some patients, and the box of bus_0845-s does not match its mask.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    table = tree.first(r"/5-fold-cv\.csv$")
    if table is None:
        raise DataError(
            "BUS-BRA: 5-fold-cv.csv (pathology and folds) is missing; add it to the folder."
        )
    rows = read_table(table)
    ids = [i.casefold() for i in column(rows, table, "ID")]
    pathology = dict(
        zip(ids, (p.casefold() for p in column(rows, table, "Pathology")), strict=True)
    )
    fold = dict(zip(ids, column(rows, table, "kFold"), strict=True))
    subject: dict[str, str] = {}
    patients = tree.first(r"/bus_data\.csv$")
    if patients is not None:
        rows = read_table(patients)
        case_of = zip(column(rows, patients, "ID"), column(rows, patients, "Case"), strict=True)
        subject = {i.casefold(): case for i, case in case_of}

    def rule(groups: Groups) -> LabelRule:
        kind = pathology.get(f"bus_{groups['stem']}".casefold(), "of_unknown_kind")
        return Threshold(f"breast_nodule_{kind}", 255)

    def describe(groups: dict[str, str]) -> dict[str, str | None]:
        name = f"bus_{groups['stem']}".casefold()
        fold_of_image = fold.get(name)
        split = None
        if fold_of_image is not None:
            split = "test" if float(fold_of_image) == 1 else "trainval"
        return {
            "subject": subject.get(name, groups["case"]),
            "split": split,
            "class_label": pathology.get(name),
        }

    yield from paired(
        INFO.id,
        tree,
        report,
        image=r"/images/bus_(?P<stem>(?P<case>\d+)-[^/]+)\.png$",
        mask=r"/masks/mask_(?P<stem>\d+-[^/]+)\.png$",
        labels=rule,
        describe=describe,
    )


DATASET = DatasetSpec(INFO, _cases)
