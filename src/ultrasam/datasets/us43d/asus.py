"""ASUS: the spine, as NumPy arrays of whole sweeps, rotated by 180 degrees."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.arrays import paired_arrays
from ultrasam.datasets.readers.paired_images import MaskOptions

INFO = DatasetInfo(
    id="asus",
    name="ASUS",
    url="https://pmc.ncbi.nlm.nih.gov/articles/PMC7654705/",
    access="open",
    organ="spine",
    structures=("spine",),
    kind="cine",
    size="2,865 images after conversion (OpenUS)",
    layout="DataArrays.zip: images '<n>_….npy' ([N, H, W, C] in 0-1), masks '<n>_…segmentation….npy'",
    folders=("ASUS",),
    generic_folders=("DataArrays", "DataArrays.zip"),
    citation=bibtex(
        "article",
        "ungi2020",
        author="Ungi, Tamas and Greer, Hastings and Sunderland, Kyle R. and others",
        title="Automatic spine ultrasound segmentation for scoliosis visualization and measurement",
        journal="IEEE Transactions on Biomedical Engineering",
        volume=67,
        number=11,
        year=2020,
    ),
    note="Hosted on a cloud drive linked from the article. Its source is https://github.com/SlicerIGT/aigt.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired_arrays(
        INFO.id,
        tree,
        report,
        image=r"/(?P<number>\d+)_(?![^/]*segmentation)[^/]*\.npy$",
        mask=r"/(?P<number>\d+)_[^/]*segmentation[^/]*\.npy$",
        structure="spine",
        options=MaskOptions(rotate_180=True, skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
