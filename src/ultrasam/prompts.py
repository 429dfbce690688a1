"""Prompt and Prediction: what a segmenter takes and returns.

Coordinates are (x, y) in the scan's pixels; the origin is the top-left corner of the top-left pixel. Boxes
are x0, y0, x1, y1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError, one_line
from ultrasam.images.masks import RLE, bounding_box, coco_result, encode_rle

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

# Point labels of a Segment-Anything network (SAM's own numbers; UNUSED is ours).
BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
NOT_A_POINT = -1  # follows the clicks of a prompt without a box; attended to, has no position
UNUSED = -2  # padding for prompts with fewer points than others in the batch; ignored

_MASK_LOGIT = 8.0  # a binary mask prompt becomes logits of ± this
_SMALL_SCAN = 16  # pixels; in a smaller scan, coordinates of at most 1 may be meant
_SMALL_BOX = 4  # pixels; a box with a shorter side is possible but unlikely to be meant
LOW_CONFIDENCE = 0.5  # predicted IoU or stability; see `Prediction.low_confidence`


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Prompt:
    """A prompt for one object: a box, clicks, a mask from an earlier prediction, or a combination of these.

    Args:
        points: K clicks (x, y).
        labels: K labels, 1 for foreground and 0 for background clicks; all 1 by default.
        box: x0, y0, x1, y1.
        mask: a prediction's ``low_res_logits`` [S, S], or a mask in the scan's pixels [H, W], binary or
            logits; see `mask_logits`.

    Attributes:
        points: [K, 2] float64; K may be 0.
        labels: [K] int64.
        box: [4] float64, or None.
        mask: [S, S] or [H, W] float32 logits, or None.

    Raises:
        PromptError: The prompt is empty or has only background clicks, a shape is wrong, or a number is not
            finite.

    Example:
        >>> Prompt(points=[(120, 80)]).labels.tolist()
        [1]
    """

    points: FloatArray
    labels: IntArray
    box: FloatArray | None
    mask: Float32 | None

    def __init__(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> None:
        clicks = _points(points)
        if mask is None and box is None and not len(clicks):
            raise PromptError("The prompt is empty; give points, a box or a mask.")
        object.__setattr__(self, "points", clicks)
        object.__setattr__(self, "labels", _labels(labels, len(clicks)))
        object.__setattr__(self, "box", None if box is None else _box(box))
        object.__setattr__(self, "mask", None if mask is None else mask_logits(mask))
        if self.box is None and not (self.labels == FOREGROUND).any():
            if self.mask is None:
                raise PromptError(
                    "The prompt has only background clicks; add a click on the object, a box or a mask."
                )
            if not (self.mask > 0).any():
                raise PromptError(
                    "The prompt's mask is empty; give a mask of the object, or add a box or a click on it."
                )

    @property
    def is_single_click(self) -> bool:
        """Whether the prompt is a single click, which may mean a part of an object or all of it."""
        return self.box is None and self.mask is None and len(self.points) == 1

    def check_inside(self, height: int, width: int) -> None:
        """Reject a prompt that cannot be meant for a scan of this size.

        Raises:
            PromptError: A click is outside the scan; the box covers none of it; or the box or the clicks are
                fractions of the scan's size instead of pixels, and so lie in its corner.
        """
        outside = ((self.points < 0) | (self.points > (width, height))).any(axis=1)
        if outside.any():
            x, y = self.points[outside][0]
            raise PromptError(
                f"The point {x:g},{y:g} is outside the scan of {width} × {height} pixels; give x,y in the "
                "scan's pixels."
            )
        if self.box is not None:
            self._check_box(self.box, height, width)
        elif len(self.points) and max(height, width) > _SMALL_SCAN and _are_fractions(self.points):
            x, y = self.points[0]
            raise PromptError(
                f"The point {x:g},{y:g} is in the corner of the scan of {width} × {height} pixels; give "
                "pixels, not fractions of its size."
            )

    def questions(self, height: int, width: int) -> list[str]:
        """What is possible but unlikely to be meant, for a scan of this size, as sentences."""
        if self.box is None:
            return []
        across, down = _covered(self.box, height, width)
        if min(across, down) < _SMALL_BOX:
            return [
                f"The box {_listed(self.box)} covers only {across:g} × {down:g} pixels of the scan."
            ]
        x0, y0, x1, y1 = self.box.tolist()
        if across * down < (x1 - x0) * (y1 - y0) / 2:
            return [
                f"More than half of the box {_listed(self.box)} is outside the scan of {width} × {height} "
                "pixels."
            ]
        return []

    def _check_box(self, box: FloatArray, height: int, width: int) -> None:
        across, down = _covered(box, height, width)
        if across <= 0 or down <= 0:
            raise PromptError(
                f"The box {_listed(box)} is outside the scan of {width} × {height} pixels; give x0,y0,x1,y1 "
                "in the scan's pixels."
            )
        if max(height, width) > _SMALL_SCAN and (max(across, down) < 1 or box.max() <= 1):
            raise PromptError(
                f"The box {_listed(box)} covers {across:g} × {down:g} pixels of the scan of {width} × "
                f"{height} pixels; give pixels, not fractions of its size."
            )


@dataclass(frozen=True, slots=True, eq=False)
class PromptArrays:
    """N prompts in model pixels: the network's input.

    Attributes:
        coords: [N, K, 2] float32, (x, y); the origin is the input's top-left corner. Meta's code takes pixel
            indices and adds 0.5; these values already include it.
        labels: [N, K] int64: ``FOREGROUND``, ``BACKGROUND``, a box's ``TOP_LEFT`` and ``BOTTOM_RIGHT``,
            ``NOT_A_POINT`` or ``UNUSED``.
        masks: [N, 1, S, S] float32 logits; None if no prompt has a mask.
        has_mask: [N] bool, which prompts have a mask; None means all of them (with ``masks``).
    """

    coords: Float32
    labels: IntArray
    masks: Float32 | None = None
    has_mask: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.coords)

    @classmethod
    def concatenate(cls, parts: Sequence[PromptArrays]) -> PromptArrays:
        """Join prompts into one batch, padded with ``UNUSED`` slots."""
        slots = max(part.labels.shape[1] for part in parts)
        missing = [(0, slots - part.labels.shape[1]) for part in parts]
        coords = [
            np.pad(p.coords, ((0, 0), m, (0, 0))) for p, m in zip(parts, missing, strict=True)
        ]
        labels = [
            np.pad(p.labels, ((0, 0), m), constant_values=UNUSED)
            for p, m in zip(parts, missing, strict=True)
        ]
        mask_parts = [part.masks for part in parts if part.masks is not None]
        if not mask_parts:
            return cls(np.concatenate(coords), np.concatenate(labels))
        size = mask_parts[0].shape[-1]
        masks, has_mask = [], []
        for part in parts:
            empty = np.zeros((len(part), 1, size, size), np.float32)
            masks.append(empty if part.masks is None else part.masks)
            same = np.full(len(part), part.masks is not None)
            has_mask.append(same if part.has_mask is None else part.has_mask)
        return cls(
            np.concatenate(coords),
            np.concatenate(labels),
            np.concatenate(masks),
            np.concatenate(has_mask),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Predicted masks for N prompts: M candidates per prompt, best first unless sorted `by_area`.

    Attributes:
        masks: [N, M, H, W] bool, in the scan's pixels.
        predicted_iou: [N, M] float32, the model's estimate of each mask's IoU with the ground truth; 0 for an
            empty mask.
        stability_score: [N, M] float32, the IoU of the masks at logit thresholds + 1 and - 1 (Kirillov et al.
            2023, section 5).
        low_res_logits: [N, M, S, S] float32, over the model's whole input; valid as ``Prompt.mask``.
        at_levels: [L, N, M, H, W] bool, the masks at L other levels of probability, if asked for.
    """

    masks: npt.NDArray[np.bool_]
    predicted_iou: Float32
    stability_score: Float32
    low_res_logits: Float32
    at_levels: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def best(self) -> npt.NDArray[np.bool_]:
        """The best mask of each prompt by predicted IoU, [N, H, W]."""
        return self.masks[self._best]

    @property
    def _best(self) -> tuple[IntArray, IntArray]:
        return np.arange(len(self), dtype=np.int64), self.predicted_iou.argmax(axis=1)

    def by_area(self) -> Prediction:
        """The candidates of each prompt from the smallest mask to the largest; the best stay the same.

        With ``multimask=True``, these are what a click may mean: a part, the object, its surroundings.
        """
        areas = self.masks.sum(axis=(2, 3))
        order = np.arange(len(self))[:, None], areas.argsort(axis=1, kind="stable")
        return Prediction(
            self.masks[order],
            self.predicted_iou[order],
            self.stability_score[order],
            self.low_res_logits[order],
            None if self.at_levels is None else self.at_levels[:, *order],
        )

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Whether the best mask of each prompt is empty, [N]; the model found nothing there."""
        return np.asarray(~self.best.any(axis=(1, 2)))

    @property
    def low_confidence(self) -> npt.NDArray[np.bool_]:
        """Whether the best mask of each prompt should be checked, [N].

        It is if its predicted IoU or its stability score is below 0.5 (`LOW_CONFIDENCE`): the model itself
        expects more error than overlap, or a small shift of the threshold more than halves the mask.
        """
        scores = np.minimum(self.predicted_iou, self.stability_score)[self._best]
        return np.asarray(scores < LOW_CONFIDENCE)

    @property
    def boxes(self) -> FloatArray:
        """The tight box x0, y0, x1, y1 of each best mask, [N, 4]; NaN for an empty mask."""
        out = np.full((len(self), 4), np.nan)
        for row, mask in zip(out, self.best, strict=True):
            if mask.any():
                row[:] = bounding_box(mask)
        return out

    def areas(self, spacing: tuple[float, float] | None = None) -> FloatArray:
        """The area of each best mask, [N].

        Args:
            spacing: pixel size in mm, (row, column), as in ``Scan.spacing``; areas are then in mm². None
                counts pixels.

        Raises:
            ValueError: The spacing is not two positive numbers.
        """
        pixels: FloatArray = self.best.sum(axis=(1, 2)).astype(np.float64)
        if spacing is None:
            return pixels
        down, across = (float(v) for v in spacing)
        if not (np.isfinite([down, across]).all() and down > 0 and across > 0):
            raise ValueError(f"spacing must be two positive numbers in mm, not {spacing}.")
        return np.asarray(pixels * down * across)

    def to_rle(self) -> list[RLE]:
        """The best masks as COCO's compressed RLE, one per prompt."""
        return [encode_rle(mask) for mask in self.best]

    def to_coco(self, *, image_id: int = 1, category_id: int = 1) -> list[dict[str, Any]]:
        """The best masks as entries of a COCO results file, with compressed RLE; ``score`` is the predicted
        IoU."""
        return [
            coco_result(mask, image_id=image_id, score=float(iou), category_id=category_id)
            for mask, iou in zip(self.best, self.predicted_iou[self._best], strict=True)
        ]


