"""Custom data sets: image and mask folders, and the annotation files of several tools."""

from ultrasam.datasets.annotation_files import (
    coco_file,
    cvat_files,
    labelstudio_files,
    via_files,
)
from ultrasam.datasets.image_mask_folder import image_mask_folder
from ultrasam.datasets.labelme_files import labelme_files
from ultrasam.datasets.layout import detect_layout
from ultrasam.datasets.single_files import annotations_at, is_annotation_file, layout_of_file

__all__ = (
    "annotations_at",
    "coco_file",
    "cvat_files",
    "detect_layout",
    "image_mask_folder",
    "is_annotation_file",
    "labelme_files",
    "labelstudio_files",
    "layout_of_file",
    "via_files",
)
