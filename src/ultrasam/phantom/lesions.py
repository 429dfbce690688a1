"""Draw lesions into textured tissue.

About 45 % are darker than the tissue around them, 30 % nearly equal and 25 % brighter. Those that are nearly
equal are told by a halo or a texture of their own.
"""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.textures import random_pattern
from ultrasam.phantom.tissue import BoolMap, FloatMap, Material, Scene, blob, fill, paint


def relative_level(rng: np.random.Generator) -> float:
    """Echogenicity in dB relative to the surroundings: 45 % darker, 30 % nearly equal, 25 % brighter."""
    kind = rng.random()
    if kind < 0.45:
        return -float(rng.uniform(3, 13))
    if kind < 0.75:
        return float(rng.uniform(-2, 2))
    return float(rng.uniform(3, 11))


def level_at(scene: Scene, mask: BoolMap) -> float:
    """Median echogenicity in dB of the tissue under a mask [H, W]; 0 for an empty mask."""
    values = scene.echo_db[mask]
    return float(np.median(values)) if len(values) else 0.0


def draw_lesion(
    rng: np.random.Generator, scene: Scene, mask: BoolMap, *, name: str = "lesion"
) -> None:
    """Paint a lesion of any echogenicity into ``mask`` [H, W], and append it to the scene's instances.

    Where its level is nearly that of the surroundings, it has a halo or a texture of its own.
    """
    if not mask.any():
        return
    radius = float(np.sqrt(mask.sum() / np.pi))
    around = level_at(scene, mask)
    step = relative_level(rng)
    subtle = abs(step) < 2.5
    textured = rng.random() < (0.7 if subtle else 0.4)
    halo = rng.random() < (0.5 if textured else 1.0) if subtle else rng.random() < 0.25
    if halo:
        halo_db = around - rng.uniform(4, 13)
        paint(rng, scene, mask, Material(halo_db, softness=rng.uniform(0.6, 1.6)))
        width = max(1.5, radius * rng.uniform(0.05, 0.18))
        core = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) > width
    else:
        core = mask
    level = around + step
    soft = float(rng.choice((0.7, 1.5, 3.0), p=(0.4, 0.35, 0.25)))
    material = Material(
        level,
        texture_db=rng.uniform(3, 7) if textured else rng.uniform(0.5, 2),
        grain=rng.uniform(2, max(3.0, radius / 2)),
        attenuation_db=rng.normal(3, 10) if rng.random() < 0.6 else 0.0,
        rim=rng.uniform(0, 2.5) if rng.random() < 0.6 else 0.0,
        rim_db=level + rng.uniform(3, 9),
        rim_width=rng.uniform(0.6, 1.5) if rng.random() < 0.2 else 0.0,
        softness=min(soft, max(0.7, radius / 6)),
        pattern=random_pattern(rng, scene.shape, fibers=False)
        if textured and rng.random() < 0.6
        else None,
    )
    paint(rng, scene, core, material)
    kind = rng.random()
    if kind < 0.12:
        draw_cystic_parts(rng, scene, core)
    elif kind < 0.2:
        paint_small_cysts(rng, scene, core)
    elif kind < 0.3:
        y, x = np.argwhere(mask).mean(axis=0)
        inner = radius * rng.uniform(0.3, 0.6)
        center = blob(rng, (float(x), float(y)), (inner, inner * 0.8), roughness=0.12)
        tone = Material(level + relative_level(rng), softness=1.5)
        paint(rng, scene, fill(center, scene.shape) & core, tone)
    if rng.random() < 0.15:
        draw_calcifications(rng, scene, core)
    scene.instances.append((name, mask))


def draw_cystic_parts(rng: np.random.Generator, scene: Scene, mask: BoolMap) -> None:
    """Draw one to three pools of fluid inside ``mask`` [H, W]."""
    points = np.argwhere(mask)
    if not len(points):
        return
    radius = float(np.sqrt(mask.sum() / np.pi))
    fluid = level_at(scene, mask) - rng.uniform(10, 28)
    pools = np.zeros(scene.shape, bool)
    for _ in range(int(rng.integers(1, 4))):
        y, x = points[int(rng.integers(len(points)))]
        size = radius * rng.uniform(0.2, 0.7)
        outline = blob(
            rng, (float(x), float(y)), (size, size * rng.uniform(0.5, 1)), roughness=0.25
        )
        pools |= fill(outline, scene.shape)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    paint(rng, scene, pools & inside, Material(fluid, attenuation_db=-8, rim=rng.uniform(0, 3)))


def paint_small_cysts(rng: np.random.Generator, scene: Scene, mask: BoolMap) -> None:
    """Draw many small cysts inside ``mask`` [H, W]."""
    points = np.argwhere(mask)
    if not len(points):
        return
    radius = float(np.sqrt(mask.sum() / np.pi))
    holes = np.zeros(scene.shape, np.uint8)
    for index in rng.integers(len(points), size=int(rng.integers(5, 40))):
        y, x = points[index]
        size = max(1, int(radius * rng.uniform(0.02, 0.09)))
        cv2.ellipse(holes, (int(x), int(y)), (size + 1, size), 0, 0, 360, 1, -1)
    dark = level_at(scene, mask) - rng.uniform(6, 20)
    paint(rng, scene, holes.astype(bool) & mask, Material(dark, rim=rng.uniform(0, 3)))


def draw_calcifications(rng: np.random.Generator, scene: Scene, mask: BoolMap) -> None:
    """Draw one to seven bright spots with shadows inside ``mask`` [H, W]."""
    points = np.argwhere(mask)
    if not len(points):
        return
    spots = np.zeros(scene.shape, np.float32)
    for index in rng.integers(len(points), size=int(rng.integers(1, 8))):
        y, x = points[index]
        cv2.circle(spots, (int(x), int(y)), int(rng.integers(1, 3)), 1.0, -1)
    scene.specular += spots * rng.uniform(2, 6)
    scene.attenuation_db += spots * rng.uniform(50, 400)


def line_map(
    shape: tuple[int, int], points: FloatMap, width: float, *, closed: bool = False
) -> FloatMap:
    """An antialiased line through points [N, 2] of (x, y) pixels, as a map [H, W] in 0-1."""
    ink = np.zeros(shape, np.float32)
    fixed = np.round(points * 8).astype(np.int32)
    cv2.polylines(ink, [fixed], closed, 1.0, max(1, round(width)), cv2.LINE_AA, 3)
    return np.asarray(cv2.GaussianBlur(ink, (0, 0), 0.8), np.float32)
