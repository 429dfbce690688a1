"""Changes of an image that a scanner, a setting or another patient could have made, and no others.

No elastic warps, no colors, no upside-down images: speckle, shadows and the order of tissues come from
physics, and a model that must explain the impossible learns less of the possible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from ultrasam.settings import StrictModel

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
_ROTATED = 0.7  # share of views that are rotated at all


class Augmentation(StrictModel):
    """How training images are changed; the defaults change nothing but mirror every second image.

    Attributes:
        zoomed: fraction of views that are zoomed around one object; the rest show the whole image.
        zoom: range of the zoomed view's side over the object's longer side.
        flip: chance of a horizontal flip.
        rotation: largest rotation in degrees, either way.
        stretch: largest relative change of aspect.
        brightness: strength of changes of gamma, gain and time-gain curve; 0 for none.
        degradation: chance of each of blur, speckle noise and lost resolution.
        scale: largest change of the whole image's size in a view, as a natural logarithm.
        cone: chance that only a sector, as of a curved probe, is shown.
    """

    zoomed: float = Field(0.0, ge=0, le=1)
    zoom: tuple[float, float] = (1.2, 2.6)
    flip: float = Field(0.5, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    stretch: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.0, ge=0)
    degradation: float = Field(0.0, ge=0, le=1)
    scale: float = Field(0.0, ge=0, le=1)
    cone: float = Field(0.0, ge=0, le=1)


NO_AUGMENTATION = Augmentation(flip=0)


@dataclass(frozen=True, slots=True)
class View:
    """An affine map from an image to a view of it.

    Attributes:
        matrix: [2, 3], from (x, y) in the image's pixels to the view's, both from the pixel's corner.
        size: (height, width) of the view.
    """

    matrix: npt.NDArray[np.float64]
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """The view's pixels per pixel of the image, as a length."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    def resample(self, image: Pixels) -> Pixels:
        """The view [h, w] of an image [H, W]; areas are averaged when shrinking, outside is black."""
        scale, matrix = self.scale, self.matrix.copy()
        shrink = max(1, int(1 / scale + 0.25)) if scale < 0.8 else 1
        if shrink > 1:
            height, width = image.shape[0] // shrink, image.shape[1] // shrink
            image = image[: height * shrink, : width * shrink]
            image = np.asarray(
                cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
            matrix[:, :2] *= shrink
        # OpenCV counts from pixel centers: p' = A (p + 1/2) + t - 1/2.
        matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
        size = self.size[::-1]
        return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)

    def mask(self, mask: npt.NDArray[np.bool_]) -> Pixels:
        """The view [h, w] of a mask [H, W]: the share of each pixel that it covers, 0 to 255."""
        return self.resample(mask.view(np.uint8) * np.uint8(255))


def square_view(
    rng: np.random.Generator,
    augmentation: Augmentation,
    shape: tuple[int, int],
    size: int,
    box: npt.NDArray[np.float64],
) -> View:
    """A square view [size, size] of an image [H, W]: the whole of it, or zoomed around ``box``.

    The whole image lies at the top left, as `ultrasam.geometry.ViewTransform` places it.
    """
    height, width = shape
    if rng.random() < augmentation.zoomed:
        x0, y0, x1, y1 = box
        longest = max(x1 - x0, y1 - y0)
        side = longest * math.exp(rng.uniform(*np.log(augmentation.zoom)))
        slack = max(0.0, (side - longest) / 2)
        cx = (x0 + x1) / 2 + rng.uniform(-0.5, 0.5) * slack
        cy = (y0 + y1) / 2 + rng.uniform(-0.5, 0.5) * slack
        target = (size / 2, size / 2)
    else:
        side = max(height, width) * math.exp(rng.uniform(-1, 1) * augmentation.scale)
        cx, cy = width / 2, height / 2
        target = (cx * size / side, cy * size / side)
    matrix = _affine(rng, augmentation, size / side, (cx, cy), target)
    return View(matrix, (size, size))


