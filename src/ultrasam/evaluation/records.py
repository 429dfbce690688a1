"""The record of one image: each object's prompts, predictions and metrics, as a line of a results file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.absent import BorrowedBoxes, has_no_object, predict_absent
from ultrasam.evaluation.metrics.masks import compute_metrics, iou
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import (
    PromptTarget,
    TargetPrediction,
    click_outside,
    first_prompts,
    segment_targets,
    targets_of,
)
from ultrasam.images.masks import encode_rle
from ultrasam.images.pixels import Frame
from ultrasam.inference.candidates import candidates
from ultrasam.inference.segmenter import Segmenter
from ultrasam.measure.shape import long_and_short_axis, thickness


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings that two evaluations must share to be comparable.

    Attributes:
        prompts: prompt types (see `ultrasam.evaluation.prompt_types.PromptKind`).
        seed: seed of all random prompts.
        repeats: how often each object is prompted by a random prompt type.
        tolerance_mm, tolerance_px: tolerance of the surface Dice if the spacing is known or unknown.
    """

    prompts: tuple[str, ...] = ("box", "interior")
    seed: int = 0
    repeats: int = 3
    tolerance_mm: float = 1.0
    tolerance_px: float = 2.0


def image_record(
    dataset: str,
    image: AnnotatedImage,
    pixels: Frame,
    segmenter: Segmenter,
    kinds: Sequence[PromptKind],
    settings: EvaluationSettings,
    boxes: BorrowedBoxes,
) -> dict[str, Any]:
    """Segment all objects of an image by all prompt types.

    Args:
        dataset: name of its data set in this evaluation, one of those in ``boxes``.
        image: the image.
        pixels: its pixels, as the segmenter gets them.
        segmenter, kinds, settings: what is evaluated, and how.
        boxes: boxes for images without an object.
    """
    targets = targets_of(image, seed=settings.seed)
    record: dict[str, Any] = {
        "dataset": dataset,
        "image": image.name,
        "subject": image.subject,
        "size": list(pixels.shape[:2]),
        "spacing": list(image.spacing) if image.spacing else None,
        "pixels": _pixels_hash(pixels),
        "measurements": dict(image.measurements),
    }
    if targets:
        segmenter.set_image(pixels)
        return record | {"objects": _objects(targets, image, segmenter, kinds, settings)}
    record["objects"] = []
    if has_no_object(image):
        box = boxes.box(dataset, image, (pixels.shape[0], pixels.shape[1]), seed=settings.seed)
        if box is not None:
            segmenter.set_image(pixels)
            record["absent"] = predict_absent(segmenter, box, kinds)
    return record


def _objects(
    targets: Sequence[PromptTarget],
    image: AnnotatedImage,
    segmenter: Segmenter,
    kinds: Sequence[PromptKind],
    settings: EvaluationSettings,
) -> list[dict[str, Any]]:
    predictions: list[dict[str, list[dict[str, Any]]]] = [{} for _ in targets]
    for kind in kinds:
        best = _best_of_candidates(targets, segmenter, kind)
        for repeat in range(kind.repeats(settings.repeats)):
            found = segment_targets(segmenter, targets, kind, repeat=repeat)
            for number, (target, prediction) in enumerate(zip(targets, found, strict=True)):
                record = _prediction_record(prediction, target, image, settings)
                record["best_iou"] = best[number]
                predictions[number].setdefault(kind.name, []).append(record)
    return [
        {
            "structure": target.structure,
            "area": int(np.count_nonzero(target.truth)),
            "thickness": round(thickness(target.truth), 3),
            "length": round(long_and_short_axis(target.truth).long, 3),
            "truth": encode_rle(target.truth)["counts"],
            "click_outside": click_outside(target),
            "predictions": by_kind,
        }
        for target, by_kind in zip(targets, predictions, strict=True)
    ]


def _best_of_candidates(
    targets: Sequence[PromptTarget], segmenter: Segmenter, kind: PromptKind
) -> list[float | None]:
    """For each target the IoU of the best of the segmenter's three masks; None if it offers one mask only,
    and for prompt types with several prompts."""
    found = candidates(segmenter, first_prompts(targets, kind)) if kind.is_single else None
    if found is None:
        return [None] * len(targets)
    return [
        round(max(iou(np.asarray(mask), target.truth) for mask in masks), 5)
        for target, masks in zip(targets, found.masks, strict=True)
    ]


def _prediction_record(
    prediction: TargetPrediction,
    target: PromptTarget,
    image: AnnotatedImage,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    metrics = compute_metrics(
        prediction.mask,
        target.truth,
        spacing=image.spacing or (1.0, 1.0),
        tolerance=settings.tolerance_mm if image.spacing else settings.tolerance_px,
    )
    return {
        # JSON has no NaN; an undefined distance becomes null.
        **{k: None if math.isnan(v) else round(v, 5) for k, v in metrics.as_dict().items()},
        "predicted_iou": round(prediction.predicted_iou, 5),
        "ious": [round(value, 5) for value in prediction.ious],
        "mask": encode_rle(prediction.mask)["counts"],
    }


def _pixels_hash(pixels: Frame) -> str:
    """Equal for images of equal size and pixels."""
    content = hashlib.sha256(repr(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).tobytes())
    return content.hexdigest()[:16]
