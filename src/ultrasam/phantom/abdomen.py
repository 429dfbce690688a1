"""Draw organs of the abdomen: liver, kidney, spleen and the aorta before the spine.

Organs are told by their border and texture: each is darker than, equal to or brighter than its surroundings.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.background import draw_parenchyma
from ultrasam.phantom.clutter import draw_haze, roughen
from ultrasam.phantom.lesions import draw_lesion, level_at, line_map, relative_level
from ultrasam.phantom.textures import random_pattern
from ultrasam.phantom.tissue import (
    BoolMap,
    FloatMap,
    Material,
    Scene,
    blob,
    field_bounds,
    fill,
    paint,
    turned,
)


def draw_liver(rng: np.random.Generator, scene: Scene) -> None:
    """Draw parenchyma that fills the picture, with vessels and up to four lesions."""
    organ = draw_parenchyma(rng, scene, near=rng.uniform(0.05, 0.22), far=rng.uniform(0.72, 1.3))
    scene.instances.append(("organ", organ))
    _draw_branches(rng, scene, organ)
    points = np.argwhere(organ)
    taken = np.zeros(scene.shape, bool)
    for _ in range(int(rng.choice((1, 1, 1, 2, 2, 3, 4)))):
        share = np.exp(rng.uniform(np.log(0.004), np.log(0.06)))  # of the picture
        radius = np.sqrt(organ.size * share / np.pi)
        y, x = points[int(rng.integers(len(points)))]
        ratio = np.sqrt(np.exp(rng.uniform(0, np.log(1.7))))
        outline = blob(
            rng, (float(x), float(y)), (radius * ratio, radius / ratio),
            roughness=abs(rng.normal(0, 0.12)), angle=rng.uniform(0, np.pi),
        )  # fmt: skip
        mask = fill(outline, scene.shape) & organ & ~taken
        if mask.sum() > 0.4 * np.pi * radius**2:
            draw_lesion(rng, scene, mask)
            taken |= cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    if rng.random() < 0.5:
        draw_haze(rng, scene)


def _draw_branches(rng: np.random.Generator, scene: Scene, organ: BoolMap) -> None:
    """Draw vessels that branch and taper, some with bright walls, and their cross-sections."""
    left, top, right, bottom = field_bounds(organ)
    side = min(right - left, bottom - top)
    level = level_at(scene, organ)
    for _ in range(int(rng.integers(0, 5))):
        lumen, wall = np.zeros(scene.shape, np.uint8), np.zeros(scene.shape, np.uint8)
        walled = rng.random() < 0.5
        start = np.array((rng.uniform(left, right), rng.uniform(top, bottom)))
        _grow(
            rng, lumen, wall, start, rng.uniform(0, 2 * np.pi), side * rng.uniform(0.008, 0.035), 2
        )
        rounded = cv2.GaussianBlur(lumen.astype(np.float32), (0, 0), 2.0) > 0.45
        if walled:
            bright = Material(level + rng.uniform(3, 10), softness=1.2)
            paint(rng, scene, wall.astype(bool) & organ, bright)
        dark = Material(level - rng.uniform(6, 22), texture_db=1, rim=rng.uniform(0, 3))
        paint(rng, scene, rounded & organ, dark)
    count = int(rng.integers(0, 9))
    if count:
        dots = np.zeros(scene.shape, np.uint8)
        for _ in range(count):
            at = (int(rng.uniform(left, right)), int(rng.uniform(top, bottom)))
            size = side * rng.uniform(0.006, 0.02)
            axes = (max(1, round(size * rng.uniform(1, 2.5))), max(1, round(size)))
            cv2.ellipse(dots, at, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        dark = Material(level - rng.uniform(5, 18), rim=rng.uniform(0, 4))
        paint(rng, scene, dots.astype(bool) & organ, dark)


def _grow(
    rng: np.random.Generator,
    lumen: npt.NDArray[np.uint8],
    wall: npt.NDArray[np.uint8],
    start: FloatMap,
    angle: float,
    radius: float,
    forks: int,
) -> None:
    """Draw a bent branch into two maps [H, W] uint8, and its two smaller branches."""
    length = radius * rng.uniform(5, 12)
    turn = rng.normal(0, 0.9)
    s = np.linspace(0, 1, 8)
    heading = angle + turn * s
    steps = np.stack([np.cos(heading), np.sin(heading)], -1) * length / 7
    points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[1:], axis=0)])
    fixed = np.round(points * 8).astype(np.int32)
    thick = max(1, round(2 * radius))
    cv2.polylines(wall, [fixed], False, 1, thick + 3, cv2.LINE_8, 3)
    cv2.polylines(lumen, [fixed], False, 1, thick, cv2.LINE_8, 3)
    if forks:
        for side in (-1, 1):
            bend = angle + turn + side * rng.uniform(0.25, 0.8)
            _grow(rng, lumen, wall, points[-1], bend, radius * rng.uniform(0.55, 0.85), forks - 1)


def draw_kidney(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a kidney: a bean with a cortex, pyramids and a bright or widened sinus."""
    if rng.random() < 0.7:
        draw_parenchyma(rng, scene, near=rng.uniform(0.05, 0.2), far=rng.uniform(0.9, 1.4))
    left, top, right, bottom = field_bounds(scene.inside)
    side = min(right - left, bottom - top)
    half = side * rng.uniform(0.22, 0.46)
    center = np.array(
        (
            (left + right) / 2 + rng.normal(0, 0.08) * side,
            top + (bottom - top) * rng.uniform(0.35, 0.65),
        )
    )
    turn = rng.normal(0, 0.35) + (np.pi if rng.random() < 0.5 else 0)
    ratio = rng.uniform(0.4, 0.62) if rng.random() < 0.75 else rng.uniform(0.7, 0.95)
    theta = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    notch = rng.uniform(0, 0.5) * np.exp(-(((theta - np.pi / 2) / rng.uniform(0.35, 0.7)) ** 2))
    wave = 1 + rng.normal(0, 0.02, 4) @ np.stack([np.cos(k * theta + k) for k in range(2, 6)])

    def bean(scale: float, sink: float) -> FloatMap:
        x = half * scale * np.cos(theta) * wave
        y = half * ratio * scale * (np.sin(theta) * wave - notch * sink)
        return turned(x, y, center, turn)

    mask = fill(bean(1.0, 1.0), scene.shape)
    around = level_at(scene, mask)
    if rng.random() < 0.6:  # fat around the kidney
        fat = fill(bean(rng.uniform(1.08, 1.3), 0.6), scene.shape)
        paint(rng, scene, fat, Material(around + rng.uniform(-4, 10), texture_db=3, softness=2.5))
    cortex = around + relative_level(rng)
    textured = random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.3 else None
    paint(
        rng, scene, mask,
        Material(
            cortex, texture_db=rng.uniform(0.5, 2.5), grain=rng.uniform(3, 9), pattern=textured,
            rim=rng.uniform(0.5, 5), rim_db=around + rng.uniform(3, 11), softness=rng.uniform(0.7, 2),
            rim_width=rng.uniform(0.6, 1.6) if rng.random() < 0.5 else 0.0,
        ),
    )  # fmt: skip
    scene.instances.append(("kidney", mask))
    core = rng.uniform(0.4, 0.68)
    shape = (half * core, half * ratio * core)
    where = (float(center[0]), float(center[1]))
    rough = blob(rng, where, shape, roughness=rng.uniform(0.1, 0.35), angle=turn)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    sinus = fill(rough, scene.shape) & inside
    if rng.random() < 0.6:
        _draw_pyramids(rng, scene, mask, sinus, cortex)
    wide = rng.random() < 0.12
    level = cortex - rng.uniform(9, 24) if wide else cortex + rng.uniform(3, 13)
    paint(
        rng, scene, sinus,
        Material(
            level, texture_db=1 if wide else rng.uniform(2, 5), grain=rng.uniform(3, 8),
            softness=rng.uniform(1, 4), rim=rng.uniform(0, 3),
        ),
    )  # fmt: skip
    if rng.random() < 0.6:
        scene.instances.append(("sinus", sinus))
    if rng.random() < 0.3:
        points = np.argwhere(mask & ~sinus)
        y, x = points[int(rng.integers(len(points)))]
        size = half * rng.uniform(0.1, 0.35)
        outline = blob(rng, (float(x), float(y)), (size, size * 0.9), roughness=0.06)
        draw_lesion(rng, scene, fill(outline, scene.shape) & scene.inside)
    roughen(rng, scene)


