"""regPro: the prostate and landmarks, one label channel each. Volumes are sliced along the last axis."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.volumes import VolumeOptions, paired_volumes

INFO = DatasetInfo(
    id="mu_reg_pro",
    name="regPro",
    url="https://muregpro.github.io/data.html",
    access="open",
    organ="prostate",
    structures=("prostate", "landmark"),
    kind="volume",
    size="108 patients; 4,706 images after conversion (OpenUS)",
    layout="train.zip, val.zip: us_images/case<NNNNNN>.nii.gz, us_labels/case<NNNNNN>.nii.gz",
    folders=("regPro", "muRegPro", "mu_reg_pro"),
    citation=bibtex(
        "misc",
        "baum2023",
        author="Baum, Zachary M. C. and Saeed, Shaheer U. and Min, Zhe and Hu, Yipeng and "
        "Barratt, Dean C.",
        title="MR to ultrasound registration for prostate challenge: dataset",
        publisher="Zenodo",
        doi="10.5281/zenodo.7870105",
        year=2023,
    ),
    overlaps=("mu_reg_pro_holdout",),
)


def _name(channel: int) -> str:
    return "landmark" if channel else "prostate"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    for entry, _ in tree.match(r"/mr_(images|labels)/"):
        report.skip(entry, "MR image, not ultrasound")
    return paired_volumes(
        INFO.id,
        tree,
        report,
        image=r"^(.*/(?P<split>train|val)(\.zip)?/(.+/)?|.*/)us_images/(?P<subject>case\d+)\.nii(\.gz)?$",
        label=r"/us_labels/(?P<subject>case\d+)\.nii(\.gz)?$",
        options=VolumeOptions({}, name_of_channel=_name, slice_axis=2, rotate_180=True),
    )


DATASET = DatasetSpec(INFO, _cases)