def _points(points: npt.ArrayLike | None) -> FloatArray:
    array = _floats(points if points is not None else np.zeros((0, 2)), "points")
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(
            f"The prompt's points have the shape {array.shape}; give one (x, y) per point, [K, 2]."
        )
    return array


def _labels(labels: npt.ArrayLike | None, count: int) -> IntArray:
    array = np.ones(count) if labels is None else _floats(labels, "labels")
    if array.shape != (count,) or not np.isin(array, (BACKGROUND, FOREGROUND)).all():
        raise PromptError(
            f"The prompt has {count} point{'s' * (count != 1)} and the labels {np.asarray(labels).tolist()}; "
            "give one label per point, 1 for foreground or 0 for background."
        )
    return array.astype(np.int64)


def _box(box: npt.ArrayLike) -> FloatArray:
    array = _floats(box, "box")
    if array.shape != (4,) or array[2] <= array[0] or array[3] <= array[1]:
        raise PromptError(
            f"The box {array.tolist()} is invalid; give x0, y0, x1, y1 with x0 < x1 and y0 < y1."
        )
    return array


def _covered(box: FloatArray, height: int, width: int) -> tuple[float, float]:
    """Width and height of the part of a box that is inside the scan; 0 or less if none is."""
    x0, y0 = np.maximum(box[:2], 0)
    x1, y1 = np.minimum(box[2:], (width, height))
    return round(float(x1 - x0), 6), round(float(y1 - y0), 6)


