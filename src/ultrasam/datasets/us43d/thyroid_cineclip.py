"""Thyroid US Cineclip: thyroid nodules in every frame of 192 clips, in one HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.arrays import hdf5_clips
from ultrasam.datasets.readers.tables import column, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="thyroid_cineclip",
    name="Thyroid US Cineclip",
    url="https://stanfordaimi.azurewebsites.net/datasets/a72f2b02-7b53-4c5d-963c-d7253220bfd5",
    access="registration",
    license="Stanford research use agreement",
    organ="thyroid",
    structures=("thyroid_nodule",),
    kind="cine",
    size="17,412 frames of 192 nodules, 167 patients",
    layout="dataset.hdf5 (image, mask, annot_id, frame_num) and metadata.csv",
    folders=("Thyroid US Cineclip", "thyroidultrasoundcineclip", "thyroid_cineclip"),
    citation=bibtex(
        "article",
        "yamashita2022",
        author="Yamashita, Rikiya and Kapoor, Tara and Alam, Md Nabil and others",
        title="Toward reduction in false-positive thyroid nodule biopsies with a deep learning-based risk "
        "stratification system using US cine-clip images",
        journal="Radiology: Artificial Intelligence",
        volume=4,
        number=3,
        year=2022,
    ),
    note="If metadata.csv has no patient column, the part of annot_id before the underscore identifies the "
    "patient, which was not verified on the original files.",
)

_PATIENT_COLUMNS = ("patient_id", "patient", "subject_id", "subject", "pid", "anon_mrn", "mrn")


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    subjects: dict[str, str] = {}
    table = tree.first(r"/metadata\.csv$")
    if table is not None:
        try:
            rows = read_table(table)
            ids = column(rows, table, "annot_id")
            subjects = dict(zip(ids, (i.split("_")[0] for i in ids), strict=True))
            subjects = dict(zip(ids, column(rows, table, *_PATIENT_COLUMNS), strict=True))
        except DataError as error:
            if not subjects:
                report.skip(table, str(error), what="file")
    for entry, _ in tree.match(r"\.(hdf5|h5)$"):
        yield from hdf5_clips(
            INFO.id,
            entry,
            report,
            structure="thyroid_nodule",
            subject=lambda clip: subjects.get(clip, clip.split("_")[0]),
        )


DATASET = DatasetSpec(INFO, _cases)