def augment(
    rng: np.random.Generator,
    pixels: Pixels,
    masks: npt.NDArray[np.bool_],
    augmentation: Augmentation,
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """An image [H, W] and its masks [N, H, W], changed; sizes stay, and a mask may become empty.

    ``zoomed`` and ``cone`` do not apply: the whole image is shown.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    center = (shape[1] / 2, shape[0] / 2)
    scale = math.exp(rng.uniform(-1, 1) * augmentation.scale)
    view = View(_affine(rng, augmentation, scale, center, center), shape)
    changed = augment_intensity(rng, view.resample(pixels), augmentation)
    if not len(masks):
        return changed, masks
    return changed, np.stack([view.mask(mask) > 127 for mask in masks])


def _affine(
    rng: np.random.Generator,
    augmentation: Augmentation,
    scale: float,
    center: tuple[float, float],
    target: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """[2, 3]: a random rotation, stretch and flip about ``center``, which is moved to ``target``."""
    angle = math.radians(rng.uniform(-1, 1) * augmentation.rotation * (rng.random() < _ROTATED))
    stretch = math.exp(rng.uniform(-1, 1) * augmentation.stretch / 2)
    mirror = -1.0 if rng.random() < augmentation.flip else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(
        [mirror * scale * stretch, scale / stretch]
    )
    shift = np.array(target) - linear @ np.array(center)
    return np.concatenate([linear, shift[:, None]], axis=1)


def augment_intensity(
    rng: np.random.Generator, pixels: Pixels, augmentation: Augmentation
) -> Pixels:
    """Changes of gain, time-gain curve, gray map, speckle and resolution of a view [h, w]."""
    height, width = pixels.shape[:2]
    gray: Floats = pixels.astype(np.float32) / 255
    black = pixels == 0
    strength = augmentation.brightness
    if strength:
        gray = gray ** math.exp(rng.normal(0, 0.25) * strength)
        if rng.random() < 0.5:
            knots = rng.normal(0, 0.12 * strength, 5)
            curve = np.interp(np.linspace(0, 4, height), np.arange(5), knots)
            gray = gray * np.exp(curve).astype(np.float32)[:, None]
        gray = gray * math.exp(rng.normal(0, 0.2) * strength) + rng.normal(0, 0.02) * strength
    if rng.random() < augmentation.degradation:
        gray = _floats(cv2.GaussianBlur(gray, (0, 0), rng.uniform(0.4, 1.4)))
    if rng.random() < augmentation.degradation:
        share = rng.uniform(0.35, 0.8)
        small = (max(1, int(width * share)), max(1, int(height * share)))
        coarse = cv2.resize(gray, small, interpolation=cv2.INTER_AREA)
        gray = _floats(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    if rng.random() < augmentation.degradation:
        grain = cv2.GaussianBlur(
            rng.standard_normal((height, width), dtype=np.float32), (0, 0), rng.uniform(0.5, 1.5)
        )
        gray = gray * (1 + rng.uniform(0.1, 0.5) * grain)
    out: Pixels = np.clip(gray * 255 + 0.5, 0, 255).astype(np.uint8)
    out[black] = 0
    return out


def _floats(array: npt.ArrayLike) -> Floats:
    return np.asarray(array, dtype=np.float32)


def random_sector(rng: np.random.Generator, size: int) -> npt.NDArray[np.bool_]:
    """A sector [S, S] as a curved probe above the image would show it: at least two thirds of its width
    at mid-height, nearly all of its depth."""
    center = size * (0.5 + rng.uniform(-0.08, 0.08))
    width = size * rng.uniform(0.67, 1.1)
    # Any wider, and a sector of this width half-way down would begin inside the image.
    half = rng.uniform(math.radians(20), math.atan(width / size))
    apex = size / 2 - width / 2 / math.tan(half)
    top, bottom = rng.uniform(0, 0.06) * size, rng.uniform(0.92, 1.1) * size
    y, x = np.ogrid[0:size, 0:size]
    dx, dy = x + 0.5 - center, y + 0.5 - apex
    radius = np.hypot(dx, dy)
    inside = np.abs(np.arctan2(dx, dy)) <= half
    return np.asarray(inside & (radius >= top - apex) & (radius <= bottom - apex))
