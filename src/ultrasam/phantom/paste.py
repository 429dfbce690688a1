"""Paste a simulated structure into the background of a real image, so that its speckle stays real.

A B-mode image is log-compressed, so a change of scattering strength or attenuation adds to its gray levels.
The structure's interior is therefore speckle of the same image, from its own place or from another one, moved
to another mean level; only the shape, the slow variations inside, the border and what lies behind it are
simulated. The structure may be darker than its surroundings, brighter, or of the same level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import MIN_OBJECT_PIXELS, bounding_box
from ultrasam.phantom.tissue import BoolMap, FloatMap, blob, fill, smooth_noise

GrayImage = npt.NDArray[np.uint8]
Pattern = Literal["plain", "patchy", "fibers", "bundles"]

_COARSE = 160  # longer side of the map on which a place is sought, in pixels
_BLACK = 6  # gray levels up to this one are outside the field of view, or without echo
_DIM = 20  # mean gray level below which a structure would be hardly visible
_TRIES = 12


@dataclass(frozen=True, slots=True)
class _Look:
    """How the structure differs from its surroundings; levels and amplitudes are in gray levels of 255.

    Attributes:
        shift: mean level relative to the surroundings.
        gain: factor of the speckle's amplitude.
        slow: fraction of the donor's slow variations that remains.
        pattern, amplitude: simulated variations inside.
        softness: blur of the border in pixels.
        rim, rim_width: amplitude and width in pixels of a line along the border; may be dark.
        facing: whether the rim is seen only where it faces the probe, as specular echoes are.
        behind: change of level behind the structure: enhancement above 0, a shadow below.
    """

    shift: float
    gain: float
    slow: float
    pattern: Pattern
    amplitude: float
    softness: float
    rim: float
    rim_width: float
    facing: bool
    behind: float

    @classmethod
    def draw(cls, rng: np.random.Generator, level: float, radius: float) -> _Look:
        """Draw a look for surroundings of a mean level, and a structure of a radius in pixels."""
        kind = rng.choice(("darker", "equal", "brighter", "fluid"), p=(0.34, 0.3, 0.22, 0.14))
        shift = {
            "darker": -max(10.0, rng.uniform(0.2, 0.75) * level),
            "equal": rng.uniform(-0.1, 0.1) * level,
            "brighter": max(10.0, rng.uniform(0.2, 0.7) * min(level, 230 - level)),
            "fluid": rng.uniform(0, 0.15) * level - level,
        }[str(kind)]
        patterns: tuple[Pattern, ...] = ("plain", "patchy", "fibers", "bundles")
        pattern = patterns[int(rng.choice(4, p=(0.35, 0.25, 0.2, 0.2)))]
        rim = float(rng.choice((0, 1)) * rng.uniform(12, 60))
        rim_width = float(rng.uniform(0.02, 0.07) * radius + 0.6)
        if kind == "fluid":
            pattern = "plain"
        elif kind == "equal" and not rim:
            rim = -float(rng.uniform(0.25, 0.5) * level)  # a halo; without it, there is no border
            rim_width *= 2
        behind = float(rng.normal(0, 14) if rng.random() < 0.5 else 0)
        return cls(
            shift,
            float(rng.uniform(0.7, 1.2)),
            float(rng.uniform(0, 0.8)),
            pattern,
            float(rng.uniform(8, 30)),
            float(np.exp(rng.uniform(np.log(0.8), np.log(max(1.2, 0.15 * radius))))),
            rim,
            rim_width,
            bool(rim > 0 and rng.random() < 0.6),
            float(abs(rng.normal(8, 12)) if kind == "fluid" else behind),
        )


def paste(
    rng: np.random.Generator, pixels: GrayImage, masks: npt.NDArray[np.bool_]
) -> tuple[GrayImage, npt.NDArray[np.bool_]]:
    """Paste one structure into the background of an image.

    Args:
        rng: source of randomness.
        pixels: [H, W] uint8, log-compressed.
        masks: [N, H, W] bool, what is annotated; the structure touches none of it.

    Returns:
        The new image [H, W] and the masks [N + 1, H, W], the structure's last; both unchanged if the
        background has no room.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> tissue = rng.integers(60, 140, (200, 240), dtype=np.uint8)
        >>> changed, masks = paste(rng, tissue, np.zeros((0, 200, 240), bool))
        >>> masks.shape
        (1, 200, 240)
    """
    shape = (pixels.shape[0], pixels.shape[1])
    field, free = _places(pixels, masks)
    found = _place(rng, free, shape)
    if found is None:
        return pixels, masks
    contour, radius = found
    mask = fill(contour, shape)
    if mask.sum() < MIN_OBJECT_PIXELS or (mask & masks.any(axis=0)).any():
        return pixels, masks
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    margin = int(0.4 * radius) + 6
    top, left = max(0, y0 - margin), max(0, x0 - margin)
    window = (slice(top, min(shape[0], y1 + margin)), slice(left, min(shape[1], x1 + margin)))
    host = pixels[window].astype(np.float32)
    inside = mask[window]
    level = float(host[inside].mean())
    look = _Look.draw(rng, level, radius)

    out = pixels.astype(np.float32)
    if look.behind:
        _change_behind(out, contour, _apex(field, shape), look)
    donor = _donor(rng, pixels, masks, field, host.shape, window) if rng.random() < 0.6 else host
    texture = _texture(rng, host, donor, inside, look)
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), look.softness)
    # Speckle decides pixel by pixel where a soft border runs.
    blended = host + alpha * (texture - host)
    if look.rim:
        blended += _rim(rng, inside, look)
    near = cv2.GaussianBlur(
        cv2.dilate(inside.astype(np.float32), np.ones((3, 3), np.uint8)), (0, 0),
        look.softness + look.rim_width,
    )  # fmt: skip
    near = np.clip(near * 8, 0, 1)  # leaves what lies behind as it is, away from the border
    out[window] += near * (blended - out[window])
    changed: GrayImage = np.clip(out + 0.5, 0, 255).astype(np.uint8)
    return changed, np.concatenate([masks, mask[None]])


def _places(pixels: GrayImage, masks: npt.NDArray[np.bool_]) -> tuple[BoolMap, BoolMap]:
    """The field of view, and the part of it with echoes and away from masks, both on a coarse grid."""
    factor = min(1.0, _COARSE / max(pixels.shape))
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    coarse = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bright = cv2.morphologyEx(
        (coarse > _BLACK).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)
    )
    # Text and bars round the picture are thin or apart from it.
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bright)
    areas = stats[1:, cv2.CC_STAT_AREA]
    field = labels == 1 + int(areas.argmax()) if len(areas) else np.zeros(coarse.shape, bool)
    known = np.asarray(masks.any(axis=0), np.uint8) * np.uint8(255)
    taken = cv2.resize(np.asarray(known), size, interpolation=cv2.INTER_AREA)
    near = cv2.dilate((taken > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    lit = np.asarray(cv2.blur(coarse, (7, 7)) > _DIM)
    return field, np.asarray(field & lit & ~near)


def _place(
    rng: np.random.Generator, free: BoolMap, shape: tuple[int, int]
) -> tuple[FloatMap, float] | None:
    """A contour [96, 2] and its mean radius in pixels of the image; None if nothing fits."""
    depth = cv2.distanceTransform(np.pad(free, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    side = min(np.ptp(np.nonzero(free)[0]), np.ptp(np.nonzero(free)[1])) if free.any() else 0
    radius = side * np.exp(rng.uniform(np.log(0.035), np.log(0.3)))
    scale = shape[1] / free.shape[1]
    for _ in range(_TRIES):
        ratio = np.exp(rng.uniform(0, 0.45))
        rows, columns = np.nonzero(depth > max(1.5, radius / ratio))
        if len(rows) and radius * scale > 5:
            index = int(rng.integers(len(rows)))
            center = (float(columns[index]) + 0.5, float(rows[index]) + 0.5)
            outline = blob(
                rng, center, (radius * ratio, radius / ratio),
                roughness=abs(rng.normal(0, 0.12)), angle=rng.normal(0, 0.4),
            )  # fmt: skip
            if not (fill(outline, free.shape) & ~free).any() and _within(outline, free.shape):
                return (outline * np.float32(scale)).astype(np.float32), radius * scale
        radius *= 0.85
    return None


def _within(outline: FloatMap, shape: tuple[int, int]) -> bool:
    return bool(outline.min() >= 0 and (outline.max(axis=0) < shape[::-1]).all())


def _apex(field: BoolMap, shape: tuple[int, int]) -> tuple[float, float] | None:
    """Where the beams of a sector meet, (x, y) in pixels; None if they are nearly parallel."""
    rows = np.flatnonzero(field.any(axis=1))
    upper, lower = (rows[int(part * (len(rows) - 1))] for part in (0.15, 0.6))
    left, right = (
        np.array([np.flatnonzero(field[row])[end] for row in (upper, lower)]) for end in (0, -1)
    )
    wide = (right - left).astype(float)
    if lower == upper or wide[1] < 1.15 * wide[0]:
        return None
    y = upper - wide[0] * (lower - upper) / (wide[1] - wide[0])
    scale = shape[1] / field.shape[1]
    return float((left[0] + right[0]) / 2 * scale), float(y * scale)


def _change_behind(
    out: FloatMap, contour: FloatMap, apex: tuple[float, float] | None, look: _Look
) -> None:
    """Add a shadow or enhancement behind the structure, in place."""
    height, width = out.shape
    if apex is None:
        across = contour[:, 0]
        away = np.tile(np.array([[0.0, 1.0]]), (len(contour), 1))
    else:
        away = contour - np.array(apex)
        across = np.arctan2(away[:, 0], away[:, 1])
        away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    first, last = int(across.argmin()), int(across.argmax())
    ends = contour[[first, last]]
    far = ends + away[[first, last]] * (height + width)
    beam = fill(np.stack([ends[0], far[0], far[1], ends[1]]).astype(np.float32), out.shape)
    start = int(max(0, ends[:, 1].min()))
    part = out[start:]
    soft = cv2.GaussianBlur(beam[start:].astype(np.float32), (0, 0), 2.5)
    fade = np.exp(-np.arange(len(part), dtype=np.float32) / (0.35 * height))[:, None]
    # Where there is no echo, there is nothing to enhance or to lose.
    part += soft * fade * look.behind * np.clip(part / 30, 0, 1)


def _donor(
    rng: np.random.Generator,
    pixels: GrayImage,
    masks: npt.NDArray[np.bool_],
    field: BoolMap,
    size: tuple[int, int],
    window: tuple[slice, slice],
) -> FloatMap:
    """Another window of the image of this size, without annotated objects; the given one if none is found."""
    height, width = size
    full = cv2.resize(field.astype(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST)
    for _ in range(_TRIES):
        y = int(rng.integers(pixels.shape[0] - height + 1))
        x = int(rng.integers(pixels.shape[1] - width + 1))
        part = (slice(y, y + height), slice(x, x + width))
        if full[part].mean() > 0.97 and not masks[(slice(None), *part)].any():
            donor = pixels[part].astype(np.float32)
            if (donor > _BLACK).mean() > 0.8:
                return donor[:, ::-1] if rng.random() < 0.5 else donor
    return pixels[window].astype(np.float32)


def _texture(
    rng: np.random.Generator, host: FloatMap, donor: FloatMap, inside: BoolMap, look: _Look
) -> FloatMap:
    """Gray levels [h, w] of the structure's interior."""
    grain = max(3.0, 0.02 * max(host.shape) + 3)
    slow = cv2.GaussianBlur(donor, (0, 0), grain)
    speckle = donor - slow
    level = float(host[inside].mean()) + look.shift
    target = level + look.slow * (slow - float(slow[inside].mean()))
    target += look.amplitude * _pattern(rng, inside, look.pattern)
    target = np.maximum(target, 0)
    # Speckle weakens towards black, where the gray map and the floor of the dynamic range squeeze it.
    squeeze = np.clip((target + 4) / (np.maximum(slow, 8) + 4), 0.15, 1.6) ** 0.7
    return np.asarray(target + look.gain * squeeze * speckle, np.float32)


