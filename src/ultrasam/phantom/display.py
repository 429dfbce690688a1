"""Turn the envelope into an image: gain, log compression, gray map, and burned-in annotations."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
BoolMap = npt.NDArray[np.bool_]
GrayImage = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DisplaySettings:
    """Display settings of a scanner.

    Attributes:
        dynamic_range_db: range from black to white in dB.
        white_db: level of white in dB, relative to average tissue.
        gamma: exponent of the gray map.
        contrast: weight of an S-shaped gray map, 0 to 1.
        smoothing: standard deviation of the speckle-reduction filter in pixels; 0 for none.
        sharpening: weight of the unsharp mask.
    """

    dynamic_range_db: float
    white_db: float
    gamma: float
    contrast: float
    smoothing: float
    sharpening: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> DisplaySettings:
        dynamic_range = float(rng.uniform(38, 66))
        return cls(
            dynamic_range,
            float(rng.uniform(0.42, 0.8) * dynamic_range),
            float(np.exp(rng.normal(0, 0.18))),
            float(rng.uniform(0, 0.6)),
            float(rng.choice((0.0, 0.7, 1.1, 1.6))),
            float(rng.choice((0.0, 0.0, 0.4, 0.8))),
        )


def compress(rng: np.random.Generator, envelope: FloatMap, settings: DisplaySettings) -> FloatMap:
    """Log-compress an envelope [samples, lines] to 0-1, with an imperfect time-gain curve."""
    knots = np.cumsum(rng.normal(0, 2.0, 6))
    curve = np.interp(np.linspace(0, 5, envelope.shape[0]), np.arange(6), knots - knots.mean())
    if rng.random() < 0.6:  # depth is often under-compensated
        curve -= np.linspace(-0.3, 0.7, envelope.shape[0]) * rng.uniform(4, 24)
    level = 20 * np.log10(np.maximum(envelope, 1e-6)) + curve[:, None].astype(np.float32)
    # Rayleigh speckle of unit scatterers has a mean level of about 1 dB.
    gray = (level - 1.0 - settings.white_db) / settings.dynamic_range_db + 1
    return np.asarray(np.clip(gray, 0, 1), dtype=np.float32)


def postprocess(rng: np.random.Generator, gray: FloatMap, settings: DisplaySettings) -> GrayImage:
    """Filter an image [H, W] in 0-1, and map it to uint8 gray values."""
    if settings.smoothing:
        smooth = cv2.GaussianBlur(gray, (0, 0), settings.smoothing)
        gray = 0.35 * gray + 0.65 * smooth
    if settings.sharpening:
        gray = gray + settings.sharpening * (gray - cv2.GaussianBlur(gray, (0, 0), 2.0))
    gray = np.clip(gray, 0, 1) ** settings.gamma
    bent = gray * gray * (3 - 2 * gray)
    gray = (1 - settings.contrast) * gray + settings.contrast * bent
    pixels: GrayImage = np.clip(gray * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:  # many archived images are JPEGs
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
        encoded = cv2.imencode(".jpg", pixels, quality)[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return pixels


def burn_in(
    rng: np.random.Generator, pixels: GrayImage, inside: BoolMap, masks: list[BoolMap]
) -> GrayImage:
    """Draw calipers, depth marks, a gray bar, text and a probe marker, each in some of the images."""
    pixels = pixels.copy()
    if masks and rng.random() < 0.2:
        _calipers(rng, pixels, masks[int(rng.integers(len(masks)))])
    if rng.random() < 0.25:
        _depth_marks(rng, pixels)
    if rng.random() < 0.12:
        bar = np.linspace(255, 0, pixels.shape[0] // 3).astype(np.uint8)
        top = pixels.shape[0] // 10
        pixels[top : top + len(bar), 6:12] = bar[:, None]
    if rng.random() < 0.35:
        _text(rng, pixels)
    if rng.random() < 0.25:
        _probe_marker(rng, pixels, inside)
    return pixels


def _calipers(rng: np.random.Generator, pixels: GrayImage, mask: BoolMap) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0]
    shade = int(rng.integers(180, 256))
    for axis in range(int(rng.integers(1, 3))):
        first = contour[np.argmin(contour[:, axis])]
        last = contour[np.argmax(contour[:, axis])]
        for x, y in (first, last):
            cv2.drawMarker(pixels, (int(x), int(y)), shade, cv2.MARKER_CROSS, 9, 1)
        if rng.random() < 0.6:
            steps = max(2, int(np.hypot(*(last - first)) / 6))
            for x, y in np.linspace(first, last, steps).astype(int):
                pixels[y, x] = shade


def _depth_marks(rng: np.random.Generator, pixels: GrayImage) -> None:
    height, width = pixels.shape
    step = float(rng.uniform(0.06, 0.14)) * height
    x = width - int(rng.integers(4, 12))
    for index, y in enumerate(np.arange(step / 2, height, step).astype(int)):
        cv2.line(pixels, (x - (5 if index % 5 == 0 else 2), int(y)), (x, int(y)), 200, 1)


def _text(rng: np.random.Generator, pixels: GrayImage) -> None:
    height, width = pixels.shape
    for _ in range(int(rng.integers(1, 4))):
        letters = rng.choice(list("ABCDEFGHIKLMNOPRSTUV0123456789 .:"), int(rng.integers(2, 11)))
        at = (int(rng.uniform(0, 0.8) * width), int(rng.choice((0.05, 0.1, 0.92, 0.97)) * height))
        scale = float(rng.uniform(0.25, 0.5))
        shade = int(rng.integers(120, 256))
        cv2.putText(
            pixels, "".join(letters), at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, 1, cv2.LINE_AA
        )


def _probe_marker(rng: np.random.Generator, pixels: GrayImage, inside: BoolMap) -> None:
    ys, xs = np.nonzero(inside)
    y, x = int(ys.min()) + 8, int(np.clip(xs[ys == ys.min()].min() - 10, 8, pixels.shape[1] - 8))
    shade = int(rng.integers(150, 256))
    if rng.random() < 0.5:
        cv2.circle(pixels, (x, y), 5, shade, 1, cv2.LINE_AA)
    else:
        cv2.putText(
            pixels, "P", (x - 5, y + 5), cv2.FONT_HERSHEY_DUPLEX, 0.5, shade, 1, cv2.LINE_AA
        )
