"""COCO's average precision of masks, with predicted IoU as their score."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ultrasam.extras import needs
from ultrasam.images.masks import RLE


@dataclass(frozen=True, slots=True)
class Precision:
    """Mask AP: mean over IoU thresholds 0.50 to 0.95, at 0.50, and at 0.75; NaN without objects."""

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Masks in one image: of its objects, and as predicted, with scores.

    Attributes:
        target_classes, predicted_classes: numbers of classes, from 0; None where there is one class alone.
    """

    objects: Sequence[RLE]
    found: Sequence[RLE]
    scores: Sequence[float]
    target_classes: Sequence[int] | None = None
    predicted_classes: Sequence[int] | None = None


def average_precision(images: Iterable[ImageDetections]) -> Precision:
    """Mean over the classes of COCO's AP (arXiv 2411.16222, 4; Lin et al. 2014), by pycocotools.

    At most 100 predictions an image count, as COCO has it; classes without objects count nothing.
    """
    with needs("Evaluation", extra="evaluate"):
        from pycocotools import mask as coco_mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    truth: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    found: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        height, width = next((rle["size"] for rle in (*image.objects, *image.found)), (0, 0))
        truth["images"].append({"id": number, "height": height, "width": width})
        for rle, kind in zip(
            image.objects, _kinds(image.target_classes, image.objects), strict=True
        ):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1, "image_id": number, "category_id": kind + 1,
                    "iscrowd": 0, "segmentation": rle, "area": float(coco_mask.area(_binary(rle))),
                }
            )  # fmt: skip
        kinds = _kinds(image.predicted_classes, image.found)
        for rle, kind, score in zip(image.found, kinds, image.scores, strict=True):
            found.append(
                {
                    "image_id": number, "category_id": kind + 1, "segmentation": rle,
                    "score": float(score),
                }
            )  # fmt: skip
    names = {entry["category_id"] for entry in (*truth["annotations"], *found)}
    truth["categories"] = [{"id": name, "name": str(name)} for name in sorted(names)]
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


def _kinds(classes: Sequence[int] | None, masks: Sequence[RLE]) -> Sequence[int]:
    return [0] * len(masks) if classes is None else classes


def _binary(rle: RLE) -> dict[str, Any]:
    counts = rle["counts"]
    return {**rle, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
