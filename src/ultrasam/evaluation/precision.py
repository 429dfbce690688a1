"""COCO's average precision of masks, with predicted IoU as their score."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ultrasam.images.masks import RLE


@dataclass(frozen=True, slots=True)
class Precision:
    """Mask AP: mean over IoU thresholds 0.50 to 0.95, at 0.50, and at 0.75; NaN without objects."""

    ap: float
    ap50: float
    ap75: float


def average_precision(
    images: Iterable[tuple[Sequence[RLE], Sequence[RLE], Sequence[float]]],
) -> Precision:
    """AP of class-agnostic instances (arXiv 2411.16222, 4; Lin et al. 2014), by pycocotools.

    Args:
        images: of each image its objects' masks, the predicted masks, and their scores. At most 100
            predictions an image count, as COCO has it.
    """
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: dict[str, list[dict[str, Any]]] = {
        "images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}],
    }  # fmt: skip
    found: list[dict[str, Any]] = []
    for number, (objects, predictions, scores) in enumerate(images, 1):
        height, width = next((rle["size"] for rle in (*objects, *predictions)), (0, 0))
        truth["images"].append({"id": number, "height": height, "width": width})
        for rle in objects:
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1, "image_id": number, "category_id": 1,
                    "iscrowd": 0, "segmentation": rle, "area": float(coco_mask.area(_binary(rle))),
                }
            )  # fmt: skip
        for rle, score in zip(predictions, scores, strict=True):
            found.append(
                {"image_id": number, "category_id": 1, "segmentation": rle, "score": float(score)}
            )
    if not truth["annotations"]:
        return Precision(float("nan"), float("nan"), float("nan"))
    if not found:
        return Precision(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(found), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return Precision(float(run.stats[0]), float(run.stats[1]), float(run.stats[2]))


def _binary(rle: RLE) -> dict[str, Any]:
    counts = rle["counts"]
    return {**rle, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
