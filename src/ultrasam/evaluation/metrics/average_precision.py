"""COCO average precision of masks or of their boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from ultrasam.extras import needs
from ultrasam.images.masks import RLE


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP: mean over IoU thresholds 0.50 to 0.95, at 0.50, and at 0.75; NaN without targets.

    Attributes:
        small, medium, large: AP over the thresholds of targets of less than 32², up to 96², and more pixels;
            NaN without such targets.
    """

    ap: float
    ap50: float
    ap75: float
    small: float = math.nan
    medium: float = math.nan
    large: float = math.nan


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


def average_precision(
    images: Iterable[ImageDetections], *, of: Literal["segm", "bbox"] = "segm"
) -> AveragePrecision:
    """COCO AP (Lin et al. 2014; used by arXiv 2411.16222, 4), averaged over classes.

    As in COCO, at most 100 predictions per image count. Classes without targets are ignored.

    Args:
        of: ``segm`` compares masks, ``bbox`` their tight boxes.
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
                    "bbox": _box(coco_mask, rle),
                }
            )  # fmt: skip
        classes = _class_indices(image.predicted_classes, image.predictions)
        for rle, index, score in zip(image.predictions, classes, image.scores, strict=True):
            result = {"image_id": number, "category_id": index + 1, "score": float(score)}
            if of == "bbox":
                results.append({**result, "bbox": _box(coco_mask, rle)})
            else:
                # Without its box, so that COCO sorts a prediction by the area of its mask.
                results.append({**result, "segmentation": rle})
    categories = {entry["category_id"] for entry in (*truth["annotations"], *results)}
    truth["categories"] = [{"id": index, "name": str(index)} for index in sorted(categories)]
    has_targets = bool(truth["annotations"])
    crowds = [(n, i.ignored) for n, i in enumerate(images, 1) if i.ignored is not None]
    truth["annotations"] += [
        {
            "id": len(truth["annotations"]) + 1 + k, "image_id": number, "category_id": category,
            "iscrowd": 1, "segmentation": rle, "area": float(coco_mask.area(_binary(rle))),
            "bbox": _box(coco_mask, rle),
        }
        for k, ((number, rle), category) in enumerate(product(crowds, sorted(categories)))
    ]  # fmt: skip
    if not has_targets:
        return AveragePrecision(math.nan, math.nan, math.nan)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        # loadRes cannot load an empty list.
        found = reference.loadRes(results) if results else COCO()
        evaluation = COCOeval(reference, found, of)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCO says -1 where there is no target.
    return AveragePrecision(*(math.nan if v < 0 else float(v) for v in evaluation.stats[:6]))


def _class_indices(classes: Sequence[int] | None, masks: Sequence[RLE]) -> Sequence[int]:
    return [0] * len(masks) if classes is None else classes


def _box(coco_mask: Any, rle: RLE) -> list[float]:
    return [float(value) for value in coco_mask.toBbox(_binary(rle))]


def _binary(rle: RLE) -> dict[str, Any]:
    counts = rle["counts"]
    return {**rle, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
