"""COCO's average precision: what pycocotools computes from files, by masks, boxes and sizes of objects."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ultrasam.evaluation.metrics.average_precision import ImageDetections, average_precision
from ultrasam.images.masks import encode_rle, inscribed_ellipse

SHAPE = (220, 260)
NAMES = ("ap", "ap50", "ap75", "small", "medium", "large")
Mask = npt.NDArray[np.bool_]


def objects(
    seed: int, *, classes: int = 1
) -> list[tuple[list[Mask], list[Mask], list[float], list[int]]]:
    """Truth, predictions, scores and classes of six images; objects of all sizes, some badly predicted."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(6):
        truth, found = [], []
        for _ in range(int(rng.integers(1, 5))):
            width, height = rng.uniform(12, 120, 2)
            x, y = rng.uniform(0, (SHAPE[1] - width, SHAPE[0] - height))
            box = np.array([x, y, x + width, y + height])
            truth.append(inscribed_ellipse(box, SHAPE))
            moved = box + rng.normal(0, rng.choice([0.01, 0.06, 0.25]) * width, 4)
            found.append(
                inscribed_ellipse((*moved[:2], *np.maximum(moved[2:], moved[:2] + 4)), SHAPE)
            )
        labels = rng.integers(0, classes, len(truth)).tolist()
        out.append((truth, found, rng.uniform(0, 1, len(found)).tolist(), labels))
    return out


def by_pycocotools(
    folder: Path,
    images: Sequence[tuple[list[Mask], list[Mask], list[float], list[int]]],
    of: str,
) -> list[float]:
    """COCOeval on a file of annotations and one of results, written here."""

    def rle(mask: Mask) -> dict[str, object]:
        found = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        return {"size": found["size"], "counts": found["counts"].decode()}

    def box(mask: Mask) -> list[float]:
        ys, xs = np.nonzero(mask)
        if not len(ys):  # an empty prediction
            return [0.0, 0.0, 0.0, 0.0]
        return [float(v) for v in (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)]

    annotations, results = [], []
    for image, (truth, found, scores, labels) in enumerate(images):
        for mask, label in zip(truth, labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": label, "iscrowd": 0,
                    "area": float(mask.sum()), "bbox": box(mask), "segmentation": rle(mask),
                }
            )  # fmt: skip
        for mask, score, label in zip(found, scores, labels, strict=True):
            shape = {"bbox": box(mask)} if of == "bbox" else {"segmentation": rle(mask)}
            results.append({"image_id": image, "category_id": label, "score": score, **shape})
    file = folder / "truth.json"
    sizes = [{"id": i, "height": SHAPE[0], "width": SHAPE[1]} for i in range(len(images))]
    names = [{"id": i, "name": str(i)} for i in range(10)]
    file.write_text(json.dumps({"images": sizes, "annotations": annotations, "categories": names}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
        evaluation = COCOeval(coco, coco.loadRes(results), of)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:6]]


@pytest.mark.parametrize("of", ["segm", "bbox"])
@pytest.mark.parametrize("classes", [1, 3])
def test_average_precision_is_pycocotools_own(tmp_path: Path, of: str, classes: int) -> None:
    seen = []
    for seed in range(6):
        images = objects(seed, classes=classes)
        expected = by_pycocotools(tmp_path, images, of)
        found = average_precision(
            (
                ImageDetections(
                    [encode_rle(m) for m in truth], [encode_rle(m) for m in masks], scores,
                    labels if classes > 1 else None, labels if classes > 1 else None,
                )
                for truth, masks, scores, labels in images
            ),
            of=of,  # type: ignore[arg-type]
        )  # fmt: skip
        values = [getattr(found, name) for name in NAMES]
        assert np.nan_to_num(values, nan=-1) == pytest.approx(expected, abs=1e-12)
        seen.append(values)
    # Thresholds and sizes differ, so that none could be taken for another.
    assert all(len({round(v, 4) for v in values}) >= 4 for values in seen)


def test_without_predictions_the_ap_is_zero_and_without_targets_undefined() -> None:
    mask = encode_rle(inscribed_ellipse((20, 20, 120, 100), SHAPE))
    nothing = average_precision([ImageDetections([mask], [], [])])
    assert (nothing.ap, nothing.ap50, nothing.ap75, nothing.medium) == (0, 0, 0, 0)
    assert np.isnan(average_precision([ImageDetections([], [mask], [0.5])]).ap)
