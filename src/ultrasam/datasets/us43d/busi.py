"""BUSI: breast lesions, one mask per lesion. The folder is the class."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import paired

INFO = DatasetInfo(
    id="busi",
    name="BUSI",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("breast_nodule",),
    kind="still",
    size="780 images of 600 patients",
    layout="Dataset_BUSI_with_GT/<benign|malignant|normal>/<class> (<i>).png, '…_mask.png', '…_mask_1.png'",
    folders=("Dataset_BUSI_with_GT", "Dataset_BUSI", "BUSI"),
    download=Download(
        "direct", "https://ssd.mathworks.com/supportfiles/image/data/Dataset_BUSI.zip"
    ),
    citation=bibtex(
        "article",
        "aldhabyani2020",
        author="Al-Dhabyani, Walid and Gomaa, Mohammed and Khaled, Hussien and Fahmy, Aly",
        title="Dataset of breast ultrasound images",
        journal="Data in Brief",
        volume=28,
        pages=104863,
        year=2020,
    ),
    note="An audit found 155 duplicates, 70 images of the axilla or of no breast, and at least 19 doubtful "
    "labels. In a store, images that look alike stay in one split. Normal images have empty masks; they "
    "are kept, without objects, for classification. The license is that of the article; the data page "
    "states none, and refuses downloads (HTTP 403): 'ultrasam data fetch' uses the mirror of MathWorks.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<class_label>benign|malignant|normal)/(?P<stem>[^/]+\))\.png$",
        mask=r"/(?P<class_label>benign|malignant|normal)/(?P<stem>[^/]+\))_mask(_\d+)?\.png$",
        labels=Threshold("breast_nodule", 150),
    )


DATASET = DatasetSpec(INFO, _cases)
