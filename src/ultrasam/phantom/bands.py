"""Bands: the pleural line between ribs, and tendons and ligaments."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.muscles import draw_muscle_bed, draw_sheet
from ultrasam.phantom.textures import fibrillar, granular
from ultrasam.phantom.tissue import (
    BoolMap,
    FloatMap,
    Material,
    Scene,
    blob,
    fill,
    paint,
    smooth_noise,
)


def draw_pleura(rng: np.random.Generator, scene: Scene) -> None:
    """Draw the pleural line, often between ribs, with A-lines, B-lines or haze behind it.

    The masks are the visible pieces of the line and the surfaces of the ribs.
    """
    height, width = scene.shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    top = float(np.nonzero(scene.inside.any(axis=1))[0][0])
    depth = rng.uniform(0.15, 0.42) * height
    edge = top + depth + height * (rng.normal(0, 0.05) * x + rng.normal(0, 0.12) * x * x)
    edge += smooth_noise(rng, (1, width), width / 5, 1)[0] * rng.uniform(0.2, 2.5)
    y = np.arange(height, dtype=np.float32)[:, None]
    _draw_chest_wall(rng, scene, edge)
    lung = np.clip(y - edge, 0, 1).astype(np.float32)
    haze = rng.uniform(-22, -3) - rng.uniform(0, 16) * np.clip((y - edge) / height, 0, 1)
    haze = haze + rng.uniform(0.5, 2.5) * smooth_noise(rng, scene.shape, 12, 8)
    scene.echo_db += lung * (haze - scene.echo_db)
    scene.specular *= 1 - lung
    if rng.random() < 0.65:
        for order in range(2, int(rng.integers(3, 6))):  # A-lines repeat the line at its depth
            echo = np.exp(-(((y - edge - (order - 1) * depth) / rng.uniform(1.2, 3)) ** 2))
            scene.echo_db += echo * rng.uniform(4, 14) * 0.7 ** (order - 2)
    else:
        _draw_b_lines(rng, scene, lung)
    thickness = height * rng.uniform(0.008, 0.026)
    line = draw_sheet(rng, scene, np.asarray(edge, np.float32), thickness, rng.uniform(6, 16))
    centers = ((), (0.1,), (0.9,), (0.5,), (0.05, 0.95), (0.2, 0.85))[int(rng.integers(6))]
    muscles = scene.instances[:]
    for center in centers:
        at = (center + rng.normal(0, 0.04)) * width
        rise = rng.uniform(0.02, 0.1) * height
        rib, behind = _draw_rib(rng, scene, at, float(top + depth - rise))
        line &= ~behind
        for index, (name, mask) in enumerate(muscles):
            scene.instances[index] = (name, mask & ~(behind | rib) & ~line)
        scene.instances.append(("rib surface", rib))
    count, pieces = cv2.connectedComponents(line.astype(np.uint8))
    scene.instances += [("pleural line", pieces == index) for index in range(1, count)]


def _draw_chest_wall(
    rng: np.random.Generator, scene: Scene, pleura: npt.NDArray[np.float64]
) -> None:
    """Draw one or two muscles above the pleura [W]; the mask of the deeper one in half of the images."""
    height = scene.shape[0]
    y = np.arange(height, dtype=np.float32)[:, None]
    above = pleura
    for order in range(int(rng.integers(1, 3))):
        below = above
        above = below - height * rng.uniform(0.05, 0.12)
        muscle = np.asarray((y > above) & (y < below), bool)
        fibers = fibrillar(rng, scene.shape, rng.normal(0, 0.15), rng.uniform(3, 7))
        level, strength = rng.normal(-2, 5), rng.uniform(1, 5)
        paint(rng, scene, muscle, Material(level, pattern=fibers, texture_db=strength))
        thickness = height * rng.uniform(0.004, 0.012)
        draw_sheet(rng, scene, above.astype(np.float32), thickness, rng.uniform(2, 11))
        if order == 0 and rng.random() < 0.5:
            scene.instances.append(("muscle belly", muscle & (y > above + thickness)))


def _draw_b_lines(rng: np.random.Generator, scene: Scene, lung: FloatMap) -> None:
    """Draw bright rays that follow the beams from the pleura on."""
    is_linear = float(np.abs(scene.beam[0]).max()) < 1e-3
    if is_linear:
        ray = np.broadcast_to(np.linspace(0, 1, scene.shape[1], dtype=np.float32), scene.shape)
    else:
        slope = scene.beam[0] / np.maximum(scene.beam[1], 0.1)
        low, high = slope[scene.inside].min(), slope[scene.inside].max()
        ray = (slope - low) / (high - low)
    for _ in range(int(rng.integers(1, 6))):
        wide = rng.uniform(0.008, 0.05)
        shine = np.exp(-(((ray - rng.uniform(0.05, 0.95)) / wide) ** 2))
        scene.echo_db += lung * shine * rng.uniform(5, 16)


def _draw_rib(
    rng: np.random.Generator, scene: Scene, center: float, top: float
) -> tuple[BoolMap, BoolMap]:
    """Draw a rib in cross-section; returns the masks of its bright surface and of what lies behind."""
    height, width = scene.shape
    reach = rng.uniform(0.07, 0.17) * width
    across = (np.arange(width, dtype=np.float32) - center) / reach
    curve = np.sqrt(np.clip(1 - across**2, 0, None))
    surface = top + rng.uniform(0.25, 0.6) * reach * (1 - curve)
    y = np.arange(height, dtype=np.float32)[:, None]
    within = np.abs(across) < 0.93
    thickness = rng.uniform(3, 8)
    offset = y - surface
    band = (np.abs(offset) < 0.5 * thickness) & within
    behind = (offset > 0.5 * thickness) & within
    soft = cv2.GaussianBlur(behind.astype(np.float32), (0, 0), 1.5)
    scene.specular *= 1 - soft
    scene.attenuation_db += soft * rng.uniform(80, 300)
    shine = np.exp(-((offset / (0.45 * thickness)) ** 2)) * within
    scene.echo_db += shine * (rng.uniform(6, 15) - scene.echo_db)
    scene.specular += shine * rng.uniform(1, 6)
    return np.asarray(band, bool), np.asarray(behind, bool)


def draw_tendons(rng: np.random.Generator, scene: Scene) -> None:
    """Draw fibrillar bands along the view, or their oval cross-sections side by side."""
    if not scene.instances and rng.random() < 0.75:
        draw_muscle_bed(rng, scene, int(rng.integers(2, 6)))
    if rng.random() < 0.55:
        for _ in range(int(rng.integers(1, 4))):
            _draw_long_tendon(rng, scene)
        return
    height, width = scene.shape
    radius = min(scene.shape) * rng.uniform(0.04, 0.12)
    x, y = rng.uniform(0.1, 0.4) * width, rng.uniform(0.2, 0.7) * height
    for _ in range(int(rng.integers(2, 6))):
        radii = (radius * rng.uniform(1, 2), radius * rng.uniform(0.6, 1))
        mask = fill(blob(rng, (x, y), radii, roughness=0.06, angle=rng.normal(0, 0.3)), scene.shape)
        for _, other in scene.instances:
            mask &= ~other
        dots = granular(rng, scene.shape, rng.uniform(2, 3.5))
        paint(
            rng, scene, mask,
            Material(
                rng.normal(2, 5), pattern=dots, texture_db=rng.uniform(3, 7), rim=rng.uniform(0, 3),
                rim_db=rng.choice((-9, 9)) + rng.normal(0, 2), rim_width=rng.uniform(0.7, 2.5),
                softness=rng.uniform(0.6, 1.6),
            ),
        )  # fmt: skip
        scene.instances.append(("tendon", mask))
        x += 2.1 * radius * rng.uniform(0.9, 1.9)
        y += rng.normal(0, 0.6) * radius


def _draw_long_tendon(rng: np.random.Generator, scene: Scene) -> None:
    height, width = scene.shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    tilt, bow = rng.normal(0, 0.25), rng.normal(0, 0.2)
    middle = height * (rng.uniform(0.15, 0.8) + tilt * x + bow * (x * x - 0.1))
    taper = 1 + rng.normal(0, 0.5) * x + 0.1 * smooth_noise(rng, (1, width), width / 4, 1)[0]
    half = 0.5 * height * rng.uniform(0.04, 0.17) * np.clip(taper, 0.3, 2)
    if rng.random() < 0.4:  # ends within the view
        end = rng.uniform(0.0, 0.45) * rng.choice((-1, 1))
        half = half * np.sqrt(np.clip((x - end) * np.sign(-end) * 8, 0, 1))
    offset = np.arange(height, dtype=np.float32)[:, None] - middle
    mask = np.abs(offset) < half
    for _, other in scene.instances:
        mask &= ~other
    slope = np.arctan(np.gradient(middle)).astype(np.float32)
    fibers = fibrillar(
        rng, scene.shape, np.repeat(slope[None], height, axis=0), rng.uniform(2.5, 5)
    )
    paint(
        rng, scene, mask,
        Material(
            rng.normal(2, 5), pattern=fibers, texture_db=rng.uniform(3, 7), rim=rng.uniform(0, 4),
            rim_db=rng.uniform(4, 12), rim_width=rng.uniform(0.7, 1.8), softness=rng.uniform(0.6, 1.6),
        ),
    )  # fmt: skip
    scene.instances.append(("tendon", mask))
