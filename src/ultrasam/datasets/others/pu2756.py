"""PU2756: peripheral lung tumors, one image per patient."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold, require_binary
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="pu2756",
    name="PU2756",
    url="https://doi.org/10.6084/m9.figshare.32672274",
    access="open",
    license="CC BY 4.0",
    organ="lung",
    structures=("lung_tumor",),
    kind="still",
    size="2,756 images of 2,756 patients",
    note="Peripheral tumors, one image per patient. The published five folds, in five_fold_split.xlsx, are "
    "not read. The layout is that of programs that read the data set; it was not verified on the original "
    "files.",
    citation=bibtex(
        "article",
        "pu2756",
        title="A Pulmonary Ultrasound Dataset for Tumor Segmentation and Classification",
        journal="Scientific Data",
        year=2026,
        doi="10.1038/s41597-026-07715-0",
    ),
    layout="images.zip: images/[<class>/]<patient>.png; masks.zip: masks/[<class>/]<patient>.png",
    folders=("PU2756",),
    part_of_paper=False,
)

_PATH = r"((?P<folder>[^/]+)/)?(?P<stem>[^/]+)\.png$"


def _describe(groups: dict[str, str]) -> dict[str, str | None]:
    folder = groups.get("folder", "").casefold()
    known = folder in ("benign", "malignant")
    return {"subject": groups["stem"], "class_label": folder if known else None}


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    for table, _ in tree.match(r"/five_fold_split\.xlsx$"):
        report.skip(table, "table of folds", what="file")
    return paired(
        INFO.id,
        tree,
        report,
        image="/images/" + _PATH,
        mask="/masks/" + _PATH,
        labels=Threshold("lung_tumor"),
        options=MaskOptions(fit=require_binary),
        describe=_describe,
    )


DATASET = DatasetSpec(INFO, _cases)
