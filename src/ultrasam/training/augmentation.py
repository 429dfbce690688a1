"""Changes of an image that a scanner, a setting or another patient could have made, and no others.

No elastic warps, no colours, no upside-down images: speckle, shadows and the order of tissues come from
physics, and a model that must explain the impossible learns less of the possible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ViewStyle:
    """How images are seen and disturbed; the defaults keep to what a scanner could have shown.

    Attributes:
        zoomed: share of views that are zoomed around one object, the rest show the whole image.
        zoom: range of the zoomed view's side over the object's longer side.
        flip: chance of a mirror image, left for right.
        rotation: largest turn in degrees.
        stretch: largest relative change of aspect.
        brightness: strength of gamma, gain and time-gain changes, 0 for none.
        degradation: chance of each of blur, noise and lost resolution.
        scale: largest change of the whole image's size in a view, as a natural logarithm.
        cone: chance that only a sector, as of a curved probe, is seen.
    """

    zoomed: float = 0.5
    zoom: tuple[float, float] = (1.2, 2.6)
    flip: float = 0.5
    rotation: float = 15.0
    stretch: float = 0.15
    brightness: float = 1.0
    degradation: float = 0.2
    scale: float = 0.12
    cone: float = 0.0


def warp(
    image: npt.NDArray[np.uint8], transform: npt.NDArray[np.float64], scale: float, size: int
) -> npt.NDArray[np.uint8]:
    """Resample through an affine map given for pixel corners, areas averaged when shrinking."""
    shrink = max(1, int(1 / scale + 0.25)) if scale < 0.8 else 1
    transform = transform.copy()
    if shrink > 1:
        height, width = image.shape[0] // shrink, image.shape[1] // shrink
        image = image[: height * shrink, : width * shrink]
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
        transform[:, :2] *= shrink
    # OpenCV counts from pixel centres: p' = A (p + 1/2) + t - 1/2.
    transform[:, 2] += transform[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(
        cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR), np.uint8
    )


def disturb(
    rng: np.random.Generator, pixels: npt.NDArray[np.uint8], style: ViewStyle
) -> npt.NDArray[np.uint8]:
    """Changes of gain, time-gain curve, grey map, speckle and resolution of a view [S, S]."""
    size = pixels.shape[0]
    grey: npt.NDArray[np.floating] = pixels.astype(np.float32) / 255
    black = pixels == 0
    strength = style.brightness
    if strength:
        grey = grey ** math.exp(rng.normal(0, 0.25) * strength)
        if rng.random() < 0.5:
            knots = rng.normal(0, 0.12 * strength, 5)
            curve = np.interp(np.linspace(0, 4, size), np.arange(5), knots)
            grey = grey * np.exp(curve).astype(np.float32)[:, None]
        grey = grey * math.exp(rng.normal(0, 0.2) * strength) + rng.normal(0, 0.02) * strength
    if rng.random() < style.degradation:
        grey = _floats(cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.4)))
    if rng.random() < style.degradation:
        small = int(size * rng.uniform(0.35, 0.8))
        coarse = cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA)
        grey = _floats(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR))
    if rng.random() < style.degradation:
        grain = cv2.GaussianBlur(
            rng.standard_normal((size, size), dtype=np.float32), (0, 0), rng.uniform(0.5, 1.5)
        )
        grey = grey * (1 + rng.uniform(0.1, 0.5) * grain)
    out: npt.NDArray[np.uint8] = np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)
    out[black] = 0
    return out


def _floats(array: npt.ArrayLike) -> npt.NDArray[np.floating]:
    return np.asarray(array, dtype=np.float32)


def random_sector(rng: np.random.Generator, size: int) -> npt.NDArray[np.bool_]:
    """A sector [S, S] as a curved probe above the image would show it: at least two thirds of its width
    at mid-height, nearly all of its depth."""
    centre = size * (0.5 + rng.uniform(-0.08, 0.08))
    width = size * rng.uniform(0.67, 1.1)
    # Any wider, and a sector of this width half-way down would begin inside the image.
    half = rng.uniform(math.radians(20), math.atan(width / size))
    apex = size / 2 - width / 2 / math.tan(half)
    top, bottom = rng.uniform(0, 0.06) * size, rng.uniform(0.92, 1.1) * size
    y, x = np.ogrid[0:size, 0:size]
    dx, dy = x + 0.5 - centre, y + 0.5 - apex
    radius = np.hypot(dx, dy)
    inside = np.abs(np.arctan2(dx, dy)) <= half
    return np.asarray(inside & (radius >= top - apex) & (radius <= bottom - apex))
