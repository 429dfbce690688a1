"""Augment ultrasound images only in ways that occur in practice.

There are no elastic deformations, color changes or vertical flips: speckle, shadows and the layering of
tissue follow from physics, and training on impossible images wastes model capacity.
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
_ROTATED = 0.7  # fraction of views that are rotated at all


class Augmentation(StrictModel):
    """Augmentation of training images; by default only horizontal flips.

    Attributes:
        zoomed: fraction of views zoomed in on one object; the others show the whole image.
        zoom: range of the zoomed view's side relative to the object's longer side.
        flip: probability of a horizontal flip.
        rotation: maximum rotation in degrees, in either direction.
        stretch: maximum relative change of the aspect ratio.
        brightness: strength of gamma, gain and time-gain-curve changes; 0 disables them.
        degradation: probability of each of blur, speckle noise and reduced resolution.
        scale: maximum change of size of the whole image in a view, as a natural logarithm.
        cone: probability of masking the view to a sector, as from a curved probe.
        pasted: probability of pasting a simulated structure into the image's background, as one more
            object to prompt (`ultrasam.phantom.paste`); for objects without classes only.
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
    pasted: float = Field(0.0, ge=0, le=1)


NO_AUGMENTATION = Augmentation(flip=0)


@dataclass(frozen=True, slots=True)
class View:
    """An affine map from an image to a view.

    Attributes:
        matrix: [2, 3], from (x, y) in image pixels to view pixels; the origin is the corner of a pixel.
        size: (height, width) of the view.
    """

    matrix: npt.NDArray[np.float64]
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """View pixels per image pixel, as a length ratio."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    def resample(self, image: Pixels) -> Pixels:
        """Resample an image [H, W] to the view [h, w]: area averaging when shrinking, black outside."""
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
        """Resample a mask [H, W] to the view [h, w]: coverage of each pixel, 0 to 255."""
        return self.resample(mask.view(np.uint8) * np.uint8(255))


def square_view(
    rng: np.random.Generator,
    augmentation: Augmentation,
    shape: tuple[int, int],
    size: int,
    box: npt.NDArray[np.float64],
) -> View:
    """A square view [size, size] of an image [H, W]: the whole image, or zoomed in on ``box``.

    The whole image is placed at the top left, as `ultrasam.geometry.ViewTransform` places it.
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
    """Augment an image [H, W] and its masks [N, H, W]; sizes are preserved, and a mask may become empty.

    ``zoomed``, ``cone`` and ``pasted`` are ignored: the view shows the whole image and its own objects.
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
    """[2, 3]: random rotation, stretch and flip about ``center``, which maps to ``target``."""
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
    """Change gain, time-gain curve, gray map, speckle and resolution of a view [h, w]."""
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
        factor = rng.uniform(0.35, 0.8)
        small = (max(1, int(width * factor)), max(1, int(height * factor)))
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
    """A random sector mask [S, S], as from a curved probe above the image.

    The sector covers at least two thirds of the width at mid-height, and nearly the full depth.
    """
    center = size * (0.5 + rng.uniform(-0.08, 0.08))
    width = size * rng.uniform(0.67, 1.1)
    # A larger angle would put the apex of a sector of this width inside the image.
    half = rng.uniform(math.radians(20), math.atan(width / size))
    apex = size / 2 - width / 2 / math.tan(half)
    top, bottom = rng.uniform(0, 0.06) * size, rng.uniform(0.92, 1.1) * size
    y, x = np.ogrid[0:size, 0:size]
    dx, dy = x + 0.5 - center, y + 0.5 - apex
    radius = np.hypot(dx, dy)
    inside = np.abs(np.arctan2(dx, dy)) <= half
    return np.asarray(inside & (radius >= top - apex) & (radius <= bottom - apex))
