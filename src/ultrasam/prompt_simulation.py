"""Simulated user prompts for a mask: clicks, scribbles, imprecise boxes and corrective clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import ConfigError
from ultrasam.prompts import FloatArray

# Noise of a box's edges: its standard deviation as a share of the side, and its most in pixels.
NOISE_SHARE, NOISE_LIMIT = 0.1, 20.0


@dataclass(frozen=True, slots=True)
class ClickSampling:
    """How simulated clicks are placed.

    Attributes:
        near_center: fraction of clicks near the center of mass; the others are uniform in the mask.
        center_spread: standard deviation of clicks near the center, as a fraction of the object's box.
        scribble: probability that a click becomes a stroke of clicks inside the object.
        multiple: probability of further clicks, on the object or close to it, each with its label.
        near_miss: probability that a single click, meant for the object, narrowly misses it.

    Raises:
        ConfigError: A value is negative, or the probabilities add up to more than 1.
    """

    # Read by pydantic where this class is a field of a model.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    near_center: float = 0.0
    center_spread: float = 0.1
    scribble: float = 0.0
    multiple: float = 0.0
    near_miss: float = 0.0

    def __post_init__(self) -> None:
        values = (
            self.near_center,
            self.center_spread,
            self.scribble,
            self.multiple,
            self.near_miss,
        )
        if (
            min(values) < 0
            or max(self.near_center, self.scribble + self.multiple + self.near_miss) > 1
        ):
            raise ConfigError(
                "Click sampling: values must be at least 0, near_center at most 1, and scribble, multiple "
                "and near_miss together at most 1."
            )


# Keys of earlier versions in recipes.
RENAMED_CLICK_KEYS = {
    "central": "near_center",
    "spread": "center_spread",
    "several": "multiple",
    "beside": "near_miss",
}


def simulate_clicks(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], style: ClickSampling
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """The clicks [K, 2] and labels [K] of one prompt: a single click, a scribble, or several clicks."""
    kind = rng.random()
    if kind < style.near_miss:
        outside = _point_near(rng, mask)
        if outside is not None:
            return outside[None], np.array([1])
        kind = 1.0
    first = simulate_click(rng, mask, style)
    if kind < style.near_miss + style.scribble:
        stroke = _stroke(rng, mask, first)
        return stroke, np.ones(len(stroke), np.int64)
    points, labels = [first], [1]
    if kind < style.near_miss + style.scribble + style.multiple:
        for _ in range(int(rng.integers(1, 4))):
            outside = _point_near(rng, mask) if rng.random() < 0.4 else None
            points.append(simulate_click(rng, mask, style) if outside is None else outside)
            labels.append(1 if outside is None else 0)
    return np.stack(points), np.array(labels)


def _stroke(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], start: FloatArray, *, max_points: int = 5
) -> FloatArray:
    """Clicks along a curve from ``start``, for as long as it stays inside the mask."""
    step = 0.12 * float(np.sqrt(mask.sum()))
    angle, points = rng.uniform(0, 2 * np.pi), [start]
    for _ in range(max_points - 1):
        angle += rng.normal(0, 0.5)
        point = points[-1] + step * np.array([np.cos(angle), np.sin(angle)])
        x, y = np.floor(point).astype(int)
        if not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]):
            break
        points.append(point)
    return np.stack(points)


def _point_near(rng: np.random.Generator, mask: npt.NDArray[np.bool_]) -> FloatArray | None:
    """A point outside a mask, at most a tenth of its size away; None if the mask fills the image."""
    reach = max(3, int(0.1 * np.sqrt(mask.sum())))
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    ys, xs = np.nonzero((near > 0) & ~mask)
    if not len(xs):
        return None
    index = int(rng.integers(len(xs)))
    return np.array([xs[index], ys[index]]) + rng.random(2)


def simulate_click(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], style: ClickSampling
) -> FloatArray:
    """One foreground click (x, y) in a mask [H, W], with sub-pixel jitter (arXiv 2411.16222, 3.2)."""
    ys, xs = np.nonzero(mask)
    if rng.random() < style.near_center:
        size = np.array([np.ptp(xs) + 1, np.ptp(ys) + 1])
        center = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
        point = center + rng.normal(0, style.center_spread, 2) * size
        x, y = np.floor(point).astype(int)
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
            return np.asarray(point, dtype=np.float64)
    index = int(rng.integers(len(xs)))
    return np.array([xs[index], ys[index]]) + rng.random(2)


def jitter_box(rng: np.random.Generator, box: npt.ArrayLike, fraction: float) -> FloatArray:
    """Move each corner by up to ± ``fraction`` of the box's side (arXiv 2411.16222, 3.2)."""
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
    reach = fraction * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    return _ordered(np.array([x0, y0, x1, y1]) + rng.uniform(-1, 1, 4) * reach)


def noisy_box(rng: np.random.Generator, box: npt.ArrayLike) -> FloatArray:
    """A box with its four edges moved by Gaussian noise: standard deviation 10 % of the side, at most 20 px.

    Args:
        box: x0, y0, x1, y1.
    """
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
    spread = NOISE_SHARE * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    noise = np.clip(rng.normal(0, spread), -NOISE_LIMIT, NOISE_LIMIT)
    return _ordered(np.array([x0, y0, x1, y1]) + noise)


def scaled_box(box: npt.ArrayLike, scale: float) -> FloatArray:
    """A box x0, y0, x1, y1 scaled about its center."""
    corners = np.asarray(box, dtype=np.float64).reshape(2, 2)
    center = corners.mean(axis=0)
    return np.asarray((center + scale * (corners - center)).reshape(4))


def shifted_box(rng: np.random.Generator, box: npt.ArrayLike, share: float) -> FloatArray:
    """A box x0, y0, x1, y1 shifted in a random direction by a share of its sides."""
    corners = np.asarray(box, dtype=np.float64).reshape(2, 2)
    angle = rng.uniform(0, 2 * np.pi)
    step = share * (corners[1] - corners[0]) * (np.cos(angle), np.sin(angle))
    return np.asarray((corners + step).reshape(4))


def _ordered(box: FloatArray) -> FloatArray:
    """A box whose edges may have passed each other, as x0, y0, x1, y1 with sides above 0."""
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    return np.concatenate([low, np.maximum(high, low + 1e-3)])


def corrective_click(
    prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]
) -> tuple[FloatArray, int] | None:
    """The corrective click of a careful annotator: the innermost point of the deepest error region.

    Args:
        prediction, truth: [H, W].

    Returns:
        (x, y) and its label; None if the masks are equal.
    """
    best: tuple[float, FloatArray, int] | None = None
    for error, label in ((truth & ~prediction, 1), (prediction & ~truth, 0)):
        # Crop to the error region, because the distance transform is slow.
        left, top, width, height = cv2.boundingRect(error.view(np.uint8))
        error = error[top : top + height, left : left + width]
        depth = cv2.distanceTransform(
            np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] > (best[0] if best else 0.0):
            best = (float(depth[y, x]), np.array([left + x - 0.5, top + y - 0.5]), label)
    return None if best is None else best[1:]