def _pattern(rng: np.random.Generator, inside: BoolMap, pattern: Pattern) -> FloatMap:
    """Simulated variations [h, w] of about unit amplitude and of mean 0 inside the structure."""
    shape = (inside.shape[0], inside.shape[1])
    side = float(np.sqrt(inside.sum()))
    if pattern == "plain":
        return np.zeros(shape, np.float32)
    if pattern == "patchy":
        values = smooth_noise(rng, shape, *(side * rng.uniform(0.12, 0.4, 2)))
    elif pattern == "fibers":
        values = smooth_noise(
            rng, shape, side * rng.uniform(0.3, 0.8), side * rng.uniform(0.04, 0.1)
        )
    else:  # round dark bundles between bright septa, as in a nerve's cross-section
        pitch = max(5.0, side * rng.uniform(0.16, 0.32))
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / pitch
        bend = (smooth_noise(rng, shape, pitch * 2, pitch * 2) * 0.5 for _ in range(2))
        x, y = x + next(bend), y + next(bend)
        values = -np.sin(np.pi * x) * np.sin(np.pi * y)
        values = np.where(values < 0, 2 * values, values)
    values = values - values[inside].mean()
    return np.asarray(values / max(float(values[inside].std()), 1e-3), np.float32).clip(-2, 2)


def _rim(rng: np.random.Generator, inside: BoolMap, look: _Look) -> FloatMap:
    """Gray levels [h, w] to add along the border."""
    hard = inside.astype(np.float32)
    soft = cv2.GaussianBlur(hard, (0, 0), look.rim_width)
    edge = 4 * soft * (1 - soft)
    if look.facing:
        slope_y = np.abs(cv2.Sobel(soft, cv2.CV_32F, 0, 1))
        slope_x = np.abs(cv2.Sobel(soft, cv2.CV_32F, 1, 0))
        edge *= (slope_y / (np.hypot(slope_x, slope_y) + 1e-4)) ** 1.5
    shape = (inside.shape[0], inside.shape[1])
    broken = np.clip(0.8 + 0.5 * smooth_noise(rng, shape, 18, 18), 0, 1.4)
    return np.asarray(look.rim * edge * broken, np.float32)
