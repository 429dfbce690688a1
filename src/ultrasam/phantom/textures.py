"""Random patterns of tissue, so that a structure can be told by its texture and its border alone.

Each function returns a map [H, W] float32 with zero mean and unit variance, for `Material.pattern`: its
`texture_db` is the standard deviation in dB. Speckle adds a standard deviation of 5.6 dB to whatever a
pattern shows, so patterns of less than about 2 dB are seen only where they are coarse.

Example:
    >>> rng = np.random.default_rng(0)
    >>> pattern = honeycomb(rng, (120, 160), cell=9)
    >>> pattern.shape, bool(abs(pattern.mean()) < 0.01), bool(abs(pattern.std() - 1) < 0.01)
    ((120, 160), True, True)
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.tissue import FloatMap, smooth_noise


def random_pattern(
    rng: np.random.Generator, shape: tuple[int, int], *, fibers: bool = True
) -> FloatMap:
    """Any of the patterns below, with cells or grains of 1/60 to 1/16 of the shorter side.

    Args:
        rng: source of randomness.
        shape: (height, width).
        fibers: whether the pattern may be fibrillar, as it is in muscles and tendons but not in organs.
    """
    size = min(shape)
    scale = float(size * np.exp(rng.uniform(np.log(1 / 60), np.log(1 / 16))))
    kinds = ("fine", "coarse", "granular", "honeycomb", "spongiform", "fibrillar")
    kind = rng.choice(kinds if fibers else kinds[:-1])
    if kind == "fine":
        return parenchyma(rng, shape, max(1.5, scale / 3))
    if kind == "coarse":
        return parenchyma(rng, shape, scale)
    if kind == "granular":
        return granular(rng, shape, max(2.5, scale / 2))
    if kind == "honeycomb":
        return honeycomb(rng, shape, max(5.0, scale))
    if kind == "spongiform":
        return spongiform(rng, shape, max(5.0, scale))
    return fibrillar(rng, shape, rng.uniform(-0.8, 0.8), max(2.0, scale / 3))


def honeycomb(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> FloatMap:
    """Round dark fascicles in a bright matrix, as a nerve in cross-section.

    Worley noise (Worley 1996): the distance to the nearest of scattered points, compared with a radius
    drawn for each point.

    Args:
        rng: source of randomness.
        shape: (height, width).
        cell: distance between fascicles in pixels.
    """
    distance, label, count = _cells(rng, shape, cell)
    radius = cell * rng.uniform(0.25, 0.46, count).astype(np.float32)
    distance += smooth_noise(rng, shape, cell / 2, cell / 2) * np.float32(0.07 * cell)
    dark = 1 / (1 + np.exp((distance - radius[label]) * (2.5 / max(1.0, 0.12 * cell))))
    level = rng.uniform(0.35, 1.0, count).astype(np.float32)
    return _standardized(np.asarray(-dark * level[label], np.float32))


def spongiform(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> FloatMap:
    """Small cysts that fill the space between thin bright septa; some of them solid.

    Args:
        rng: source of randomness.
        shape: (height, width).
        cell: mean diameter of the cysts in pixels.
    """
    _, label, count = _cells(rng, shape, cell)
    level = np.where(rng.random(count) < 0.7, -rng.uniform(0.6, 1.4, count), 0.0)
    septa = np.zeros(shape, np.float32)
    septa[:, 1:] = label[:, 1:] != label[:, :-1]
    septa[1:] = np.maximum(septa[1:], label[1:] != label[:-1])
    pattern = level.astype(np.float32)[label] * (1 - septa) + 0.8 * septa
    blurred = cv2.GaussianBlur(pattern, (0, 0), max(0.7, 0.06 * cell))
    return _standardized(np.asarray(blurred, np.float32))


def fibrillar(
    rng: np.random.Generator,
    shape: tuple[int, int],
    angle: float | FloatMap,
    spacing: float,
    *,
    length: float | None = None,
) -> FloatMap:
    """Bright, broken, nearly parallel lines in a dark matrix, as the fibers of muscle or tendon.

    Args:
        rng: source of randomness.
        shape: (height, width).
        angle: of the lines in radians, clockwise from the x axis in an image; a number or a map [H, W].
        spacing: distance between lines in pixels.
        length: of the lines in pixels; None draws 5 to 22 times their spacing.
    """
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    y -= shape[0] / 2
    x -= shape[1] / 2
    cos, sin = np.cos(np.float32(angle)), np.sin(np.float32(angle))
    along = x * cos + y * sin
    bend = np.float32(rng.normal(0, 0.06) / max(shape))
    across = y * cos - x * sin + bend * along * along
    length = length or spacing * rng.uniform(5, 22)
    thin = _sampled(rng, along / length, across / (spacing / 2.4))
    thick = _sampled(rng, along / (1.6 * length), across / (1.1 * spacing))
    ridges = np.clip(thin + 0.6 * thick, 0, None)
    return _standardized(ridges + 0.25 * thick)


def parenchyma(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> FloatMap:
    """Even tissue without direction: octaves of noise from ``grain`` pixels to four times that."""
    pattern = np.zeros(shape, np.float32)
    for octave, weight in ((1.0, 1.0), (2.0, 0.7), (4.0, 0.5)):
        pattern += weight * smooth_noise(rng, shape, grain * octave, grain * octave)
    return _standardized(pattern)


def granular(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> FloatMap:
    """Heterogeneous tissue: patches with clear borders, and sparse bright grains.

    Args:
        rng: source of randomness.
        shape: (height, width).
        grain: size of the bright grains in pixels; patches are four times as large.
    """
    patches = np.tanh(2.5 * smooth_noise(rng, shape, 4 * grain, 3 * grain))
    grains = np.clip(smooth_noise(rng, shape, grain, grain) - 1.2, 0, None)
    pattern = rng.uniform(0.4, 1.0) * patches + rng.uniform(0.5, 2.5) * grains
    return _standardized(np.asarray(pattern, np.float32))


def _cells(
    rng: np.random.Generator, shape: tuple[int, int], cell: float
) -> tuple[FloatMap, npt.NDArray[np.int32], int]:
    """Voronoi cells of a jittered hexagonal grid: distance to the nearest point, its number, their count."""
    cell = max(cell, 2.0)
    rows, columns = int(shape[0] / (0.87 * cell)) + 2, int(shape[1] / cell) + 2
    row, column = np.mgrid[0:rows, 0:columns]
    x = (column + 0.5 * (row % 2)) * cell + rng.normal(0, 0.12 * cell, row.shape)
    y = row * 0.87 * cell + rng.normal(0, 0.12 * cell, row.shape)
    background = np.ones(shape, np.uint8)
    # Points outside the image move to its border, so that its outer cells are as small as the others.
    background[np.clip(y, 0, shape[0] - 1).astype(int), np.clip(x, 0, shape[1] - 1).astype(int)] = 0
    distance, label = cv2.distanceTransformWithLabels(
        background, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return np.asarray(distance, np.float32), np.asarray(label, np.int32), int(np.max(label)) + 1


def _sampled(rng: np.random.Generator, u: FloatMap, v: FloatMap) -> FloatMap:
    """Smooth noise with a correlation length of 1 at the coordinates ``u`` and ``v`` [H, W]."""
    u, v = u - u.min() + 1, v - v.min() + 1
    coarse = rng.standard_normal((int(v.max()) + 3, int(u.max()) + 3), dtype=np.float32)
    return np.asarray(cv2.remap(coarse, u, v, cv2.INTER_CUBIC), np.float32)


def _standardized(pattern: FloatMap) -> FloatMap:
    return np.asarray((pattern - pattern.mean()) / (pattern.std() + 1e-6), np.float32)
