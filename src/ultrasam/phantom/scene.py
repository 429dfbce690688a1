"""Compose the tissue of a phantom: a background and one to a dozen structures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.abdomen import draw_aorta, draw_kidney, draw_liver, draw_spleen
from ultrasam.phantom.background import draw_bone, draw_layers, draw_poor_contact
from ultrasam.phantom.fetal import draw_fetal_abdomen, draw_fetal_head
from ultrasam.phantom.heart import draw_apical_heart, draw_short_axis_heart
from ultrasam.phantom.pelvis import draw_bladder, draw_gallbladder, draw_uterus
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

Painter = Callable[[np.random.Generator, Scene], None]


def draw_scene(
    rng: np.random.Generator, inside: BoolMap, beam: FloatMap, *, is_sector: bool
) -> Scene:
    """Draw background tissue and one to a dozen structures.

    Args:
        rng: source of randomness.
        inside: [H, W] bool, pixels in the field of view.
        beam: [2, H, W] unit vectors (x, y) along the beams.
        is_sector: whether the beams diverge (curved or phased array).
    """
    zeros = np.zeros(inside.shape, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
    draw_layers(rng, scene, is_sector)
    if is_sector and rng.random() < 0.65:  # views that fill the whole picture
        views: list[tuple[Painter, float]] = [
            (draw_apical_heart, 0.24),
            (draw_short_axis_heart, 0.14),
            (draw_liver, 0.2),
            (draw_kidney, 0.12),
            (draw_spleen, 0.04),
            (draw_aorta, 0.04),
            (draw_gallbladder, 0.04),
            (draw_bladder, 0.06),
            (draw_uterus, 0.06),
            (draw_fetal_head, 0.08),
            (draw_fetal_abdomen, 0.06),
        ]
        _draw_one(rng, scene, views)
        if rng.random() < 0.2:
            draw_poor_contact(rng, scene)
        return scene
    painters: list[tuple[Painter, float]] = [
        (draw_lesions, 0.34),
        (draw_vessels, 0.16),
        (draw_tube, 0.10),
        (draw_gland, 0.12),
        (draw_head, 0.08),
        (draw_chambers, 0.08),
        (draw_complex_cyst, 0.12),
    ]
    for _ in range(int(rng.choice((1, 1, 2)))):
        _draw_one(rng, scene, painters)
    if rng.random() < 0.25:
        draw_bone(rng, scene)
    if rng.random() < 0.3:
        draw_poor_contact(rng, scene)
    return scene


def _draw_one(
    rng: np.random.Generator, scene: Scene, painters: list[tuple[Painter, float]]
) -> None:
    weights = np.array([weight for _, weight in painters])
    painters[int(rng.choice(len(painters), p=weights / weights.sum()))][0](rng, scene)
