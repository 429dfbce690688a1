"""BUID: breast nodules, as BMP images with TIFF masks. The folder is the class."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="buid",
    name="BUID",
    url="https://qamebi.com/breast-ultrasound-images-database/",
    access="open",
    organ="breast",
    structures=("breast_nodule",),
    kind="still",
    size="232 images (109 benign, 123 malignant)",
    layout="Benign.zip, Malignant.zip: <class>/<i> … Image.bmp and <i> … Mask.tif",
    folders=("BUID", "QAMEBI"),
    citation=bibtex(
        "article",
        "ardakani2023",
        author="Ardakani, Ali Abbasian and Mohammadi, Afshin and Mirza-Aghazadeh-Attari, Mohammad and "
        "Acharya, U. Rajendra",
        title="An open-access breast lesion ultrasound image database: applicable in artificial "
        "intelligence studies",
        journal="Computers in Biology and Medicine",
        volume=152,
        pages=106438,
        year=2023,
    ),
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<class_label>benign|malignant)/(.+/)?(?P<number>\d+)[ _][^/]*image\.bmp$",
        mask=r"/(?P<class_label>benign|malignant)/(.+/)?(?P<number>\d+)[ _][^/]*mask\.tiff?$",
        labels=Threshold("breast_nodule", 150),
    )


DATASET = DatasetSpec(INFO, _cases)
