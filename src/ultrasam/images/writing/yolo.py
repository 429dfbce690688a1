"""Write masks as YOLO's segmentation labels: a text file per frame, a line per part of an object.

A line holds the number of the category and an outline in fractions of the frame's width and height. YOLO
knows no holes: they are filled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ultrasam.files import atomic_write
from ultrasam.images.masks import BoolMask
from ultrasam.images.writing.outlines import outlines
from ultrasam.images.writing.segmentation import Segmentation


def yolo_lines(category: int, mask: BoolMask) -> Iterator[str]:
    """The lines of one object, mask [H, W]."""
    height, width = mask.shape
    for outline in outlines(mask):
        points = " ".join(f"{v:.6f}" for v in (outline / (width, height)).ravel())
        yield f"{category} {points}"


def write_yolo(
    folder: Path, names: Sequence[str], result: Segmentation, categories: Sequence[str]
) -> list[Path]:
    """Write ``labels/<name>.txt`` for each frame that has an entry, empty for one without objects.

    Args:
        folder: where to.
        names: of each frame of the scan, as its picture is called without suffix.
        result: the masks.
        categories: the categories of the whole run, in the order of their numbers.

    Raises:
        UltraSamError: A file cannot be written.
    """
    written = []
    for frame in result.masks.frames:
        lines = [
            line
            for number, mask in enumerate(result.masks.masks(frame))
            for line in yolo_lines(categories.index(result.categories[number]), mask)
        ]
        written.append(folder / "labels" / f"{names[frame]}.txt")
        atomic_write(written[-1], "".join(f"{line}\n" for line in lines))
    return written


def yolo_names(names: Sequence[str]) -> str:
    """The key ``names`` of a data.yaml, which says what each category's number means."""
    lines = [f"  {number}: {json.dumps(name)}" for number, name in enumerate(names)]
    return "\n".join(["names:", *lines, ""])
