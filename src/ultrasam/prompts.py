"""Prompt and Prediction, what everything else speaks, and how prompts are simulated from a mask.

Coordinates are (x, y) in the scan's pixels, origin at the top-left corner of the top-left pixel;
boxes are x0, y0, x1, y1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What a person says of one object: a box, clicks, a mask from before, or several of these.

    Attributes:
        points: [K, 2] clicks.
        labels: [K], 1 for a click on the object, 0 for one beside it; all 1 where None.
        box: [4].
        mask: logits from before: a prediction's ``low_res_logits`` [S, S], or anything in the scan's
            pixels [H, W], bool or logits.

    Raises:
        PromptError: nothing is given, a shape is wrong, or a number is not finite.

    Example:
        >>> Prompt(points=[(120, 80)]).labels.tolist()
        [1]
    """

    points: FloatArray | Sequence[Sequence[float]] | None = None
    labels: npt.NDArray[np.int64] | Sequence[int] | None = None
    box: FloatArray | Sequence[float] | None = None
    mask: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        if self.points is None and self.box is None and self.mask is None:
            raise PromptError("The prompt is empty; give points, a box or a mask.")
        points = _floats(self.points if self.points is not None else np.zeros((0, 2)), "points")
        if points.size == 0:
            points = points.reshape(0, 2)
        if points.ndim != 2 or points.shape[1] != 2:
            raise PromptError(
                f"The prompt's points have the shape {points.shape}; give one (x, y) to each point."
            )
        given = self.labels if self.labels is not None else np.ones(len(points))
        labels = np.asarray(given)
        if labels.shape != (len(points),) or not np.isin(labels, (0, 1)).all():
            raise PromptError(
                f"The prompt has {len(points)} points and labels {labels.tolist()}; give one label "
                "to each point, 1 on the object or 0 beside it."
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels.astype(np.int64))
        if self.box is not None:
            box = _floats(self.box, "box")
            if box.shape != (4,) or box[2] <= box[0] or box[3] <= box[1]:
                raise PromptError(
                    f"The box {box.tolist()} is not x0, y0, x1, y1 with x0 < x1 and y0 < y1."
                )
            object.__setattr__(self, "box", box)
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.ndim == 3 and mask.shape[0] == 1:
                mask = mask[0]
            if mask.ndim != 2:
                raise PromptError(f"The prompt's mask has the shape {mask.shape}; give one image.")
            if mask.dtype == bool:
                mask = np.where(mask, 8.0, -8.0)
            object.__setattr__(self, "mask", _floats(mask, "mask").astype(np.float32))

    def check_inside(self, height: int, width: int) -> None:
        """Refuse a prompt that has nothing to do with a scan of this size.

        Raises:
            PromptError: a click outside the scan, a box that does not overlap it.
        """
        points = np.asarray(self.points)
        outside = ((points < 0) | (points > (width, height))).any(axis=1)
        if outside.any():
            x, y = points[outside][0]
            raise PromptError(
                f"The point {x:g},{y:g} is outside the scan of {width} × {height} pixels; points are "
                "x,y in the scan's own pixels."
            )
        if self.box is not None:
            x0, y0, x1, y1 = np.asarray(self.box)
            if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
                raise PromptError(
                    f"The box {x0:g},{y0:g},{x1:g},{y1:g} is outside the scan of {width} × {height} "
                    "pixels; boxes are x0,y0,x1,y1 in the scan's own pixels."
                )


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a segmenter says to N prompts; each has one mask, or M candidates, best first.

    Attributes:
        masks: [N, M, H, W] bool, in the scan's own pixels.
        iou: [N, M] float32, the IoU with the truth that the model expects.
        stability: [N, M] float32, IoU between the masks at thresholds + 1 and - 1 on the logits
            (Kirillov et al. 2023, section 5).
        low_res_logits: [N, M, S, S] float32 over the whole canvas, for ``Prompt.mask``.
    """

    masks: npt.NDArray[np.bool_]
    iou: npt.NDArray[np.float32]
    stability: npt.NDArray[np.float32]
    low_res_logits: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True, slots=True)
class ClickStyle:
    """Where people click.

    Attributes:
        central: share of clicks near the centre of mass; the others are uniform in the mask.
        spread: standard deviation of central clicks, as a share of the object's box.
        scribble: chance that a click is drawn out to a stroke of clicks inside the object.
        several: chance that further clicks follow, on the object or close beside it, each with its label.
        beside: chance that a lone click, meant for the object, misses it by a little.
    """

    central: float = 0.0
    spread: float = 0.1
    scribble: float = 0.0
    several: float = 0.0
    beside: float = 0.0


def simulate_clicks(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], style: ClickStyle
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """The clicks [K, 2] of one prompt and their labels [K]: one, a stroke, or several."""
    kind = rng.random()
    if kind < style.beside:
        outside = _close_beside(rng, mask)
        if outside is not None:
            return outside[None], np.array([1])
        kind = 1.0
    first = simulate_click(rng, mask, style)
    if kind < style.beside + style.scribble:
        stroke = _stroke(rng, mask, first)
        return stroke, np.ones(len(stroke), np.int64)
    points, labels = [first], [1]
    if kind < style.beside + style.scribble + style.several:
        for _ in range(int(rng.integers(1, 4))):
            outside = _close_beside(rng, mask) if rng.random() < 0.4 else None
            points.append(simulate_click(rng, mask, style) if outside is None else outside)
            labels.append(1 if outside is None else 0)
    return np.stack(points), np.array(labels)


def _stroke(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], start: FloatArray, *, most: int = 5
) -> FloatArray:
    """Clicks along a bent line from ``start`` for as long as it stays inside the mask."""
    step = 0.12 * float(np.sqrt(mask.sum()))
    angle, points = rng.uniform(0, 2 * np.pi), [start]
    for _ in range(most - 1):
        angle += rng.normal(0, 0.5)
        point = points[-1] + step * np.array([np.cos(angle), np.sin(angle)])
        x, y = np.floor(point).astype(int)
        if not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]):
            break
        points.append(point)
    return np.stack(points)


def _close_beside(rng: np.random.Generator, mask: npt.NDArray[np.bool_]) -> FloatArray | None:
    """A point outside a mask, no farther from it than a tenth of its size; None if it fills the image."""
    reach = max(3, int(0.1 * np.sqrt(mask.sum())))
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    ys, xs = np.nonzero((near > 0) & ~mask)
    if not len(xs):
        return None
    index = int(rng.integers(len(xs)))
    return np.array([xs[index], ys[index]]) + rng.random(2)


def simulate_click(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], style: ClickStyle
) -> FloatArray:
    """One foreground click (x, y) in a mask [H, W], with sub-pixel jitter (arXiv 2411.16222, 3.2)."""
    ys, xs = np.nonzero(mask)
    if rng.random() < style.central:
        size = np.array([np.ptp(xs) + 1, np.ptp(ys) + 1])
        centre = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
        point = centre + rng.normal(0, style.spread, 2) * size
        x, y = np.floor(point).astype(int)
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
            return np.asarray(point, dtype=np.float64)
    index = int(rng.integers(len(xs)))
    return np.array([xs[index], ys[index]]) + rng.random(2)


def jitter_box(rng: np.random.Generator, box: npt.ArrayLike, share: float) -> FloatArray:
    """Each corner moved by up to ± ``share`` of the box's side (arXiv 2411.16222, 3.2)."""
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
    reach = share * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    moved = np.array([x0, y0, x1, y1]) + rng.uniform(-1, 1, 4) * reach
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    return np.concatenate([low, np.maximum(high, low + 1e-3)])


def corrective_click(
    prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]
) -> tuple[FloatArray, int] | None:
    """The click with which a careful person mends a mask: the deepest point of the largest error.

    Args:
        prediction, truth: [H, W].

    Returns:
        (x, y) and its label, or None where the masks are equal.
    """
    best: tuple[float, FloatArray, int] | None = None
    for error, label in ((truth & ~prediction, 1), (prediction & ~truth, 0)):
        # Only where the error is: the transform is slow.
        left, top, width, height = cv2.boundingRect(error.view(np.uint8))
        error = error[top : top + height, left : left + width]
        depth = cv2.distanceTransform(
            np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] > (best[0] if best else 0.0):
            best = (float(depth[y, x]), np.array([left + x - 0.5, top + y - 0.5]), label)
    return None if best is None else best[1:]


def _floats(values: npt.ArrayLike, what: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"The prompt's {what} are not numbers: {values!r}.") from error
    if not np.isfinite(array).all():
        raise PromptError(f"The prompt's {what} hold numbers that are not finite.")
    return array
