from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.acquisition import Probe, _BeamGeometry
from ultrasam.phantom.background import draw_layers
from ultrasam.phantom.tissue import BoolMap, Scene


def paint_scene(
    painter: Callable[[np.random.Generator, Scene], None],
    seed: int,
    *,
    probe: Probe,
    size: tuple[int, int] = (300, 340),
) -> Scene:
    """What a painter draws over plain tissue in the field of view of a probe."""
    rng = np.random.default_rng(seed)
    geometry = _BeamGeometry.draw(rng, probe, *size)
    zeros = np.zeros(size, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), geometry.inside, geometry.beam)
    draw_layers(rng, scene, is_sector=probe != "linear")
    painter(rng, scene)
    return scene


def masks_by_name(scene: Scene) -> dict[str, list[BoolMap]]:
    """The masks of each structure, cut to the field of view."""
    found: dict[str, list[BoolMap]] = {}
    for name, mask in scene.instances:
        found.setdefault(name, []).append(mask & scene.inside)
    return found
