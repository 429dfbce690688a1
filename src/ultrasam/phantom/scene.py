"""A phantom's tissue: a background, and one to a dozen structures in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.background import draw_bone, draw_layers, draw_poor_contact
from ultrasam.phantom.structures import (
    draw_chambers,
    draw_complex_cyst,
    draw_gland,
    draw_head,
    draw_lesions,
    draw_tube,
    draw_vessels,
)
from ultrasam.phantom.tissue import BoolMap, FloatMap, Scene


def draw_scene(
    rng: np.random.Generator, inside: BoolMap, beam: FloatMap, *, fans_out: bool
) -> Scene:
    """Background tissue and one to a dozen structures."""
    zeros = np.zeros(inside.shape, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
    draw_layers(rng, scene, fans_out)
    plans: list[tuple[Callable[[np.random.Generator, Scene], None], float]] = [
        (draw_lesions, 0.34),
        (draw_vessels, 0.16),
        (draw_tube, 0.10),
        (draw_gland, 0.12),
        (draw_head, 0.08),
        (draw_chambers, 0.08),
        (draw_complex_cyst, 0.12),
    ]
    weights = np.array([w for _, w in plans])
    for index in rng.choice(len(plans), size=int(rng.choice((1, 1, 2))), p=weights / weights.sum()):
        plans[index][0](rng, scene)
    if rng.random() < 0.25:
        draw_bone(rng, scene)
    if rng.random() < 0.3:
        draw_poor_contact(rng, scene)
    return scene
