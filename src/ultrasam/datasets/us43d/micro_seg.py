"""MicroSeg: the prostate in micro-ultrasound volumes, rotated by 180 degrees, numbered anew in each split."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.paired_images import clear_black
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes

INFO = DatasetInfo(
    id="micro_seg",
    name="MicroSeg",
    url="https://zenodo.org/records/10475293",
    access="open",
    license="CC BY 4.0",
    organ="prostate",
    structures=("prostate",),
    kind="volume",
    size="75 patients; 1,931 images after conversion (OpenUS)",
    layout="Micro_Ultrasound_Prostate_Segmentation_Dataset.zip: <train|test>/micro_ultrasound_scans/"
    "microUS_<split>_<NN>.nii.gz, expert_annotations/expert_annotation_<split>_<NN>.nii.gz",
    folders=("MicroSeg", "Micro_Ultrasound_Prostate_Segmentation_Dataset"),
    download=Download("zenodo", "10475293"),
    citation=bibtex(
        "article",
        "jiang2024",
        author="Jiang, Hongxu and Imran, Muhammad and Muralidharan, Preethika and others",
        title="MicroSegNet: A deep learning approach for prostate segmentation on micro-ultrasound images",
        journal="Computerized Medical Imaging and Graphics",
        volume=112,
        pages=102326,
        year=2024,
    ),
    note="Same 75 patients as MUP.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    for entry, _ in tree.match(r"/non_expert_annotations?/"):
        report.skip(entry, "annotation by a non-expert", what="annotation")
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"/micro_ultrasound_scans/microUS_(?P<part>train|test)_(?P<nn>\d+)\.nii(\.gz)?$",
        label=r"/expert_annotations/expert_annotation_(?P<part>train|test)_(?P<nn>\d+)\.nii(\.gz)?$",
        options=VolumeOptions({1: "prostate"}, clean=clear_black, rotate_180=True),
        describe=lambda g: {
            "subject": f"{g['part'].casefold()}_{g['nn']}",
            "split": "test" if g["part"].casefold() == "test" else "trainval",
        },
    )


DATASET = DatasetSpec(INFO, _cases)
