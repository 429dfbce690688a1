"""Turn the envelope into gray levels: gain, log compression, speckle reduction and gray map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.tissue import FloatMap

GrayImage = npt.NDArray[np.uint8]
SpeckleReduction = Literal["none", "blur", "guided", "coherent"]


@dataclass(frozen=True, slots=True)
class DisplaySettings:
    """Display settings of a scanner.

    Attributes:
        dynamic_range_db: range from black to white in dB.
        white_db: level of white in dB, relative to average tissue.
        gamma: exponent of the gray map.
        contrast: weight of an S-shaped gray map, 0 to 1.
        reduction: kind of speckle reduction: a plain blur, one that preserves edges (guided filter: He et al.
            2013), or one that smooths along edges.
        strength: weight of the filtered image, 0 to 1.
        sharpening: weight of the unsharp mask.
        floor: gray level of black, 0 to 1.
        steepness: slope of a gray map that is nearly binary; 0 for none.
    """

    dynamic_range_db: float
    white_db: float
    gamma: float = 1.0
    contrast: float = 0.0
    reduction: SpeckleReduction = "none"
    strength: float = 0.0
    sharpening: float = 0.0
    floor: float = 0.0
    steepness: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> DisplaySettings:
        dynamic_range = float(rng.uniform(40, 76))
        # Most images are dark; a few are overexposed or nearly black.
        low, high = ((0.54, 0.82), (0.25, 0.5), (0.84, 0.93))[
            int(rng.choice(3, p=(0.85, 0.1, 0.05)))
        ]
        kinds: tuple[SpeckleReduction, ...] = ("none", "blur", "guided", "coherent")
        return cls(
            dynamic_range,
            float(rng.uniform(low, high) * dynamic_range),
            float(np.exp(rng.normal(0, 0.22))),
            float(rng.uniform(0, 0.8)),
            kinds[int(rng.choice(4, p=(0.25, 0.2, 0.35, 0.2)))],
            float(rng.uniform(0.4, 1.0)),
            float(rng.choice((0.0, 0.0, 0.4, 0.8, 1.2))),
            float(rng.uniform(0.02, 0.14) if rng.random() < 0.2 else 0),
            float(rng.uniform(6, 14) if rng.random() < 0.05 else 0),
        )


def compress(rng: np.random.Generator, envelope: FloatMap, settings: DisplaySettings) -> FloatMap:
    """Log-compress an envelope [samples, lines] to 0-1, with an imperfect time-gain curve."""
    knots = np.cumsum(rng.normal(0, 2.0, 6))
    curve = np.interp(np.linspace(0, 5, envelope.shape[0]), np.arange(6), knots - knots.mean())
    if rng.random() < 0.7:  # depth is often under-compensated
        curve -= np.linspace(-0.3, 0.7, envelope.shape[0]) * rng.uniform(4, 26)
    level = 20 * np.log10(np.maximum(envelope, 1e-6)) + curve[:, None].astype(np.float32)
    # Rayleigh speckle of unit scatterers has a mean level of about 1 dB.
    gray = (level - 1.0 - settings.white_db) / settings.dynamic_range_db + 1
    return np.asarray(np.clip(gray, 0, 1), dtype=np.float32)


def postprocess(gray: FloatMap, settings: DisplaySettings) -> GrayImage:
    """Filter an image [H, W] in 0-1, and map it to uint8 gray values."""
    if settings.reduction != "none":
        smooth = {"blur": _blur, "guided": _guided, "coherent": _coherent}[settings.reduction](gray)
        gray = gray + np.float32(settings.strength) * (smooth - gray)
    if settings.sharpening:
        gray = gray + settings.sharpening * (gray - cv2.GaussianBlur(gray, (0, 0), 2.0))
    gray = np.clip(gray, 0, 1) ** settings.gamma
    bent = gray * gray * (3 - 2 * gray)
    gray = (1 - settings.contrast) * gray + settings.contrast * bent
    if settings.steepness:
        middle = float(np.percentile(gray, 70))
        gray = 1 / (1 + np.exp(-settings.steepness * (gray - middle)))
    gray = settings.floor + (1 - settings.floor) * gray
    pixels: GrayImage = np.clip(gray * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels


def archive(rng: np.random.Generator, pixels: GrayImage) -> GrayImage:
    """Lose what archives lose: three images in ten have been JPEGs."""
    if rng.random() >= 0.3:
        return pixels
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
    encoded = cv2.imencode(".jpg", pixels, quality)[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def _blur(gray: FloatMap) -> FloatMap:
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), sigmaX=1.4, sigmaY=0.7), np.float32)


def _guided(gray: FloatMap) -> FloatMap:
    """The guided filter of He et al. (2013) with the image as its own guide: flat where it varies little."""
    size = (7, 3)
    mean = cv2.blur(gray, size)
    variance = cv2.blur(gray * gray, size) - mean * mean
    slope = variance / (variance + 0.008)
    offset = mean * (1 - slope)
    return np.asarray(cv2.blur(slope, size) * gray + cv2.blur(offset, size), np.float32)


def _coherent(gray: FloatMap) -> FloatMap:
    """Smooth along the direction in which the image varies least, as coherence-enhancing filters do."""
    total, weights = np.zeros_like(gray), np.full_like(gray, 1e-6)
    for kernel in _LINES:
        along = cv2.filter2D(gray, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
        misfit = cv2.blur((gray - along) ** 2, (7, 7))
        weight = 1 / (misfit + 2e-4) ** 3
        weight *= 1e-9  # keeps sums small
        total += weight * along
        weights += weight
    return np.asarray(total / weights, np.float32)


def _line(angle: float) -> FloatMap:
    """A kernel [11, 11] that averages along a short line; the angle to the horizontal is in radians."""
    y, x = np.mgrid[-5:6, -5:6].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-(along**2) / (2 * 2.5**2) - across**2 / (2 * 0.6**2))
    return np.asarray(kernel / kernel.sum(), np.float32)


_LINES = tuple(_line(angle) for angle in np.linspace(-np.pi / 2, np.pi / 2, 6, endpoint=False))
