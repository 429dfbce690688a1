"""Muscles: bellies in their fasciae, and pennate muscle between aponeuroses."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.textures import fibrillar, parenchyma
from ultrasam.phantom.tissue import BoolMap, FloatMap, Scene, smooth_noise

LabelMap = npt.NDArray[np.int32]


def draw_muscles(rng: np.random.Generator, scene: Scene) -> None:
    """Draw three to nine bellies that fill the view; the masks of up to five of them."""
    label = draw_muscle_bed(rng, scene, int(rng.integers(3, 10)))
    bellies = [
        belly_interior(label == index, scene.inside) for index in range(int(label.max()) + 1)
    ]
    share = np.array([belly.sum() for belly in bellies]) / scene.inside.sum()
    shown = [index for index in rng.permutation(len(bellies)) if 0.01 < share[index] < 0.5]
    scene.instances += [("muscle belly", bellies[index]) for index in shown[:5]]


def draw_muscle_bed(rng: np.random.Generator, scene: Scene, count: int) -> LabelMap:
    """Fill the view with ``count`` muscle bellies in their fasciae; returns their numbers [H, W].

    Below the skin and fat, which stay as they are.
    """
    label = _bellies(rng, scene.shape, count)
    angle = rng.normal(0, 0.25, count).astype(np.float32)
    level = rng.normal(-3, rng.uniform(0.5, 6), count).astype(np.float32)
    strength = rng.uniform(1.0, 6.0, count).astype(np.float32)
    spacing = rng.uniform(3, 9)
    fibers = fibrillar(rng, scene.shape, angle[label], spacing)
    grain = parenchyma(rng, scene.shape, rng.uniform(2, 5))
    target = level[label] + strength[label] * (0.8 * fibers + 0.35 * grain)
    depth = np.arange(scene.shape[0], dtype=np.float32)[:, None] / scene.shape[0]
    below_fat = np.clip((depth - rng.uniform(-0.02, 0.16)) * 30, 0, 1).astype(np.float32)
    scene.echo_db += below_fat * (target - scene.echo_db)
    scene.specular *= 1 - 0.7 * below_fat
    if rng.random() < 0.6:  # perimysium, thick enough to be seen as single streaks
        wavy = angle[label] + 0.15 * smooth_noise(rng, scene.shape, 70, 50)
        spacing = rng.uniform(5, 14)
        streaks = fibrillar(rng, scene.shape, wavy, spacing, length=spacing * rng.uniform(4, 9))
        streaks = np.clip(streaks - rng.uniform(0.8, 2.0), 0, 1.2) * below_fat
        scene.echo_db += streaks * rng.uniform(3, 14)
        scene.specular += streaks * rng.uniform(0, 2.5)
    _draw_fasciae(rng, scene, label, below_fat)
    return label


def draw_aponeuroses(rng: np.random.Generator, scene: Scene) -> None:
    """Draw two to five aponeuroses along the view, with pennate or parallel muscle between them.

    The masks are the bright bands, and in half of the images the muscles between them.
    """
    height, width = scene.shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    count = int(rng.integers(2, 6))
    gaps = rng.uniform(0.6, 1.6, count + 1)
    gaps[0] *= 0.5
    depths = np.cumsum(gaps)[:-1] / gaps.sum()
    slopes = rng.normal(0, 0.1) + rng.normal(0, 0.06, count)
    bow = rng.normal(0, 0.08)
    edges = [
        height * (d + s * x + bow * x * x) + 3 * smooth_noise(rng, (1, width), width / 3, 1)[0]
        for d, s in zip(depths, slopes, strict=True)
    ]
    edges = [np.maximum.accumulate(np.stack(edges), axis=0)[i] for i in range(count)]
    _fill_between(rng, scene, edges)
    thick = max(3.5, height * rng.uniform(0.010, 0.03))
    for edge in edges:
        band = draw_sheet(rng, scene, edge, thick * rng.uniform(0.7, 1.4), rng.uniform(8, 18))
        scene.instances.append(("aponeurosis", band))
    if rng.random() < 0.5:
        y = np.arange(height, dtype=np.float32)[:, None]
        for above, below in pairwise(edges):
            belly = (y > above + 0.6 * thick) & (y < below - 0.6 * thick)
            if belly.mean() > 0.02:
                scene.instances.append(("muscle belly", belly))


def draw_sheet(
    rng: np.random.Generator, scene: Scene, edge: FloatMap, thickness: float, level_db: float
) -> BoolMap:
    """Draw a bright sheet across the view, such as fascia; returns its mask [H, W].

    Args:
        rng: source of randomness.
        scene: the scene.
        edge: [W] y coordinate of the sheet's middle in pixels.
        thickness: in pixels.
        level_db: scattering strength in dB.
    """
    height, width = scene.shape
    mask = np.zeros(scene.shape, bool)
    top = int(np.clip(edge.min() - thickness, 0, height - 1))
    rows = slice(top, max(top + 1, int(np.clip(edge.max() + thickness, 1, height))))
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    offset = (y - edge) / (0.5 * thickness)
    profile = np.exp(-(offset**4))
    patchy = np.clip(0.8 + 0.35 * smooth_noise(rng, (1, width), 25, 1), 0.15, 1.3)
    grain = smooth_noise(rng, (len(y), width), 20, max(1.0, 0.25 * thickness))
    scene.echo_db[rows] += profile * (level_db * patchy + grain - scene.echo_db[rows])
    scene.specular[rows] += profile**2 * patchy * rng.uniform(0, 2.0)
    mask[rows] = np.abs(offset) < 1
    return mask


def _fill_between(rng: np.random.Generator, scene: Scene, edges: list[FloatMap]) -> None:
    """Fill the layers between edges [W] with muscle whose fibers slant to either side."""
    y = np.arange(scene.shape[0], dtype=np.float32)[:, None]
    layer = np.sum([y > edge for edge in edges], axis=0).astype(np.int32)
    count = len(edges) + 1
    angle = (rng.uniform(0.05, 0.5, count) * rng.choice((-1, 1))).astype(np.float32)
    angle *= np.where(rng.random(count) < 0.3, -1, 1)
    level = rng.normal(-3, rng.uniform(1, 5), count).astype(np.float32)
    strength = rng.uniform(2, 7, count).astype(np.float32)
    fibers = np.minimum(fibrillar(rng, scene.shape, angle[layer], rng.uniform(3, 9)), 2.5)
    grain = parenchyma(rng, scene.shape, 2.5)
    target = level[layer] + strength[layer] * (0.85 * fibers + 0.3 * grain)
    muscle = (layer > 0).astype(np.float32)
    scene.echo_db += muscle * (target - scene.echo_db)
    scene.specular *= 1 - muscle
    scene.specular += muscle * np.clip(fibers - 1.5, 0, 2) * rng.uniform(0, 0.5)


def _bellies(rng: np.random.Generator, shape: tuple[int, int], count: int) -> LabelMap:
    """Numbers [H, W] of ``count`` regions: Voronoi cells, flattened and with wavy borders."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    side = min(shape)
    y += smooth_noise(rng, shape, side / 4, side / 5) * rng.uniform(0.01, 0.05) * side
    x += smooth_noise(rng, shape, side / 4, side / 5) * 0.04 * side
    flat = rng.uniform(1.2, 3.2)
    nearest = np.full(shape, np.inf, np.float32)
    label = np.zeros(shape, np.int32)
    for index in range(count):
        dx = x - rng.uniform(0, 1) * width
        dy = (y - (index + rng.uniform(0.2, 0.8)) / count * height) * flat
        distance = dx * dx + dy * dy
        closer = distance < nearest
        label[closer] = index
        nearest[closer] = distance[closer]
    return label


