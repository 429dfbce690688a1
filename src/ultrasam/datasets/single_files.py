"""One annotation file given in place of a folder: a COCO or Label Studio JSON file, or a CVAT XML file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ultrasam.datasets.annotation_files import IMAGE_FILE, coco_file, cvat_files, labelstudio_files
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.readers.image_finder import is_annotation_folder
from ultrasam.datasets.readers.labelstudio import is_labelstudio
from ultrasam.text import decode_text

_SPECS = {"coco": coco_file, "cvat": cvat_files, "labelstudio": labelstudio_files}


def is_annotation_file(path: Path) -> bool:
    """Whether a path is a JSON or XML file."""
    return path.suffix.lower() in (".json", ".xml") and path.is_file()


def layout_of_file(path: Path) -> str:
    """The layout of an annotation file: cvat for XML, labelstudio or coco for JSON; its reader checks it."""
    if path.suffix.lower() == ".xml":
        return "cvat"
    try:
        return (
            "labelstudio" if is_labelstudio(json.loads(decode_text(path.read_bytes()))) else "coco"
        )
    except (OSError, ValueError, RecursionError):
        return "coco"


def annotations_at(path: Path) -> tuple[DatasetSpec, Path]:
    """The data set of an annotation file, and its folder: the parent of one such as ``annotations/``."""
    root = path.parent
    if is_annotation_folder(root.name) and not _has_images(root):
        root = root.parent
    file = path.relative_to(root).as_posix()
    return _SPECS[layout_of_file(path)](path.stem, file), root


def _has_images(folder: Path) -> bool:
    return any(re.search(IMAGE_FILE, path.name, re.IGNORECASE) for path in folder.rglob("*"))
