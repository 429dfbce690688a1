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

from ultrasam.errors import PromptError
from ultrasam.images.masks import RLE, bounding_box, coco_result, encode_rle

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

# Point labels of a Segment-Anything network (SAM's own numbers; UNUSED is ours).
BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
NOT_A_POINT = -1  # follows the clicks of a prompt without a box; attended to, has no position
UNUSED = -2  # padding for prompts with fewer points than others in the batch; ignored

_MASK_LOGIT = 8.0  # a binary mask prompt becomes logits of ± this


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Prompt:
    """A prompt for one object: a box, clicks, a mask from an earlier prediction, or a combination of these.

    Args:
        points: K clicks (x, y).
        labels: K labels, 1 for foreground and 0 for background clicks; all 1 by default.
        box: x0, y0, x1, y1.
        mask: a prediction's ``low_res_logits`` [S, S], or a mask in the scan's pixels [H, W], bool or logits.

    Attributes:
        points: [K, 2] float64; K may be 0.
        labels: [K] int64.
        box: [4] float64, or None.
        mask: [S, S] or [H, W] float32 logits, or None.

    Raises:
        PromptError: The prompt is empty, a shape is wrong, or a number is not finite.

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
        object.__setattr__(self, "mask", None if mask is None else _mask(mask))

    @property
    def is_single_click(self) -> bool:
        """Whether the prompt is a single click, which may mean a part of an object or all of it."""
        return self.box is None and self.mask is None and len(self.points) == 1

    def check_inside(self, height: int, width: int) -> None:
        """Reject a prompt that lies outside a scan of this size.

        Raises:
            PromptError: A click is outside the scan, or the box does not overlap it.
        """
        outside = ((self.points < 0) | (self.points > (width, height))).any(axis=1)
        if outside.any():
            x, y = self.points[outside][0]
            raise PromptError(
                f"The point {x:g},{y:g} is outside the scan of {width} × {height} pixels; give x,y in the "
                "scan's pixels."
            )
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
                raise PromptError(
                    f"The box {x0:g},{y0:g},{x1:g},{y1:g} is outside the scan of {width} × {height} "
                    "pixels; give x0,y0,x1,y1 in the scan's pixels."
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
    """Predicted masks for N prompts: M candidates per prompt, best first.

    Attributes:
        masks: [N, M, H, W] bool, in the scan's pixels.
        predicted_iou: [N, M] float32, the model's estimate of each mask's IoU with the ground truth.
        stability_score: [N, M] float32, the IoU of the masks at logit thresholds + 1 and - 1 (Kirillov et al.
            2023, section 5).
        low_res_logits: [N, M, S, S] float32, over the model's whole input; valid as ``Prompt.mask``.
    """

    masks: npt.NDArray[np.bool_]
    predicted_iou: Float32
    stability_score: Float32
    low_res_logits: Float32

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def best(self) -> npt.NDArray[np.bool_]:
        """The best mask of each prompt by predicted IoU, [N, H, W]."""
        return self.masks[:, 0]

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
            for mask, iou in zip(self.best, self.predicted_iou[:, 0], strict=True)
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
    array = np.ones(count) if labels is None else np.asarray(labels)
    if array.shape != (count,) or not np.isin(array, (BACKGROUND, FOREGROUND)).all():
        raise PromptError(
            f"The prompt has {count} points and the labels {array.tolist()}; give one label per point, 1 for "
            "foreground or 0 for background."
        )
    return array.astype(np.int64)


def _box(box: npt.ArrayLike) -> FloatArray:
    array = _floats(box, "box")
    if array.shape != (4,) or array[2] <= array[0] or array[3] <= array[1]:
        raise PromptError(
            f"The box {array.tolist()} is invalid; give x0, y0, x1, y1 with x0 < x1 and y0 < y1."
        )
    return array


def _mask(mask: npt.ArrayLike) -> Float32:
    array = np.asarray(mask)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise PromptError(f"The prompt's mask has the shape {array.shape}; give [H, W].")
    if array.dtype == bool:
        array = np.where(array, _MASK_LOGIT, -_MASK_LOGIT)
    return _floats(array, "mask").astype(np.float32)


def _floats(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        array = np.array(
            values, dtype=np.float64
        )  # a copy: later changes by the caller have no effect
    except (TypeError, ValueError) as error:
        raise PromptError(f"The prompt's {name} must be numbers, not {values!r}.") from error
    if not np.isfinite(array).all():
        raise PromptError(f"The prompt's {name} must be finite numbers.")
    return array
