"""BUSI_WHU: breast tumors. Masks lie beside the images, in `gt` with '_anno' in their names, or in `mask`.

The patient is in the name only where it is a number: '00012-2' is the second image of '00012'.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold, require_binary
from ultrasam.datasets.readers.paired_images import MaskOptions, paired
from ultrasam.datasets.split_names import split_of

INFO = DatasetInfo(
    id="busi_whu",
    name="BUSI_WHU",
    url="https://data.mendeley.com/datasets/k6cpmwybk3/3",
    access="open",
    license="CC BY 4.0",
    organ="breast",
    structures=("breast_tumor",),
    kind="still",
    size="927 images of 816 patients (560 benign, 367 malignant)",
    layout="[train|val|test/]img/<i>.bmp with gt/<i>_anno.bmp or mask/<i>.bmp; images/ and masks/ also",
    folders=("BUSI_WHU", "BUSI-WHU"),
    download=Download("mendeley", "k6cpmwybk3/3"),
    citation=bibtex(
        "article",
        "huang2025",
        author="Huang, Jin and Mao, Yazhao and Deng, Jingwen and others",
        title="EMGANet: Edge-aware multi-scale group-mix attention network for breast cancer ultrasound "
        "image segmentation",
        journal="IEEE Journal of Biomedical and Health Informatics",
        doi="10.1109/JBHI.2025.3546345",
        year=2025,
    ),
    note="The layout is that of programs that read the data set; it was not verified on the original files, "
    "so images and masks that do not fit are left out. Images whose numbered names differ only in the "
    "number after a hyphen are taken to be of one patient.",
    part_of_paper=False,
)

_SPLIT = r"(/(?P<split>train|val|valid|validation|test))?"


def _describe(groups: dict[str, str]) -> dict[str, str | None]:
    stem = groups["stem"].casefold()
    number = re.fullmatch(r"(\d+)(-\d+)?", stem)
    kind = re.match(r"(benign|malignant)[ _-]", stem)
    return {
        "split": split_of(groups.get("split")),
        "subject": number[1] if number else None,
        "class_label": kind[1] if kind else None,
    }


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=_SPLIT + r"/(img|images)/(?P<stem>[^/]+)\.(bmp|png)$",
        mask=_SPLIT + r"/(gt|mask|masks)/(?P<stem>[^/]+?)(_anno)?\.(bmp|png)$",
        labels=Threshold("breast_tumor"),
        options=MaskOptions(fit=require_binary),
        describe=_describe,
    )


DATASET = DatasetSpec(INFO, _cases)
