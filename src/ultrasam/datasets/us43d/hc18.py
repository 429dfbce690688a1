"""HC18: the fetal head, annotated as the outline of an ellipse.

A table gives the pixel size and the head circumference in mm.
"""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case, Spacing
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import FilledOutline
from ultrasam.datasets.readers.paired_images import paired
from ultrasam.datasets.readers.tables import column, number, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="hc18",
    name="HC (HC18)",
    url="https://hc18.grand-challenge.org/",
    access="open",
    license="CC BY 4.0",
    organ="fetal head",
    structures=("fetal_head",),
    kind="still",
    size="999 annotated images; 335 test images without annotation",
    layout="training_set/<NNN>[_k]HC.png and <…>HC_Annotation.png, training_set_pixel_size_and_HC.csv",
    folders=("HC18",),
    generic_folders=("training_set",),
    download=Download("zenodo", "1327317"),
    citation=bibtex(
        "article",
        "vandenheuvel2018",
        author="van den Heuvel, Thomas L. A. and de Bruijn, Dagmar and de Korte, Chris L. and "
        "van Ginneken, Bram",
        title="Automated measurement of fetal head circumference using 2D ultrasound images",
        journal="PLoS ONE",
        volume=13,
        number=8,
        pages="e0200412",
        year=2018,
    ),
    note="Zenodo record 1327317 supersedes 1322001. The head circumferences are those of its table.",
)

_CIRCUMFERENCE = "head circumference (mm)"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    spacing: dict[str, Spacing] = {}
    measurements: dict[str, dict[str, float]] = {}
    for table, _ in tree.match(r"/(training|test)_set_pixel_size[^/]*\.csv$"):
        rows = read_table(table)
        names = column(rows, table, "filename")
        for name, size in zip(names, column(rows, table, "pixel size(mm)"), strict=True):
            mm = number(size)
            if mm is None or mm <= 0:
                report.skip(f"{table.path} {name}", "invalid pixel size", what="annotation")
            else:
                spacing[name.casefold()] = (mm, mm)
        if not table.name.casefold().startswith("training"):
            continue  # the table of the test set has no circumferences
        try:
            circumferences = column(rows, table, _CIRCUMFERENCE)
        except DataError as error:
            report.skip(table, str(error), what="annotation")
            continue
        for name, size in zip(names, circumferences, strict=True):
            mm = number(size)
            if mm is None or mm <= 0:
                report.skip(f"{table.path} {name}", "invalid head circumference", what="annotation")
            else:
                measurements[name.casefold().removesuffix(".png")] = {"head_circumference_mm": mm}
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<stem>(?P<subject>\d{3})\w*HC)\.png$",
        mask=r"/(?P<stem>\d{3}\w*HC)_Annotation\.png$",
        labels=FilledOutline("fetal_head"),
        spacing=spacing,
        measurements=lambda groups: measurements.get(groups["stem"].casefold(), {}),
    )


DATASET = DatasetSpec(INFO, _cases, version=2)
