"""Draw the neck in cross-section: a gland of two lobes beside the windpipe and vessels, and its nodules."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.background import draw_parenchyma
from ultrasam.phantom.lesions import draw_lesion, level_at, line_map, relative_level
from ultrasam.phantom.textures import fibrillar, random_pattern
from ultrasam.phantom.tissue import (
    BoolMap,
    Material,
    Scene,
    blob,
    field_bounds,
    fill,
    paint,
    smooth_noise,
)


def draw_thyroid(rng: np.random.Generator, scene: Scene) -> None:
    """Draw one or both lobes with their isthmus, the windpipe, vessels, muscles and nodules."""
    left, top, right, bottom = field_bounds(scene.inside)
    width, height = right - left, bottom - top
    _draw_neck(rng, scene)
    both = rng.random() < 0.35
    side = float(rng.choice((-1.0, 1.0)))  # of the lobe, seen from the windpipe
    radius = min(width, height) * rng.uniform(0.14, 0.24) * (0.8 if both else 1.0)
    x = (left + right) / 2 - (0.0 if both else side * width * rng.uniform(0.22, 0.5))
    y = top + height * rng.uniform(0.32, 0.48)
    gland = np.zeros(scene.shape, bool)
    vessels: list[BoolMap] = []
    for toward in (-1.0, 1.0) if both else (side,):
        size = (radius * rng.uniform(0.9, 1.6), radius * rng.uniform(0.75, 1.25))
        if not both:
            size = (size[0] * 1.2, size[1] * 1.15)
        at = (x + toward * (radius * 0.85 + size[0] * 0.75), y + rng.normal(0.1, 0.1) * radius)
        tilt = toward * rng.normal(0.2, 0.2)
        gland |= fill(blob(rng, at, size, roughness=0.07, angle=tilt), scene.shape)
        vessels += _place_vessels(rng, scene, at, size, toward, radius)
    s = np.linspace(np.pi * 1.15, np.pi * 1.85, 16)
    thick = radius * rng.uniform(0.08, 0.25)
    over = [
        np.stack([x + reach * np.cos(s), y + reach * np.sin(s)], -1)
        for reach in (radius * 1.02, radius * 1.02 + thick)
    ]
    gland |= fill(np.concatenate([over[0], over[1][::-1]]).astype(np.float32), scene.shape)
    windpipe = fill(blob(rng, (x, y), (radius, radius * 0.95), roughness=0.02), scene.shape)
    gland &= ~windpipe & ~np.logical_or.reduce(vessels)
    around = level_at(scene, gland)
    level = around + relative_level(rng)
    tissue = Material(
        level, texture_db=rng.uniform(0.5, 3), grain=rng.uniform(2, 6), softness=rng.uniform(0.7, 1.8),
        rim=rng.uniform(0.5, 4), rim_db=level + rng.uniform(2, 9),
        rim_width=rng.uniform(0.6, 1.4) if rng.random() < 0.5 else 0.0,
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.35 else None,
    )  # fmt: skip
    paint(rng, scene, gland, tissue)
    _draw_windpipe(rng, scene, windpipe, (x, y), radius, around)
    for mask in vessels:
        _paint_vessel(rng, scene, mask, around)
    scene.instances.append(("gland", gland))
    share = np.exp(rng.uniform(np.log(0.01), np.log(0.12)))  # of the picture
    for _ in range(int(rng.choice((0, 1, 1, 1, 2, 3)))):
        size_px = np.sqrt(gland.size * share / np.pi)
        _draw_nodule(rng, scene, gland, float(size_px))
        share *= rng.uniform(0.2, 0.9)


def draw_nodule_frame(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a cropped frame of a gland, of which one nodule fills up to a half."""
    organ = draw_parenchyma(rng, scene, near=rng.uniform(-0.1, 0.22), far=rng.uniform(0.8, 1.4))
    left, top, right, bottom = field_bounds(scene.inside)
    share = np.exp(rng.uniform(np.log(0.04), np.log(0.45)))
    radius = np.sqrt(scene.inside.sum() * share / np.pi)
    at = (
        (left + right) / 2 + rng.normal(0, 0.08) * (right - left),
        (top + bottom) / 2 + rng.normal(0, 0.06) * (bottom - top),
    )
    ratio = np.exp(rng.normal(0.08, 0.2))
    outline = blob(
        rng, at, (radius * ratio, radius / ratio),
        roughness=abs(rng.normal(0.05, 0.1)), angle=rng.normal(0, 0.5),
    )  # fmt: skip
    mask = fill(outline, scene.shape) & scene.inside
    around = level_at(scene, organ)
    taken = mask.copy()
    for _ in range(int(rng.integers(0, 4))):  # vessels and muscles at the border
        angle = rng.uniform(0, 2 * np.pi)
        size = min(right - left, bottom - top) * rng.uniform(0.04, 0.16)
        away = radius + size * rng.uniform(1.1, 1.8)
        where = (at[0] + away * np.cos(angle), at[1] + away * np.sin(angle))
        shape = (size * rng.uniform(1, 2), size * rng.uniform(0.6, 1.0))
        beside = fill(blob(rng, where, shape, roughness=0.08), scene.shape) & ~taken
        taken |= beside
        _paint_vessel(rng, scene, beside, around)
    draw_lesion(rng, scene, mask, name="nodule")


