"""LUMINOUS: the lumbar multifidus, one mask per muscle. The first number of a name is the person."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold, require_binary
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

INFO = DatasetInfo(
    id="luminous",
    name="LUMINOUS",
    url="http://data.sonography.ai",
    access="open",
    organ="muscle (lumbar multifidus)",
    structures=("multifidus",),
    kind="still",
    size="341 images of 109 people",
    citation=bibtex(
        "article",
        "luminous",
        author="Belasso, Clyde J. and Behboodi, Bahareh and Benali, Habib and Boily, Mathieu and Rivaz, "
        "Hassan and Fortin, Maryse",
        title="LUMINOUS database: lumbar multifidus muscle segmentation from ultrasound images",
        journal="BMC Musculoskeletal Disorders",
        volume=21,
        pages=703,
        year=2020,
        doi="10.1186/s12891-020-03679-3",
    ),
    layout="LUMINOUS_Database/B-mode/<subject>_<k>_Bmode.tif, Masks/<subject>_<k>_Mask[1|2].tif",
    folders=("LUMINOUS", "LUMINOUS_Database"),
    note="The layout is that of two programs that read the data set; it was not verified on the original "
    "files, so masks that are not binary are refused.",
    part_of_paper=False,
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/B-mode/(?P<stem>(?P<subject>\d+)_\d+)_Bmode\.tiff?$",
        mask=r"/Masks/(?P<stem>\d+_\d+)_Mask\d*\.tiff?$",
        labels=Threshold("multifidus"),
        options=MaskOptions(fit=require_binary),
    )


DATASET = DatasetSpec(INFO, _cases)
