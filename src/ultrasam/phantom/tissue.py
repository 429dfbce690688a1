"""Tissue maps of a phantom, and functions that draw into them.

Scattering is in dB relative to average tissue (cyst -40, hypoechoic lesion -12 to -5, muscle 0, fat -6,
gland +3, fascia +10), as echogenicity is graded in B-mode phantoms (AIUM/IEC 61391-2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
BoolMap = npt.NDArray[np.bool_]
_SUBPIXEL = 4  # bits of fraction in OpenCV's polygon coordinates


@dataclass(slots=True)
class Scene:
    """Tissue maps [H, W] that the acquisition reads, and the masks of the structures in them.

    Attributes:
        echo_db: scattering strength in dB, relative to average tissue.
        attenuation_db: loss in dB per image height, in excess of background tissue.
        specular: amplitude of coherent echoes from interfaces.
        inside: bool, pixels in the field of view.
        beam: [2, H, W] unit vectors (x, y) along the beams.
        instances: name and mask [H, W] of each structure.
    """

    echo_db: FloatMap
    attenuation_db: FloatMap
    specular: FloatMap
    inside: BoolMap
    beam: FloatMap
    instances: list[tuple[str, BoolMap]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.inside.shape[0], self.inside.shape[1]


@dataclass(frozen=True, slots=True)
class Material:
    """Acoustic properties of a structure.

    Attributes:
        echo_db: mean scattering strength in dB.
        contrast: whether ``echo_db`` is added to the tissue underneath instead of replacing it.
        texture_db: standard deviation of the texture in dB.
        grain: size of slow variations in pixels, which are the texture if there is no ``pattern``.
        pattern: [H, W] texture of zero mean and unit variance, as `textures` has them.
        attenuation_db: loss in dB per image height, in excess of background tissue; negative for fluid.
        rim: amplitude of the specular echo at the border.
        rim_db: scattering strength of a wall along the border in dB.
        rim_width: width of the wall in pixels; 0 for no wall.
        softness: blur of the border in pixels.
    """

    echo_db: float
    contrast: bool = False
    texture_db: float = 1.5
    grain: float = 8.0
    pattern: FloatMap | None = field(default=None, compare=False)
    attenuation_db: float = 0.0
    rim: float = 0.0
    rim_db: float = 0.0
    rim_width: float = 0.0
    softness: float = 0.8


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], grain_x: float, grain_y: float
) -> FloatMap:
    """Gaussian noise [H, W] of about unit variance with the given correlation lengths in pixels."""
    height = max(3, int(shape[0] / max(grain_y, 1)) + 3)
    width = max(3, int(shape[1] / max(grain_x, 1)) + 3)
    coarse = rng.standard_normal((height, width), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def blob(
    rng: np.random.Generator,
    center: tuple[float, float],
    radii: tuple[float, float],
    *,
    roughness: float,
    angle: float = 0.0,
) -> FloatMap:
    """A smooth closed contour, [96, 2] of (x, y) pixels: an ellipse with random harmonics in its radius.

    Args:
        rng: source of randomness.
        center: (x, y) in pixels.
        radii: of the ellipse in pixels, before rotation.
        roughness: amplitude of the harmonics, relative to the radius.
        angle: rotation in radians.
    """
    theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(theta)
    for order in range(2, 9):
        strength = roughness * rng.normal() / order**1.1
        radius += strength * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.35, 2.0)
    x, y = radii[0] * radius * np.cos(theta), radii[1] * radius * np.sin(theta)
    return turned(x, y, center, angle)


def turned(
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.floating],
    center: Sequence[float] | npt.NDArray[np.floating],
    angle: float,
) -> FloatMap:
    """Points [N, 2] around a center, from their coordinates [N] before a rotation by ``angle`` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    points = np.stack([center[0] + x * cos - y * sin, center[1] + x * sin + y * cos], axis=-1)
    return points.astype(np.float32)


