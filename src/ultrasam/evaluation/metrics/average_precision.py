"""COCO mask average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ultrasam.extras import needs
from ultrasam.images.masks import RLE


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Mask AP: mean over IoU thresholds 0.50 to 0.95, at 0.50, and at 0.75; NaN without targets."""

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Target and predicted masks of one image.

    Attributes:
        scores: confidence of each prediction.
        target_classes, predicted_classes: class indices from 0; None if there is only one class.
        ignored: region to ignore, as COCO's ``iscrowd``: predictions that lie mostly in it do not count.
    """

    targets: Sequence[RLE]
    predictions: Sequence[RLE]
    scores: Sequence[float]
    target_classes: Sequence[int] | None = None
    predicted_classes: Sequence[int] | None = None
    ignored: RLE | None = None


def average_precision(images: Iterable[ImageDetections]) -> AveragePrecision:
    """COCO AP (Lin et al. 2014; used by arXiv 2411.16222, 4), averaged over classes.

    As in COCO, at most 100 predictions per image count. Classes without targets are ignored.
    """
    with needs("Evaluation", extra="evaluate"):
        from pycocotools import mask as coco_mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    images = list(images)
    truth: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    results: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        height, width = next((rle["size"] for rle in (*image.targets, *image.predictions)), (0, 0))
        truth["images"].append({"id": number, "height": height, "width": width})
        classes = _class_indices(image.target_classes, image.targets)
        for rle, index in zip(image.targets, classes, strict=True):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1, "image_id": number, "category_id": index + 1,
                    "iscrowd": 0, "segmentation": rle, "area": float(coco_mask.area(_binary(rle))),
                }
            )  # fmt: skip
        classes = _class_indices(image.predicted_classes, image.predictions)
        for rle, index, score in zip(image.predictions, classes, image.scores, strict=True):
            results.append(
                {
                    "image_id": number, "category_id": index + 1, "segmentation": rle,
                    "score": float(score),
                }
            )  # fmt: skip
    categories = {entry["category_id"] for entry in (*truth["annotations"], *results)}
    truth["categories"] = [{"id": index, "name": str(index)} for index in sorted(categories)]
    has_targets = bool(truth["annotations"])
    crowds = [(n, i.ignored) for n, i in enumerate(images, 1) if i.ignored is not None]
    truth["annotations"] += [
        {
            "id": len(truth["annotations"]) + 1 + k, "image_id": number, "category_id": category,
            "iscrowd": 1, "segmentation": rle, "area": float(coco_mask.area(_binary(rle))),
        }
        for k, ((number, rle), category) in enumerate(product(crowds, sorted(categories)))
    ]  # fmt: skip
    if not has_targets:
        return AveragePrecision(float("nan"), float("nan"), float("nan"))
    if not results:
        return AveragePrecision(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75 = map(float, evaluation.stats[:3])
    return AveragePrecision(ap, ap50, ap75)


def _class_indices(classes: Sequence[int] | None, masks: Sequence[RLE]) -> Sequence[int]:
    return [0] * len(masks) if classes is None else classes


def _binary(rle: RLE) -> dict[str, Any]:
    counts = rle["counts"]
    return {**rle, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
