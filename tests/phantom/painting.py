from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.background import draw_layers
from ultrasam.phantom.tissue import BoolMap, FloatMap, Scene


def field_of_view(probe: str, size: tuple[int, int]) -> tuple[BoolMap, FloatMap]:
    """Pixels [H, W] in the field of view, and the beams' directions [2, H, W]."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if probe == "linear":
        return np.ones(size, bool), np.stack([np.zeros_like(x), np.ones_like(x)])
    half, face = (0.7, 0.0) if probe == "phased" else (0.6, 0.4 * height)
    dx, dy = x - width / 2, y + face * np.cos(half)
    radius = np.hypot(dx, dy) + 1e-6
    inside = (np.abs(np.arctan2(dx, dy)) < half) & (radius > face) & (radius < face + 0.85 * height)
    return inside, np.stack([dx / radius, dy / radius])


def paint_scene(
    painter: Callable[[np.random.Generator, Scene], None],
    seed: int,
    *,
    probe: str,
    size: tuple[int, int] = (300, 340),
) -> Scene:
    """What a painter draws over plain tissue in the field of view of a probe."""
    rng = np.random.default_rng(seed)
    inside, beam = field_of_view(probe, size)
    zeros = np.zeros(size, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
    draw_layers(rng, scene, is_sector=probe != "linear")
    painter(rng, scene)
    return scene


def masks_by_name(scene: Scene) -> dict[str, list[BoolMap]]:
    """The masks of each structure, cut to the field of view."""
    found: dict[str, list[BoolMap]] = {}
    for name, mask in scene.instances:
        found.setdefault(name, []).append(mask & scene.inside)
    return found