def _listed(box: FloatArray) -> str:
    return ",".join(f"{v:g}" for v in box)


def _are_fractions(points: FloatArray) -> bool:
    """Whether points are probably given as fractions: all within the first pixel, and not all at its corners
    or its center, where a program may put them."""
    usual = np.isin(points, (0, 0.5, 1)).all()
    return bool((points <= 1).all()) and not bool(usual)


def mask_logits(mask: npt.ArrayLike) -> Float32:
    """Convert a mask prompt, [H, W], also with axes of length 1 before or after, to logits [H, W].

    A mask with two values (bool, 0 and 1, 0 and 255, … in any type) is binary, with the object where it is
    larger; so is a mask with one value, with the object where it is positive. Other masks are logits,
    positive in the object.

    Raises:
        PromptError: The shape is wrong, a number is not finite, or the mask is neither binary nor logits: a
            gray image, a map of probabilities or of several labels.
    """
    try:
        array = np.asarray(mask)
    except Exception as error:  # of any class: PyTorch has its own for each kind of tensor
        raise PromptError(
            f"The prompt's mask cannot be converted to an array: {one_line(error)}."
        ) from error
    if array.dtype.kind not in "biufO":
        raise PromptError(f"The prompt's mask must be numbers, not of the type {array.dtype}.")
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise PromptError(f"The prompt's mask has the shape {array.shape}; give [H, W].")
    with np.errstate(over="ignore"):
        values = _floats(array, "mask").astype(np.float32)
    if not np.isfinite(values).all():
        raise PromptError("The prompt's mask must be finite numbers.")
    low, high = values.min(), values.max()
    if ((values == low) | (values == high)).all():
        inside = values > (0 if low == high else low)
        return np.where(inside, np.float32(_MASK_LOGIT), np.float32(-_MASK_LOGIT))
    # Logits that are positive everywhere are rare, but the answer to a vague prompt may be such.
    if low >= 0 and (low == 0 or high <= 1 or array.dtype.kind in "iu"):
        raise PromptError(
            f"The prompt's mask has more than two values, from {low:g} to {high:g}; give a mask with two "
            "values, or logits, which are negative outside the object."
        )
    return values


def _floats(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)  # a copy: later changes have no effect
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise PromptError(
            f"The prompt's {name} must be numbers, not {one_line(repr(values))}."
        ) from error
    if not np.isfinite(array).all():
        raise PromptError(f"The prompt's {name} must be finite numbers.")
    return array