def _draw_pyramids(
    rng: np.random.Generator, scene: Scene, kidney: BoolMap, sinus: BoolMap, cortex: float
) -> None:
    """Draw blunt dark cones between the sinus and the cortex."""
    outer = cv2.distanceTransform(kidney.astype(np.uint8), cv2.DIST_L2, 5)
    inner = cv2.distanceTransform((~sinus).astype(np.uint8), cv2.DIST_L2, 5)
    between = (inner < 0.65 * (inner + outer)) & kidney & ~sinus
    cy, cx = np.argwhere(kidney).mean(axis=0)
    y, x = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]]
    angle = np.arctan2(y - cy, x - cx)
    count = int(rng.integers(6, 11))
    gaps = np.cos(count * angle + rng.uniform(0, 6)) > rng.uniform(-0.6, 0.1)
    dark = Material(cortex - rng.uniform(2, 8), texture_db=1, softness=1.8)
    paint(rng, scene, between & gaps, dark)


def draw_spleen(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a crescent of even tissue under a bright arc."""
    left, top, right, bottom = field_bounds(scene.inside)
    side = min(right - left, bottom - top)
    radius = side * rng.uniform(0.25, 0.45)
    at = (
        (left + right) / 2 + rng.normal(0, 0.06) * side,
        top + (bottom - top) * rng.uniform(0.4, 0.6),
    )
    turn = rng.uniform(-0.6, 0.6) + (np.pi if rng.random() < 0.3 else 0)
    outline = blob(rng, at, (radius * rng.uniform(1.0, 1.4), radius), roughness=0.04, angle=turn)
    away = radius * rng.uniform(0.5, 1.1)
    beside = (at[0] - away * np.sin(turn), at[1] + away * np.cos(turn))
    bite = blob(rng, beside, (radius * rng.uniform(1.1, 1.6), radius), roughness=0.05, angle=turn)
    horned = (fill(outline, scene.shape) & ~fill(bite, scene.shape)).astype(np.float32)
    mask = cv2.GaussianBlur(horned, (0, 0), radius * rng.uniform(0.03, 0.12)) > 0.5  # blunt horns
    around = level_at(scene, mask)
    level = around + relative_level(rng)
    paint(
        rng, scene, mask,
        Material(
            level, texture_db=rng.uniform(0.5, 2.5), grain=rng.uniform(2, 6), softness=1.2,
            pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.4 else None,
            rim=rng.uniform(1, 6), rim_db=level + rng.uniform(3, 10),
            rim_width=rng.uniform(0.6, 1.8) if rng.random() < 0.6 else 0.0,
        ),
    )  # fmt: skip
    scene.instances.append(("crescent organ", mask))
    if rng.random() < 0.25:
        points = np.argwhere(mask)
        y, x = points[int(rng.integers(len(points)))]
        size = radius * rng.uniform(0.1, 0.3)
        spot = fill(blob(rng, (float(x), float(y)), (size, size), roughness=0.1), scene.shape)
        draw_lesion(rng, scene, spot & mask)


def draw_aorta(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a round vessel, some with a layer on its wall, and a flat one beside it, before the spine."""
    left, top, right, bottom = field_bounds(scene.inside)
    side = min(right - left, bottom - top)
    radius = side * rng.uniform(0.05, 0.2)
    at = np.array(
        (
            (left + right) / 2 + rng.normal(0, 0.1) * side,
            top + (bottom - top) * rng.uniform(0.4, 0.65),
        )
    )
    spine = at + np.array((rng.normal(-0.4, 0.2) * radius, radius + side * 0.1))
    s = np.linspace(-1, 1, 24)
    width, rise = side * rng.uniform(0.1, 0.18), side * rng.uniform(0.05, 0.1)
    arc = np.stack([spine[0] + width * s, spine[1] - rise * (1 - s * s)], -1).astype(np.float32)
    below = np.concatenate([arc, arc[::-1] + np.array((0, 2 * scene.shape[0]), np.float32)])
    scene.attenuation_db += fill(below, scene.shape) * rng.uniform(60, 200)
    scene.specular += line_map(scene.shape, arc, rng.uniform(2, 5)) * rng.uniform(2, 7)
    around = level_at(scene, scene.inside)
    blood = around - rng.uniform(7, 24)
    if rng.random() < 0.7:
        beside = (float(at[0] + rng.choice((-1, 1)) * radius * rng.uniform(2, 3)), float(at[1]))
        flat = (radius * rng.uniform(0.7, 1.2), radius * rng.uniform(0.3, 0.8))
        mask = fill(blob(rng, beside, flat, roughness=0.08), scene.shape)
        paint(rng, scene, mask, Material(blood, texture_db=1, rim=rng.uniform(0, 3)))
        scene.instances.append(("vessel", mask))
    center = (float(at[0]), float(at[1]))
    outline = blob(rng, center, (radius * rng.uniform(0.95, 1.15), radius), roughness=0.03)
    mask = fill(outline, scene.shape)
    wall = Material(
        blood, texture_db=1, rim=rng.uniform(1, 5), rim_db=around + rng.uniform(0, 9),
        rim_width=rng.uniform(0.8, 2.2), attenuation_db=-rng.uniform(0, 10),
    )  # fmt: skip
    paint(rng, scene, mask, wall)
    scene.instances.append(("vessel", mask))
    if rng.random() < 0.4:
        paint(rng, scene, mask, Material(blood + rng.uniform(4, 14), texture_db=2, rim=1))
        shift = rng.normal(0, 0.12, 2) * radius
        size = radius * rng.uniform(0.45, 0.75)
        inner = blob(
            rng, (center[0] + shift[0], center[1] + shift[1]), (size * 1.1, size), roughness=0.08
        )
        lumen = fill(inner, scene.shape) & mask
        paint(rng, scene, lumen, Material(blood, texture_db=1, rim=rng.uniform(0, 2)))
        scene.instances.append(("lumen", lumen))
