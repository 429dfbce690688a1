"""CAMUS: the heart in two views, half a cycle each, as a volume of frames; one folder per patient.

Two folders have the same frames and count as one subject.
"""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.paired_images import clear_black, key_of
from ultrasam.datasets.readers.tables import number
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes
from ultrasam.text import decode_text

INFO = DatasetInfo(
    id="camus",
    name="CAMUS",
    url="https://humanheart-project.creatis.insa-lyon.fr/database/",
    access="open",
    license="CC BY-NC-SA 4.0",
    organ="heart",
    structures=("endocardium", "epicardium", "atrium_wall"),
    kind="cine",
    size="500 patients, 2 views, about 20 frames each; 19,232 images after conversion (OpenUS)",
    layout="patient<NNNN>/patient<NNNN>_<2CH|4CH>_half_sequence.nii.gz and …_half_sequence_gt.nii.gz; "
    "subgroup_<training|validation|testing>.txt",
    folders=("CAMUS", "CAMUS_public"),
    generic_folders=("database_nifti",),
    citation=bibtex(
        "article",
        "leclerc2019",
        author="Leclerc, Sarah and Smistad, Erik and Pedrosa, João and others",
        title="Deep learning for segmentation using an open large-scale dataset in 2D echocardiography",
        journal="IEEE Transactions on Medical Imaging",
        volume=38,
        number=9,
        year=2019,
    ),
    note="Some mirrors require registration. Patients 33 and 68 have the same frames and count as one "
    "subject.",
)

_SAME_SUBJECT = {"patient0068": "patient0033"}
_MEASURED = {
    "ef": "ejection_fraction_percent",
    "lvef": "ejection_fraction_percent",
    "lvedv": "end_diastolic_volume_ml",
    "lvesv": "end_systolic_volume_ml",
}
_SUBGROUPS = {"training": "train", "validation": "val", "testing": "test"}


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    split: dict[str, str] = {}
    for entry, groups in tree.match(r"/subgroup_(?P<part>training|validation|testing)\.txt$"):
        for patient in entry.read().decode("utf-8", errors="replace").split():
            split[patient.casefold()] = _SUBGROUPS[groups["part"].casefold()]
    measured: dict[tuple[str, ...], dict[str, float]] = {}
    for entry, groups in tree.match(r"/(?P<subject>patient\d+)/Info_(?P<study>2CH|4CH)\.cfg$"):
        measured[key_of(groups, ["study", "subject"])] = _measurements(entry)
    for entry, _ in tree.match(r"_(ED|ES)(_gt)?\.nii(\.gz)?$"):
        report.skip(entry, "copy of a frame in the half sequence")
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/(?P<subject>patient\d+)_(?P<study>2CH|4CH)_half_sequence\.nii(\.gz)?$",
        label=r"/(?P<subject>patient\d+)_(?P<study>2CH|4CH)_half_sequence_gt\.nii(\.gz)?$",
        options=VolumeOptions(
            {1: "endocardium", 2: "epicardium", 3: "atrium_wall"}, clean=clear_black
        ),
        describe=lambda g: {
            "subject": _SAME_SUBJECT.get(g["subject"].casefold(), g["subject"]),
            "split": split.get(g["subject"].casefold()),
        },
        measurements=lambda g: measured.get(key_of(g, ["study", "subject"]), {}),
    )


def _measurements(entry: FileEntry) -> dict[str, float]:
    """The numbers in a patient's lines ``name: value``; the names differ between the two releases."""
    found = {}
    for line in decode_text(entry.read()).splitlines():
        name, _, text = line.partition(":")
        value = number(text.strip())
        if name.strip().casefold() in _MEASURED and value is not None and value > 0:
            found[_MEASURED[name.strip().casefold()]] = value
    return found


DATASET = DatasetSpec(INFO, _cases, version=2)
