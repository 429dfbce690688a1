"""Write masks as a COCO results file: a list with an entry for each object in each frame.

COCO knows single images: an image is one frame here, ``image_id`` counts the frames from 1, and ``frame`` and
``object`` say which they are, from 0. `ultrasam.images.mask_reading` reads the file back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultrasam.files import write_json
from ultrasam.images.masks import coco_result
from ultrasam.images.writing.segmentation import Segmentation


def coco_entries(result: Segmentation) -> list[dict[str, Any]]:
    """An entry for each object in each frame that has one, also where its mask is empty."""
    names = list(dict.fromkeys(result.categories))
    return [
        coco_result(
            mask,
            image_id=frame + 1,
            score=float(result.facts(frame, number).get("predicted_iou", 1.0)),
            category_id=names.index(result.categories[number]) + 1,
            extra={
                "file_name": str(result.scan.source or ""), "frame": frame, "object": number,
                "name": result.masks.names[number], "category": result.categories[number],
                **result.facts(frame, number), **result.provenance.as_dict(),
            },
        )
        for frame in result.masks.frames
        for number, mask in enumerate(result.masks.masks(frame))
    ]  # fmt: skip


def write_coco(path: Path, result: Segmentation) -> None:
    """Write a COCO results file of one scan.

    Raises:
        UltraSamError: The file cannot be written.
    """
    write_json(path, coco_entries(result))
