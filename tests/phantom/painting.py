from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
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


def blank_scene(shape: tuple[int, int] = (240, 260)) -> Scene:
    """Tissue of 0 dB all over the image, insonated straight from above."""
    zeros = np.zeros(shape, np.float32)
    beam = np.stack([zeros, zeros + 1])
    return Scene(zeros.copy(), zeros.copy(), zeros.copy(), np.ones(shape, bool), beam)


def painted(
    painter: Callable[[np.random.Generator, Scene], None], count: int
) -> Iterator[tuple[Scene, dict[str, list[BoolMap]]]]:
    """Blank scenes with the seeds 0 to ``count``, with the masks of each name that have 64 pixels or more."""
    for seed in range(count):
        scene = blank_scene()
        painter(np.random.default_rng(seed), scene)
        scene.instances = [(name, mask) for name, mask in scene.instances if mask.sum() >= 64]
        yield scene, masks_by_name(scene)


def ring(mask: BoolMap, near: int, far: int) -> BoolMap:
    """The pixels from ``near`` to ``far`` pixels outside a mask."""
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray((distance > near) & (distance <= far), bool)