def _draw_neck(rng: np.random.Generator, scene: Scene) -> None:
    """Draw flat muscles before and behind the gland, with bright fascia between them."""
    height, width = scene.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    fibers = fibrillar(rng, scene.shape, rng.normal(0, 0.08), rng.uniform(4, 9))
    bend = rng.normal(0, 0.03) * height
    for depth, thick in (
        (rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.14)),
        (rng.uniform(0.68, 0.85), 1.0),
    ):
        near = depth * height + bend * x * x + smooth_noise(rng, (1, width), width / 3, 1) * 4
        inside = (y > near) & (y < near + thick * height)
        level = rng.normal(-5, 4)
        paint(rng, scene, inside, Material(level, texture_db=rng.uniform(2, 5), pattern=fibers))
        line = np.exp(-(((y - near) / rng.uniform(1, 2.5)) ** 2))
        scene.echo_db += line * np.clip(level + rng.uniform(5, 16) - scene.echo_db, 0, None)
        scene.specular += line * rng.uniform(0, 1.5)


def _draw_windpipe(
    rng: np.random.Generator,
    scene: Scene,
    mask: BoolMap,
    center: tuple[float, float],
    radius: float,
    around: float,
) -> None:
    """Draw a ring of cartilage with a bright front, and shadow and echoes of the front behind it."""
    ring = Material(around - rng.uniform(4, 14), rim=rng.uniform(0, 3), softness=1.2)
    paint(rng, scene, mask, ring)
    s = np.linspace(np.pi * 1.12, np.pi * 1.88, 16)
    inner = radius * rng.uniform(0.72, 0.88)
    strength = rng.uniform(1, 5)
    for step in range(int(rng.integers(1, 5))):
        drop = step * radius * rng.uniform(0.2, 0.35)
        front = np.stack([center[0] + inner * np.cos(s), center[1] + inner * np.sin(s) + drop], -1)
        echo = line_map(scene.shape, front.astype(np.float32), rng.uniform(1, 3))
        scene.specular += echo * strength
        strength *= rng.uniform(0.3, 0.7)
    behind = fill(blob(rng, center, (inner * 0.8, inner * 0.75), roughness=0.02), scene.shape)
    scene.attenuation_db += behind * rng.uniform(20, 90)


def _place_vessels(
    rng: np.random.Generator,
    scene: Scene,
    at: tuple[float, float],
    size: tuple[float, float],
    toward: float,
    radius: float,
) -> list[BoolMap]:
    """A round artery lateral to the lobe, and often a flatter vein before it."""
    masks = []
    artery = radius * rng.uniform(0.28, 0.5)
    x = at[0] + toward * (size[0] * 0.85 + artery)
    y = at[1] + size[1] * rng.uniform(-0.2, 0.6)
    masks.append(fill(blob(rng, (x, y), (artery, artery * 0.95), roughness=0.04), scene.shape))
    if rng.random() < 0.6:
        vein = (artery * rng.uniform(0.9, 1.7), artery * rng.uniform(0.3, 1.0))
        where = (x + toward * artery * rng.uniform(0, 1.2), y - artery * 1.1 - vein[1])
        masks.append(fill(blob(rng, where, vein, roughness=0.1), scene.shape))
    return masks


def _paint_vessel(rng: np.random.Generator, scene: Scene, mask: BoolMap, around: float) -> None:
    if not mask.any():
        return
    level = around - rng.uniform(6, 22)
    wall = Material(
        level, texture_db=1, attenuation_db=-rng.uniform(0, 10), rim=rng.uniform(0.5, 4),
        rim_db=around + rng.uniform(-1, 8), rim_width=rng.uniform(0.6, 1.6),
    )  # fmt: skip
    paint(rng, scene, mask, wall)
    scene.instances.append(("vessel", mask))


def _draw_nodule(rng: np.random.Generator, scene: Scene, gland: BoolMap, radius: float) -> None:
    """Draw a nodule that lies in a gland's mask, which bulges where the nodule is larger."""
    deep = cv2.distanceTransform(gland.astype(np.uint8), cv2.DIST_L2, 5)
    points = np.argwhere(deep > 0.6 * deep.max())
    if not len(points):
        return
    y, x = points[int(rng.integers(len(points)))]
    radius = min(radius, 1.5 * float(deep.max()))
    ratio = np.exp(rng.normal(0.1, 0.15))
    outline = blob(
        rng, (float(x), float(y)), (radius * ratio, radius / ratio),
        roughness=abs(rng.normal(0, 0.1)),
    )  # fmt: skip
    mask = fill(outline, scene.shape) & scene.inside
    for name, other in scene.instances:
        if name in ("vessel", "nodule"):
            mask &= ~other
    if mask.sum() > 0.5 * np.pi * radius**2:
        draw_lesion(rng, scene, mask, name="nodule")
        gland |= mask
