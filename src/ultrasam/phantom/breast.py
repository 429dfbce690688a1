"""Draw breasts: fat and glandular tissue with lesions of smooth, lobed, angular or spiculated outline."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.lesions import draw_lesion, line_map
from ultrasam.phantom.textures import fibrillar
from ultrasam.phantom.tissue import (
    FloatMap,
    Scene,
    field_bounds,
    fill,
    smooth_noise,
    turned,
)


def draw_breast(rng: np.random.Generator, scene: Scene) -> None:
    """Draw skin, fat, glandular tissue and muscle, with one or two lesions."""
    _draw_tissue(rng, scene)
    left, top, right, bottom = field_bounds(scene.inside)
    area = float(scene.inside.sum())
    for _ in range(int(rng.choice((1, 1, 1, 2)))):
        share = np.exp(rng.uniform(np.log(0.006), np.log(0.25)))
        radius = float(np.sqrt(area * share / np.pi))
        center = (
            float(rng.uniform(left + 0.15 * (right - left), right - 0.15 * (right - left))),
            float(top + (bottom - top) * rng.uniform(0.2, 0.6)),
        )
        ratio = np.exp(rng.normal(0.2, 0.25)) if share < 0.12 else np.exp(rng.normal(0.2, 0.1))
        outline = _lesion_outline(rng, center, (radius * ratio, radius / ratio))
        mask = fill(outline, scene.shape) & scene.inside
        for name, other in scene.instances:
            if name == "lesion":
                mask &= ~other
        if mask.sum() < 0.5 * np.pi * radius**2:
            continue
        if rng.random() < 0.25:  # a bright halo without a clear outer border
            wide = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), radius * rng.uniform(0.1, 0.3))
            scene.echo_db += np.clip(wide * 2, 0, 1) * rng.uniform(2, 7)
        if rng.random() < 0.3:
            _draw_rays(rng, scene, center, radius)
        draw_lesion(rng, scene, mask)
        if rng.random() < 0.45:
            _draw_behind(rng, scene, outline)


def _draw_tissue(rng: np.random.Generator, scene: Scene) -> None:
    """Draw skin, lobules of fat with bright septa, a bright layer of gland, and muscle."""
    height, width = scene.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    _, top, _, bottom = field_bounds(scene.inside)
    depth = (y - top) / (bottom - top) + 0.04 * smooth_noise(rng, (1, width), width / 3, 1)
    fat, gland = rng.normal(-5, 2.5), rng.normal(3, 3)
    scene.specular[:] = 0
    noise = smooth_noise(rng, scene.shape, rng.uniform(30, 60), rng.uniform(12, 26))
    scene.echo_db[:] = fat + np.tanh(noise * 2) * rng.uniform(0.5, 3)
    septa = np.exp(-((noise / rng.uniform(0.05, 0.16)) ** 2))
    seen = np.clip(0.5 + 0.7 * smooth_noise(rng, scene.shape, 50, 30), 0, 1)
    scene.echo_db += septa * seen * rng.uniform(5, 15)
    scene.specular += septa * seen**2 * rng.uniform(0, 1.5)
    start, end = rng.uniform(0.12, 0.4), rng.uniform(0.55, 0.9)
    edge = depth + 0.09 * smooth_noise(rng, scene.shape, 50, 45)
    share = np.clip((edge - start) * 25, 0, 1) * np.clip((end - edge) * 25, 0, 1)
    streaks = fibrillar(rng, scene.shape, rng.normal(0, 0.15), rng.uniform(4, 10))
    layer = gland + streaks * rng.uniform(1, 4) + smooth_noise(rng, scene.shape, 14, 8) * 2
    scene.echo_db += share * rng.uniform(0.5, 1) * (layer - scene.echo_db)
    muscle = np.clip((depth - rng.uniform(0.72, 1.0) + 0.05 * x * rng.normal()) * 40, 0, 1)
    fibers = rng.normal(-6, 3) + streaks * rng.uniform(2, 5)
    scene.echo_db += muscle * (fibers - scene.echo_db)
    fascia = np.exp(-(((muscle - 0.3) / 0.3) ** 2)) * (muscle > 0.02)
    scene.echo_db += fascia * np.clip(rng.uniform(3, 12) - scene.echo_db, 0, None)
    skin = np.exp(-((depth / rng.uniform(0.015, 0.05)) ** 4))
    scene.echo_db += skin * (rng.uniform(3, 11) - scene.echo_db)


def _lesion_outline(
    rng: np.random.Generator, center: tuple[float, float], radii: tuple[float, float]
) -> FloatMap:
    """A contour [180, 2] of (x, y) pixels: round, lobed, angular, spiculated or irregular."""
    theta = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    kind = rng.choice(("round", "lobed", "angular", "spiculated", "irregular"))
    radius = np.ones_like(theta)
    rough = 0.03 if kind == "round" else rng.uniform(0.05, 0.14)
    for order in range(2, 7):
        radius += rough * rng.normal() / order**0.8 * np.cos(order * theta + rng.uniform(0, 6))
    if kind == "lobed":
        count = int(rng.integers(4, 10))
        radius += rng.uniform(0.04, 0.12) * np.abs(np.cos(count * theta / 2 + rng.uniform(0, 6)))
    elif kind == "angular":
        corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
        reach = rng.uniform(0.75, 1.25, len(corners))
        x = np.interp(theta, corners, reach * np.cos(corners), period=2 * np.pi)
        y = np.interp(theta, corners, reach * np.sin(corners), period=2 * np.pi)
        radius = 0.3 * radius + 0.7 * np.hypot(x, y)
    elif kind == "spiculated":
        for _ in range(int(rng.integers(5, 16))):
            at, wide = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.16)
            apart = np.abs((theta - at + np.pi) % (2 * np.pi) - np.pi)
            radius += rng.uniform(0.08, 0.4) * np.exp(-apart / wide)
    elif kind == "irregular":
        knots = np.cumsum(rng.normal(0, 1, 40))
        knots -= np.linspace(0, knots[-1], 40)
        walk = np.interp(theta, np.linspace(0, 2 * np.pi, 40), knots - knots.mean())
        radius += 0.14 * walk / (walk.std() + 1e-6)
    radius = np.clip(radius, 0.4, 2.0) / np.sqrt(np.mean(np.square(radius)))
    x, y = radii[0] * radius * np.cos(theta), radii[1] * radius * np.sin(theta)
    return turned(x, y, center, rng.normal(0, 0.3))


def _draw_rays(
    rng: np.random.Generator, scene: Scene, center: tuple[float, float], radius: float
) -> None:
    """Draw dark and bright strands that run outwards from a lesion."""
    for _ in range(int(rng.integers(4, 14))):
        angle = rng.uniform(0, 2 * np.pi)
        reach = radius * np.array((0.7, rng.uniform(1.2, 2.0)))
        ends = np.array(center) + reach[:, None] * np.array((np.cos(angle), np.sin(angle)))
        line = line_map(scene.shape, ends.astype(np.float32), rng.uniform(1, 3))
        scene.echo_db += line * rng.uniform(-7, 8)


def _draw_behind(rng: np.random.Generator, scene: Scene, outline: FloatMap) -> None:
    """Draw a shadow or an enhancement behind a lesion, narrower than it."""
    middle = outline.mean(axis=0)
    inner = (outline - middle) * rng.uniform(0.6, 0.95) + middle
    mask = fill(inner.astype(np.float32), scene.shape)
    depth = max(1.0, float(np.ptp(inner[:, 1])) / scene.shape[0])
    scene.attenuation_db += mask * rng.normal(5, 9) / depth * 0.5