def fill(contour: FloatMap, shape: tuple[int, int]) -> BoolMap:
    """The mask [H, W] of a closed contour [N, 2], rasterized with a precision of 1/16 pixel."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round((contour - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    return mask.astype(bool)


def paint(rng: np.random.Generator, scene: Scene, mask: BoolMap, material: Material) -> None:
    """Fill ``mask`` [H, W] with a material, including border, wall and specular echo."""
    if not mask.any():
        return
    # Small structures are many: only their surroundings are computed.
    window = _window(mask, margin=int(4 * max(1.0, material.softness, material.rim_width)) + 3)
    echo_db, attenuation_db = scene.echo_db[window], scene.attenuation_db[window]
    specular, beam = scene.specular[window], scene.beam[:, window[0], window[1]]
    hard = mask[window].astype(np.float32)
    shape = (hard.shape[0], hard.shape[1])
    alpha = cv2.GaussianBlur(hard, (0, 0), max(0.4, material.softness))
    if material.pattern is None:
        pattern = smooth_noise(rng, shape, material.grain, material.grain)
    else:
        pattern = material.pattern[window]
    target = pattern * material.texture_db + material.echo_db
    if material.contrast:
        target += echo_db
    echo_db += alpha * (target - echo_db)
    attenuation_db += alpha * (material.attenuation_db - attenuation_db)
    specular *= 1 - alpha
    if material.rim_width:
        edge = np.clip(4 * alpha * (1 - alpha), 0, 1)
        wall = cv2.GaussianBlur(edge, (0, 0), material.rim_width)
        # Walls are seen in part: they are rarely bright all around.
        patchy = np.clip(0.85 + 0.4 * smooth_noise(rng, shape, 18, 18), 0.1, 1)
        wall *= patchy / max(float(wall.max()), 1e-6)
        echo_db += wall * (material.rim_db - echo_db)
    if material.rim:
        # The gradient's component along the beam is the cosine of the angle of incidence.
        soft = cv2.GaussianBlur(hard, (0, 0), 0.9)
        slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.25)
        slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.25)
        along = slope_x * beam[0] + slope_y * beam[1]
        noise = smooth_noise(rng, shape, 14, 14)
        specular += material.rim * np.abs(along) ** 1.5 * np.clip(0.6 + 0.5 * noise, 0, 1.5)


def _window(mask: BoolMap, margin: int) -> tuple[slice, slice]:
    """The bounding box of a mask as slices, with a margin in pixels."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (
        slice(max(0, y - margin), y + height + margin),
        slice(max(0, x - margin), x + width + margin),
    )


def place(
    rng: np.random.Generator, scene: Scene, *, low: float, high: float, aspect: float = 1.6
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draw the center and radii of a structure.

    Args:
        rng: source of randomness.
        scene: the scene; the center is in its field of view.
        low, high: range of the mean radius, as a fraction of the field's shorter side.
        aspect: maximum ratio of the radii.

    Returns:
        The center (x, y) and the two radii, in pixels.
    """
    ys, xs = np.nonzero(scene.inside)
    index = int(rng.integers(len(ys)))
    side = min(np.ptp(ys), np.ptp(xs))
    radius = side * np.exp(rng.uniform(np.log(low), np.log(high)))
    ratio = np.exp(rng.uniform(0, np.log(aspect)) / 2)
    middle = (np.median(xs), np.median(ys))
    pull = min(1.0, 1.6 * radius / side)  # large structures lie near the middle
    x = xs[index] + pull * (middle[0] - xs[index])
    y = ys[index] + pull * (middle[1] - ys[index])
    return (float(x), float(y)), (float(radius * ratio), float(radius / ratio))


def field_bounds(inside: BoolMap) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the field of view in pixels."""
    xs, ys = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    return float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1])


def depth_map(scene: Scene) -> FloatMap:
    """Distance [H, W] from the probe's face along the beams, as a fraction of the field's depth."""
    height, width = scene.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    row = height - 1
    across = scene.beam[0, row]
    if float(np.abs(across).max()) < 1e-3:  # parallel beams
        distance = y
    else:
        # The beams meet where the one at the image's center line and one at its side cross.
        column = int(np.argmax(np.abs(across)))
        apex_x = float(np.interp(0, across, np.arange(width)))
        slope = scene.beam[1, row, column] / across[column]
        apex_y = row - (column - apex_x) * float(slope)
        distance = np.hypot(x - apex_x, y - apex_y)
    near, far = distance[scene.inside].min(), distance[scene.inside].max()
    return np.asarray((distance - near) / max(float(far - near), 1.0), np.float32)
