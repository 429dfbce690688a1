"""Fast-U-Net: the fetal head and abdomen, in RAR archives. Specks in the masks are removed."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold, opened
from ultrasam.datasets.readers.paired_images import MaskOptions, paired
from ultrasam.images.masks import BoolMask, largest_component
from ultrasam.images.pixels import Frame

INFO = DatasetInfo(
    id="fast_u_net",
    name="Fast-U-Net",
    url="https://github.com/vahidashkani/Fast-U-Net",
    access="open",
    organ="fetus",
    structures=("abdominal_or_head_circumference",),
    kind="still",
    size="1,411 images after conversion (OpenUS)",
    layout="Dataset/AC/AC_image1.rar, AC_image2.rar, AC_mask.rar; Dataset/HC/HC_image1.rar to "
    "HC_image3.rar, HC_mask.rar",
    folders=("Fast-U-Net", "Fast-U-Net-main"),
    download=Download("github", "vahidashkani/Fast-U-Net"),
    citation=bibtex(
        "article",
        "ashkani2022",
        author="Ashkani Chenarlogh, Vahid and Ghelich Oghli, Mostafa and Shabanzadeh, Ali and others",
        title="Fast and accurate U-Net model for fetal ultrasound image segmentation",
        journal="Ultrasonic Imaging",
        volume=44,
        number=1,
        year=2022,
    ),
    note="The images of heads have the names of HC18, and may be of it: never evaluate on one after training "
    "on the other.",
    overlaps=("hc18",),
)


def _one_piece(mask: BoolMask, pixels: Frame) -> BoolMask:
    return largest_component(opened(mask, 12))


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    # Heads are paired by the first two parts of the file name, abdomens by all of it.
    stems = {"AC": r"(?P<stem>[^/]+)\.\w+$", "HC": r"(?P<stem>[^/_.]+_[^/_.]+)[^/]*\.\w+$"}
    for part, stem in stems.items():
        yield from paired(
            INFO.id,
            tree,
            report,
            image=rf"/(?P<part>{part})_image\d*(\.rar)?/(.+/)?" + stem,
            mask=rf"/(?P<part>{part})_mask\d*(\.rar)?/(.+/)?" + stem,
            labels=Threshold("abdominal_or_head_circumference", 255),
            options=MaskOptions(skip_empty=True, clean=_one_piece),
        )


DATASET = DatasetSpec(INFO, _cases)
