"""AUL: the liver and its masses, as one JSON list of points per structure. The top folder is the class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    MISSING_IMAGE,
    MISSING_MASK,
    OPTIONAL_STRUCTURE,
    DatasetInfo,
    DatasetSpec,
    Download,
    bibtex,
)
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.polygons import read_polygon_lists

INFO = DatasetInfo(
    id="aul",
    name="AUL",
    url="https://zenodo.org/records/7272660",
    access="open",
    license="CC BY 4.0",
    organ="liver",
    structures=("liver", "mass"),
    optional_structures=("outline",),
    kind="still",
    size="735 images (435 malignant, 200 benign, 100 normal)",
    layout="Benign.zip, Malignant.zip, Normal.zip: <class>/<class>/image/<i>.jpg, "
    "<class>/<class>/segmentation/<liver|mass|outline>/<i>.json",
    generic_folders=("AUL",),
    folders=("7272660", "Annotated ultrasound liver images"),
    download=Download("zenodo", "7272660"),
    citation=bibtex(
        "article",
        "xu2023",
        author="Xu, Yiming and Zheng, Bowen and Liu, Xiaohong and others",
        title="Improving artificial intelligence pipeline for liver malignancy diagnosis using ultrasound "
        "images and video frames",
        journal="Briefings in Bioinformatics",
        volume=24,
        number=1,
        year=2023,
    ),
    note="The optional structure 'outline' is the scanned area, not an object.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    outlines: dict[tuple[str, str], list[tuple[FileEntry, str]]] = defaultdict(list)
    for entry, groups in tree.match(
        r"/(?P<label>benign|malignant|normal)/segmentation/"
        r"(?P<structure>liver|mass|outline)/(?P<stem>[^/]+)\.json$"
    ):
        structure = groups["structure"].casefold()
        if structure == "outline" and structure not in tree.include:
            report.skip(entry, OPTIONAL_STRUCTURE, what="file")
            continue
        outlines[groups["label"].casefold(), groups["stem"].casefold()].append((entry, structure))
    images = tree.match(r"/(?P<label>benign|malignant|normal)/image/(?P<stem>[^/]+)\.(jpe?g|png)$")
    for image, groups in images:
        key = groups["label"].casefold(), groups["stem"].casefold()
        outlines_of_image = tuple(outlines.pop(key, ()))
        if not outlines_of_image:
            report.skip(image, MISSING_MASK)
            continue
        yield Case(
            INFO.id,
            "/".join(key),
            (image, *(entry for entry, _ in outlines_of_image)),
            partial(read_polygon_lists, image, outlines_of_image),
            class_label=key[0],
        )
    for unpaired in outlines.values():
        for entry, _ in unpaired:
            report.skip(entry, MISSING_IMAGE, what="file")


DATASET = DatasetSpec(INFO, _cases, version=2)
