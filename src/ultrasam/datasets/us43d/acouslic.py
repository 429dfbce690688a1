"""ACOUSLIC-AI: fetal abdomen in blind sweeps of 840 frames. A table maps sweeps to subjects."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.tables import column, read_table
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="acouslic",
    name="ACOUSLIC-AI",
    url="https://zenodo.org/records/12697994",
    access="open",
    license="CC BY-NC-SA 4.0",
    organ="fetal abdomen",
    structures=("abdomen",),
    kind="cine",
    size="300 sweeps of 840 frames; 6,620 frames with a mask (OpenUS)",
    layout="images/**/<stem>.mha with masks/**/<stem>.mha",
    folders=("acouslic-ai-train-set", "ACOUSLIC-AI"),
    download=Download("zenodo", "12697994"),
    citation=bibtex(
        "article",
        "sappia2025",
        author="Sappia, M. Sofia and de Korte, Chris L. and van Ginneken, Bram and others",
        title="ACOUSLIC-AI challenge report: fetal abdominal circumference measurement on blind-sweep "
        "ultrasound data from low-income countries",
        journal="Medical Image Analysis",
        year=2025,
    ),
    note="Use version 1.1: the abdominal circumferences of version 1.0 are twice too large. They are not "
    "read.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    subjects: dict[str, str] = {}
    for table, _ in tree.match(r"\.csv$"):
        try:
            rows = read_table(table)
            subjects |= dict(
                zip(
                    column(rows, table, "uuid"),
                    column(rows, table, "subject_id", "subject"),
                    strict=True,
                )
            )
        except DataError as error:
            report.skip(table, str(error), what="file")
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/images/(.+/)?(?P<stem>[^/]+)\.mha$",
        label=r"/masks/(.+/)?(?P<stem>[^/]+)\.mha$",
        options=VolumeOptions({-1: "abdomen"}),
        describe=lambda g: {"subject": subjects.get(g["stem"], g["stem"]), "study": g["stem"]},
    )


DATASET = DatasetSpec(INFO, _cases)