def _draw_fasciae(
    rng: np.random.Generator, scene: Scene, label: LabelMap, below_fat: FloatMap
) -> None:
    """Draw bright lines where the numbers change; brighter where the beam meets them at a right angle."""
    lines = np.zeros(scene.shape, np.float32)
    lines[:, 1:] = 0.5 * (label[:, 1:] != label[:, :-1])
    lines[1:] += label[1:] != label[:-1]
    width = np.exp(rng.uniform(np.log(0.7), np.log(2.8)))
    # Fasciae end, and fat makes them thicker in places.
    patchy = np.clip(0.6 + 0.7 * smooth_noise(rng, scene.shape, 35, 25), 0.0, 1.8)
    soft = cv2.GaussianBlur(lines, (0, 0), width) * np.float32(2.5 * width) * patchy * below_fat
    scene.echo_db += np.clip(soft, 0, 1) * (rng.uniform(5, 17) - np.minimum(scene.echo_db, 4))
    scene.specular += soft * rng.uniform(0.3, 4.0)


def belly_interior(mask: BoolMap, inside: BoolMap) -> BoolMap:
    """The largest piece of a belly without its fascia."""
    eroded = cv2.erode((mask & inside).astype(np.uint8), np.ones((3, 3), np.uint8))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(eroded)
    if count < 2:
        return np.zeros(mask.shape, bool)
    return np.asarray(pieces == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), bool)
