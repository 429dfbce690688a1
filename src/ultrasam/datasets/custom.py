"""Custom data sets: image and mask folders, and COCO, LabelMe and VIA annotation files."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.annotation_files import coco_at, coco_file, custom_info, via_files
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.labelme_files import labelme_files
from ultrasam.datasets.layout import detect_layout
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import MaskOptions, paired

__all__ = (
    "coco_at",
    "coco_file",
    "detect_layout",
    "image_mask_folder",
    "labelme_files",
    "via_files",
)

_IMAGE_FILE = r"\.(png|jpe?g|bmp|tiff?)$"


def image_mask_folder(
    name: str, *, structure: str | None = None, min_value: int = 128
) -> DatasetSpec:
    """Images in ``images/<stem>.*`` with masks in ``masks/<stem>.*`` or ``masks/<structure>/<stem>.*``.

    Args:
        name: id of the data set.
        structure: the structure that the masks show, unless a subfolder names it; defaults to ``name``.
        min_value: mask pixels of at least this gray value belong to the structure. A mask of zeros and
            ones is scaled to 0 and 255 first.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return paired(
            name,
            tree,
            report,
            image=r"/images?/(?P<stem>[^/]+)" + _IMAGE_FILE,
            mask=r"/(masks?|labels?)/((?P<structure>[^/]+)/)?(?P<stem>[^/]+)" + _IMAGE_FILE,
            labels=lambda g: Threshold(g.get("structure") or structure or name, min_value),
            options=MaskOptions(resize=True),
        )

    layout = "images/<stem>.* with masks/<stem>.* or masks/<structure>/<stem>.*"
    return DatasetSpec(custom_info(name, layout), cases)
