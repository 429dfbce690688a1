"""Metrics of instance and semantic segmentation: COCO mask AP, and Dice per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.downstream.instances.model import InstanceSegmenter
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.evaluation.metrics.average_precision import (
    AveragePrecision,
    ImageDetections,
    average_precision,
)
from ultrasam.evaluation.metrics.statistics import Estimate
from ultrasam.images.masks import encode_rle
from ultrasam.progress import OnProgress, no_progress

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMetrics:
    """Metrics of one model on a set of images.

    Attributes:
        dice: Dice [images, classes] of the union of all objects of a class; 0 if only target or prediction
        has
            the class, NaN if neither has.
        precision: COCO mask AP, mean over classes.
    """

    dice: Floats
    precision: AveragePrecision

    def per_image(self) -> Floats:
        """Mean Dice [images]; see `mean_over_present`."""
        return mean_over_present(self.dice)

    def figures(self, subjects: Sequence[str]) -> dict[str, Estimate]:
        """Dice with its interval, and average precision, which has none; ``subjects`` are the images'."""
        dice, nan = self.per_image(), float("nan")
        defined = np.isfinite(dice)
        groups = [s for s, known in zip(subjects, defined, strict=True) if known]
        ap = {
            "mAP": self.precision.ap,
            "AP50": self.precision.ap50,
            "AP75": self.precision.ap75,
        }
        return {
            "Dice": Estimate.of_mean(dice[defined], groups),
            **{name: Estimate(value, nan, nan) for name, value in ap.items()},
        }


def mean_over_present(dice: Floats) -> Floats:
    """Mean [images] of Dice [images, classes] over the classes in target or prediction; NaN if there are
    none."""
    present = np.isfinite(dice)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, dice, 0).sum(axis=1) / present.sum(axis=1))


def dice_of_maps(predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_]) -> Floats:
    """Dice [K] of a label map [H, W] (0 is background) against masks [K, H, W]; NaN if both are empty."""
    out = np.full(len(truth), np.nan)
    for index, mask in enumerate(truth):
        region = predicted == index + 1
        total = int(region.sum()) + int(mask.sum())
        if total:
            out[index] = 2 * int((region & mask).sum()) / total
    return out


def unions(image: InstanceTarget, classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Union of the objects of each class [K, H, W]."""
    out = np.zeros((len(classes), *image.pixels.shape), bool)
    for mask, label in zip(image.masks, image.labels, strict=True):
        out[classes.index(label)] |= mask
    return out


def evaluate_instances(
    segmenter: InstanceSegmenter,
    targets: Sequence[InstanceTarget],
    *,
    on_progress: OnProgress = no_progress,
) -> InstanceMetrics:
    """Test a segmenter on images whose classes it was trained on."""
    classes = segmenter.classes
    dice, entries = [], []
    for number, image in enumerate(targets):
        pixels, masks, ignored = image.pixels, image.masks, image.image.ignored
        detections, labels = segmenter.predict(pixels)
        truth = unions(image, classes)
        if ignored is not None:
            labels, truth = np.where(ignored, 0, labels).astype(np.uint8), truth & ~ignored
        dice.append(dice_of_maps(labels, truth))
        entries.append(
            ImageDetections(
                [encode_rle(m) for m in masks], [encode_rle(m) for m in detections.masks],
                detections.scores.tolist(), [classes.index(label) for label in image.labels],
                detections.labels.tolist(),
                None if ignored is None else encode_rle(ignored),
            )
        )  # fmt: skip
        on_progress(number + 1, len(targets))
    return InstanceMetrics(np.stack(dice), average_precision(entries))
