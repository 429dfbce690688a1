"""Compose the tissue of a phantom: a background and one to a dozen structures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.background import draw_bone, draw_layers, draw_poor_contact
from ultrasam.phantom.bands import draw_pleura, draw_tendons
from ultrasam.phantom.muscles import draw_aponeuroses, draw_muscles
from ultrasam.phantom.needles import draw_needle
from ultrasam.phantom.nerves import draw_nerves
from ultrasam.phantom.structures import (
    draw_chambers,
    draw_complex_cyst,
    draw_gland,
    draw_head,
    draw_lesions,
)
from ultrasam.phantom.tissue import BoolMap, FloatMap, Scene
from ultrasam.phantom.vessels import draw_carotid, draw_tube, draw_vessels

# These fill the whole view, so they come first, and only one of them.
_VIEWS = (draw_nerves, draw_carotid, draw_aponeuroses, draw_muscles, draw_pleura, draw_needle)


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
    painters: list[tuple[Callable[[np.random.Generator, Scene], None], float]] = [
        (draw_lesions, 0.34),
        (draw_nerves, 0.20),
        (draw_vessels, 0.10),
        (draw_carotid, 0.10),
        (draw_tube, 0.08),
        (draw_aponeuroses, 0.06),
        (draw_muscles, 0.05),
        (draw_tendons, 0.05),
        (draw_pleura, 0.05),
        (draw_needle, 0.06),
        (draw_gland, 0.12),
        (draw_head, 0.08),
        (draw_chambers, 0.08),
        (draw_complex_cyst, 0.12),
    ]
    weights = np.array([weight for _, weight in painters])
    count = int(rng.choice((1, 1, 2)))
    chosen = rng.choice(len(painters), size=count, p=weights / weights.sum())
    drawn = [painters[index][0] for index in chosen]
    views = [painter for painter in drawn if painter in _VIEWS][:1]
    for painter in views + [painter for painter in drawn if painter not in _VIEWS]:
        count = len(scene.instances)
        painter(rng, scene)
        earlier, later = scene.instances[:count], scene.instances[count:]
        scene.instances = _still_seen(earlier, later) + later
    if rng.random() < 0.25:
        draw_bone(rng, scene)
    if rng.random() < 0.3:
        draw_poor_contact(rng, scene)
    return scene


def _still_seen(
    earlier: list[tuple[str, BoolMap]], later: list[tuple[str, BoolMap]]
) -> list[tuple[str, BoolMap]]:
    """The structures of which later ones hide less than a third."""
    hidden = np.any([mask for _, mask in later], axis=0) if later else np.False_
    return [(name, mask) for name, mask in earlier if (mask & hidden).sum() <= mask.sum() / 3]
