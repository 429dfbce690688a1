"""Detect how a custom data set is annotated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultrasam.datasets.image_mask_folder import has_masks, mask_pairs
from ultrasam.datasets.readers.coco import is_coco
from ultrasam.datasets.readers.cvat import is_cvat
from ultrasam.datasets.readers.labelme import is_labelme
from ultrasam.datasets.readers.labelstudio import is_labelstudio
from ultrasam.datasets.readers.other_formats import other_file, other_json
from ultrasam.datasets.readers.via import is_via
from ultrasam.datasets.readers.xml_trees import xml_root
from ultrasam.errors import DataError
from ultrasam.text import decode_text


def detect_layout(folder: Path) -> str:
    """The id of a custom data set's layout: image_mask_folder, coco, labelme, via, labelstudio or cvat.

    Raises:
        DataError: The folder does not exist, or its layout is not supported.
    """
    if not folder.is_dir():
        raise DataError(f"Folder {folder} does not exist.")
    pair_of_folders = (folder / "images").is_dir() and (folder / "masks").is_dir()
    pairs = mask_pairs(folder)
    if pair_of_folders or any(image.parent != mask.parent for image, mask in pairs):
        return "image_mask_folder"
    found = []
    for path, content in _json_files(folder):
        if is_coco(content):
            return "coco"
        if is_labelme(content):
            return "labelme"
        if is_via(content):
            return "via"
        if is_labelstudio(content):
            return "labelstudio"
        if (what := other_json(content)) is not None:
            found.append(f"{path.relative_to(folder)} is {what}")
    tables = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".xml", ".csv") and path.is_file()
    ]
    if any(_is_cvat(path) for path in tables):
        return "cvat"
    if pairs or has_masks(folder):
        return "image_mask_folder"
    for path in tables:
        if (what := other_file(path.name, path.read_bytes())) is not None:
            found.append(f"{path.relative_to(folder)} is {what}")
    if found:
        raise DataError(f"Unsupported layout in {folder}: {found[0]}.")
    raise DataError(
        f"Unsupported layout in {folder}. Use images/ with masks/, or files of COCO, CVAT, Label Studio, "
        "LabelMe or VIA (see docs/data.md)."
    )


def _is_cvat(path: Path) -> bool:
    try:
        return path.suffix.lower() == ".xml" and is_cvat(xml_root(path.read_bytes(), path.name))
    except (DataError, OSError):
        return False


def _json_files(folder: Path) -> Iterator[tuple[Path, Any]]:
    """The JSON files in a folder that can be read, with their contents."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".json" and path.is_file():
            try:
                yield path, json.loads(decode_text(path.read_bytes()))
            except (OSError, ValueError, RecursionError):
                continue
