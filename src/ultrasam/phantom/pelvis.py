"""Draw pear-shaped and rounded organs: gallbladder, bladder with the gland below it, and uterus."""

from __future__ import annotations

import numpy as np

from ultrasam.phantom.background import draw_around
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
    smooth_noise,
    turned,
)


def draw_gallbladder(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a pear filled with bile, some with stones, sludge or a thick wall."""
    draw_around(rng, scene, share=0.4)
    center, side = _middle(rng, scene)
    half = side * rng.uniform(0.12, 0.32)
    angle = rng.uniform(-0.9, 0.9) + (np.pi if rng.random() < 0.5 else 0)
    pear = _pear(rng, center, half, half * rng.uniform(0.35, 0.6), angle)
    mask = fill(pear, scene.shape)
    around = level_at(scene, mask)
    if rng.random() < 0.3:
        thick = Material(around + rng.uniform(-8, 6), texture_db=2, softness=1.5)
        grown = (pear - center) * rng.uniform(1.1, 1.35) + center
        paint(rng, scene, fill(grown.astype(np.float32), scene.shape), thick)
    bile = around - rng.uniform(8, 26)
    wall = Material(
        bile, texture_db=rng.uniform(0.5, 2), grain=12, attenuation_db=-rng.uniform(2, 16),
        rim=rng.uniform(1, 5), rim_db=around + rng.uniform(0, 9),
        rim_width=rng.uniform(0.6, 2) if rng.random() < 0.7 else 0.0,
    )  # fmt: skip
    paint(rng, scene, mask, wall)
    if rng.random() < 0.35:  # sludge settles with a level surface
        level = np.quantile(np.nonzero(mask)[0], rng.uniform(0.4, 0.85))
        low = mask & (np.arange(scene.shape[0])[:, None] > level)
        paint(rng, scene, low, Material(bile + rng.uniform(4, 18), texture_db=1.5, softness=1.5))
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            _draw_stone(rng, scene, mask, half * rng.uniform(0.08, 0.25))
    scene.instances.append(("pear", mask))


def _draw_stone(
    rng: np.random.Generator,
    scene: Scene,
    mask: BoolMap,
    radius: float,
) -> None:
    """Draw a bright cap on the floor of ``mask`` [H, W], with a shadow."""
    ys, xs = np.nonzero(mask)
    x = float(rng.choice(xs))
    y = float(ys[np.abs(xs - x) < 2].max()) - radius
    s = np.linspace(np.pi * 1.05, np.pi * 1.95, 14)
    cap = np.stack([x + radius * np.cos(s), y + radius * np.sin(s)], -1).astype(np.float32)
    scene.specular += line_map(scene.shape, cap, rng.uniform(1, 3)) * rng.uniform(2, 7)
    stone = fill(blob(rng, (x, y), (radius, radius), roughness=0.1), scene.shape) & mask
    scene.attenuation_db += stone * rng.uniform(100, 400) * min(1.0, 12 / max(radius, 1.0))


def draw_bladder(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a bladder, rounded or flattened by its neighbors, and often a gland of two zones below it."""
    draw_around(rng, scene, share=0.4)
    center, side = _middle(rng, scene)
    half = side * rng.uniform(0.12, 0.38)
    flat = rng.uniform(0.45, 0.95)
    theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    square = rng.uniform(2, 3.5)  # exponent of a superellipse
    radius = (np.abs(np.cos(theta)) ** square + np.abs(np.sin(theta)) ** square) ** (-1 / square)
    wave = 1 + 0.03 * np.sin(2 * theta + rng.uniform(0, 6)) * rng.normal()
    center[1] -= half * rng.uniform(0, 0.5)
    x, y = half * radius * wave * np.cos(theta), half * flat * radius * wave * np.sin(theta)
    mask = fill(np.stack([center[0] + x, center[1] + y], -1).astype(np.float32), scene.shape)
    around = level_at(scene, mask)
    if rng.random() < 0.65:
        _draw_zoned_gland(rng, scene, center, half, flat, around, mask)
    if rng.random() < 0.4:
        thick = rng.uniform(1.06, 1.2)
        outer = np.stack([center[0] + x * thick, center[1] + y * thick], -1).astype(np.float32)
        paint(rng, scene, fill(outer, scene.shape), Material(around + rng.uniform(-7, 6)))
    paint(
        rng, scene, mask,
        Material(
            around - rng.uniform(12, 34), texture_db=1, grain=20, rim=rng.uniform(1, 5),
            attenuation_db=-rng.uniform(3, 16), rim_db=around + rng.uniform(0, 8),
            rim_width=rng.uniform(0.6, 2) if rng.random() < 0.5 else 0.0,
        ),
    )  # fmt: skip
    scene.instances.append(("bladder", mask))
    if rng.random() < 0.5:  # reverberation fills the part near the probe
        ys = np.nonzero(mask.any(axis=1))[0]
        down = (np.arange(scene.shape[0])[:, None] - ys[0]) / max(1, np.ptp(ys))
        fog = mask * np.exp(-np.clip(down, 0, None) / rng.uniform(0.1, 0.4))
        haze = around - rng.uniform(2, 10) + smooth_noise(rng, scene.shape, 60, 4) * 2
        scene.echo_db += np.asarray(fog * np.clip(haze - scene.echo_db, 0, None), np.float32)


def _draw_zoned_gland(
    rng: np.random.Generator,
    scene: Scene,
    center: FloatMap,
    half: float,
    flat: float,
    around: float,
    bladder: BoolMap,
) -> None:
    size = half * rng.uniform(0.5, 0.95)
    tall = size * rng.uniform(0.6, 0.95)
    at = (
        float(center[0] + rng.normal(0, 0.15) * half),
        float(center[1] + half * flat + tall * rng.uniform(0.7, 1.0)),
    )
    mask = fill(blob(rng, at, (size, tall), roughness=0.05), scene.shape) & ~bladder
    level = around + relative_level(rng)
    outer = Material(
        level, texture_db=rng.uniform(1, 3), grain=rng.uniform(3, 8), rim=rng.uniform(0.5, 4),
        rim_db=level + rng.uniform(3, 10), rim_width=rng.uniform(0.6, 2), softness=1.2,
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.4 else None,
    )  # fmt: skip
    paint(rng, scene, mask, outer)
    scene.instances.append(("gland", mask))
    if rng.random() < 0.7:
        up = (at[0], at[1] - 0.2 * tall)
        inner = fill(blob(rng, up, (size * 0.6, tall * 0.6), roughness=0.07), scene.shape) & mask
        paint(rng, scene, inner, Material(level + rng.uniform(-6, 6), texture_db=2.5, softness=1.5))
        if rng.random() < 0.4:
            scene.instances.append(("inner zone", inner))


def draw_uterus(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a pear of muscle with a stripe or a sac in it, and often round nodules in its wall."""
    draw_around(rng, scene, share=0.4)
    center, side = _middle(rng, scene)
    half = side * rng.uniform(0.2, 0.45)
    angle = rng.normal(0, 0.5) + (np.pi if rng.random() < 0.5 else 0)
    wide = rng.uniform(0.42, 0.65)
    pear = _pear(rng, center, half, half * wide, angle)
    mask = fill(pear, scene.shape)
    around = level_at(scene, mask)
    level = around + relative_level(rng)
    muscle = Material(
        level, texture_db=rng.uniform(1, 3), grain=rng.uniform(3, 10), softness=rng.uniform(1, 3),
        rim=rng.uniform(0.5, 4), rim_db=level + rng.uniform(2, 8),
        rim_width=rng.uniform(0.8, 2) if rng.random() < 0.5 else 0.0,
        attenuation_db=rng.uniform(0, 14),
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.4 else None,
    )  # fmt: skip
    paint(rng, scene, mask, muscle)
    scene.instances.append(("pear", mask))
    shift = center + half * 0.15 * np.array((np.cos(angle), np.sin(angle)), np.float32)
    thin = half * rng.uniform(0.05, 0.28)
    stripe = _pear(rng, shift, half * rng.uniform(0.4, 0.65), thin, angle)
    lining = fill(stripe, scene.shape) & mask
    sac = rng.random() < 0.2
    inner = level - rng.uniform(10, 24) if sac else level + rng.uniform(-4, 10)
    lining_material = Material(
        inner, texture_db=1.5, softness=1.5, rim=rng.uniform(0, 3), rim_db=inner + rng.uniform(-8, 6),
        rim_width=rng.uniform(0.6, 1.6),
    )  # fmt: skip
    paint(rng, scene, lining, lining_material)
    if rng.random() < 0.6:
        scene.instances.append(("lining", lining))
    for _ in range(int(rng.choice((0, 0, 1, 2)))):
        points = np.argwhere(mask & ~lining)
        y, x = points[int(rng.integers(len(points)))]
        size = half * rng.uniform(0.1, 0.35)
        outline = blob(rng, (float(x), float(y)), (size, size * 0.85), roughness=0.07)
        draw_lesion(rng, scene, fill(outline, scene.shape) & scene.inside, name="nodule")


def _middle(rng: np.random.Generator, scene: Scene) -> tuple[FloatMap, float]:
    """A point near the middle of the field of view, and the field's shorter side, in pixels."""
    left, top, right, bottom = field_bounds(scene.inside)
    side = min(right - left, bottom - top)
    x = (left + right) / 2 + rng.normal(0, 0.1) * side
    y = top + (bottom - top) * rng.uniform(0.35, 0.6)
    return np.array((x, y), np.float32), side


def _pear(
    rng: np.random.Generator, center: FloatMap, half: float, broad: float, angle: float
) -> FloatMap:
    """A pear [96, 2] of (x, y) pixels along ``angle``, thin at one end, slightly bent."""
    theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    along = np.cos(theta)
    neck = 1 - rng.uniform(0.15, 0.6) * np.clip((1 - along) / 2, 0, 1) ** 1.3
    across = np.sin(theta) * neck + rng.normal(0, 0.15) * along**2
    across += 0.03 * np.sin(3 * theta + rng.uniform(0, 6))
    return turned(half * along, broad * across, center, angle)
