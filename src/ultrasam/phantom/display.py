"""From the envelope to the picture: gain, log compression, grey map, and what is burnt in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
BoolMap = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Look:
    """How one machine and one user show an envelope.

    Attributes:
        dynamic_range_db: what lies between black and white.
        white_db: the level, over average tissue, that is shown white.
        gamma, contrast: of the grey map; contrast bends it to an S.
        smoothing: blur in pixels of the speckle-reduction filter, 0 for none.
        sharpening: share of an unsharp mask added.
    """

    dynamic_range_db: float
    white_db: float
    gamma: float
    contrast: float
    smoothing: float
    sharpening: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        dynamic_range = float(rng.uniform(38, 66))
        return cls(
            dynamic_range,
            float(rng.uniform(0.42, 0.8) * dynamic_range),
            float(np.exp(rng.normal(0, 0.18))),
            float(rng.uniform(0, 0.6)),
            float(rng.choice((0.0, 0.7, 1.1, 1.6))),
            float(rng.choice((0.0, 0.0, 0.4, 0.8))),
        )


def compress(rng: np.random.Generator, envelope: FloatMap, look: Look) -> FloatMap:
    """Log compression of [samples, lines] to 0-1, with a time-gain curve that is a little off."""
    knots = np.cumsum(rng.normal(0, 2.0, 6))
    curve = np.interp(np.linspace(0, 5, envelope.shape[0]), np.arange(6), knots - knots.mean())
    if rng.random() < 0.6:  # most users leave depth under-compensated
        curve -= np.linspace(-0.3, 0.7, envelope.shape[0]) * rng.uniform(4, 24)
    level = 20 * np.log10(np.maximum(envelope, 1e-6)) + curve[:, None].astype(np.float32)
    # Rayleigh speckle of unit scatterers has a mean level of about 1 dB.
    grey = (level - 1.0 - look.white_db) / look.dynamic_range_db + 1
    return np.asarray(np.clip(grey, 0, 1), dtype=np.float32)


def develop(rng: np.random.Generator, grey: FloatMap, look: Look) -> Picture:
    """Post-processing and the grey map: 0-1 [H, W] to uint8."""
    if look.smoothing:
        smooth = cv2.GaussianBlur(grey, (0, 0), look.smoothing)
        grey = 0.35 * grey + 0.65 * smooth
    if look.sharpening:
        grey = grey + look.sharpening * (grey - cv2.GaussianBlur(grey, (0, 0), 2.0))
    grey = np.clip(grey, 0, 1) ** look.gamma
    bent = grey * grey * (3 - 2 * grey)
    grey = (1 - look.contrast) * grey + look.contrast * bent
    picture: Picture = np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:  # many archives are JPEG
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
        encoded = cv2.imencode(".jpg", picture, quality)[1]
        picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return picture


def burn_in(
    rng: np.random.Generator, picture: Picture, inside: BoolMap, masks: list[BoolMap]
) -> Picture:
    """Calipers, depth marks, a grey bar, text, a logo and a probe marker, each in some pictures."""
    picture = picture.copy()
    if masks and rng.random() < 0.2:
        _calipers(rng, picture, masks[int(rng.integers(len(masks)))])
    if rng.random() < 0.25:
        _depth_marks(rng, picture)
    if rng.random() < 0.12:
        bar = np.linspace(255, 0, picture.shape[0] // 3).astype(np.uint8)
        top = picture.shape[0] // 10
        picture[top : top + len(bar), 6:12] = bar[:, None]
    if rng.random() < 0.35:
        _text(rng, picture)
    if rng.random() < 0.25:
        _probe_marker(rng, picture, inside)
    return picture


def _calipers(rng: np.random.Generator, picture: Picture, mask: BoolMap) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0]
    colour = int(rng.integers(180, 256))
    for axis in range(int(rng.integers(1, 3))):
        first = contour[np.argmin(contour[:, axis])]
        last = contour[np.argmax(contour[:, axis])]
        for x, y in (first, last):
            cv2.drawMarker(picture, (int(x), int(y)), colour, cv2.MARKER_CROSS, 9, 1)
        if rng.random() < 0.6:
            steps = max(2, int(np.hypot(*(last - first)) / 6))
            for x, y in np.linspace(first, last, steps).astype(int):
                picture[y, x] = colour


def _depth_marks(rng: np.random.Generator, picture: Picture) -> None:
    height, width = picture.shape
    step = float(rng.uniform(0.06, 0.14)) * height
    x = width - int(rng.integers(4, 12))
    for index, y in enumerate(np.arange(step / 2, height, step).astype(int)):
        cv2.line(picture, (x - (5 if index % 5 == 0 else 2), int(y)), (x, int(y)), 200, 1)


def _text(rng: np.random.Generator, picture: Picture) -> None:
    height, width = picture.shape
    for _ in range(int(rng.integers(1, 4))):
        letters = rng.choice(list("ABCDEFGHIKLMNOPRSTUV0123456789 .:"), int(rng.integers(2, 11)))
        at = (int(rng.uniform(0, 0.8) * width), int(rng.choice((0.05, 0.1, 0.92, 0.97)) * height))
        scale = float(rng.uniform(0.25, 0.5))
        shade = int(rng.integers(120, 256))
        cv2.putText(
            picture, "".join(letters), at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, 1, cv2.LINE_AA
        )


def _probe_marker(rng: np.random.Generator, picture: Picture, inside: BoolMap) -> None:
    ys, xs = np.nonzero(inside)
    y, x = int(ys.min()) + 8, int(np.clip(xs[ys == ys.min()].min() - 10, 8, picture.shape[1] - 8))
    shade = int(rng.integers(150, 256))
    if rng.random() < 0.5:
        cv2.circle(picture, (x, y), 5, shade, 1, cv2.LINE_AA)
    else:
        cv2.putText(
            picture, "P", (x - 5, y + 5), cv2.FONT_HERSHEY_DUPLEX, 0.5, shade, 1, cv2.LINE_AA
        )
