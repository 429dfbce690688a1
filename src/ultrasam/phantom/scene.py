"""Compose the tissue of a phantom: a view that fills the picture, or structures in plain tissue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultrasam.phantom.abdomen import draw_aorta, draw_kidney, draw_liver, draw_spleen
from ultrasam.phantom.background import draw_bone, draw_layers, draw_poor_contact
from ultrasam.phantom.bands import draw_pleura, draw_tendons
from ultrasam.phantom.breast import draw_breast
from ultrasam.phantom.fetal import draw_fetal_abdomen, draw_fetal_head
from ultrasam.phantom.heart import draw_apical_heart, draw_short_axis_heart
from ultrasam.phantom.muscles import draw_aponeuroses, draw_muscles
from ultrasam.phantom.needles import draw_needle
from ultrasam.phantom.nerves import draw_nerves
from ultrasam.phantom.ovary import draw_ovarian_mass, draw_ovary
from ultrasam.phantom.pelvis import draw_bladder, draw_gallbladder, draw_uterus
from ultrasam.phantom.structures import draw_complex_cyst, draw_gland, draw_lesions
from ultrasam.phantom.thyroid import draw_nodule_frame, draw_thyroid
from ultrasam.phantom.tissue import BoolMap, FloatMap, Scene
from ultrasam.phantom.vessels import draw_carotid, draw_tube, draw_vessels

Painter = Callable[[np.random.Generator, Scene], None]

# Each painter with its weight for parallel beams, and for the diverging beams of a curved or phased array.
_VIEWS: tuple[tuple[Painter, float, float], ...] = (
    (draw_nerves, 0.22, 0.06),
    (draw_carotid, 0.12, 0.02),
    (draw_aponeuroses, 0.07, 0.02),
    (draw_muscles, 0.06, 0.02),
    (draw_pleura, 0.05, 0.04),
    (draw_needle, 0.07, 0.03),
    (draw_apical_heart, 0.0, 0.18),
    (draw_short_axis_heart, 0.0, 0.10),
    (draw_liver, 0.02, 0.18),
    (draw_kidney, 0.0, 0.10),
    (draw_spleen, 0.0, 0.03),
    (draw_aorta, 0.0, 0.03),
    (draw_gallbladder, 0.01, 0.04),
    (draw_bladder, 0.0, 0.05),
    (draw_uterus, 0.0, 0.05),
    (draw_fetal_head, 0.02, 0.07),
    (draw_fetal_abdomen, 0.0, 0.05),
    (draw_thyroid, 0.13, 0.01),
    (draw_nodule_frame, 0.12, 0.03),
    (draw_breast, 0.16, 0.02),
    (draw_ovary, 0.0, 0.05),
    (draw_ovarian_mass, 0.02, 0.09),
)
_STRUCTURES: tuple[tuple[Painter, float, float], ...] = (
    (draw_lesions, 0.40, 0.40),
    (draw_vessels, 0.12, 0.12),
    (draw_tube, 0.10, 0.10),
    (draw_tendons, 0.06, 0.02),
    (draw_gland, 0.16, 0.16),
    (draw_complex_cyst, 0.16, 0.20),
)
_VIEW_SHARE = 0.6  # of pictures


def draw_scene(
    rng: np.random.Generator, inside: BoolMap, beam: FloatMap, *, is_sector: bool
) -> Scene:
    """Draw background tissue, and either a view or one to a dozen structures.

    Args:
        rng: source of randomness.
        inside: [H, W] bool, pixels in the field of view.
        beam: [2, H, W] unit vectors (x, y) along the beams.
        is_sector: whether the beams diverge (curved or phased array).
    """
    zeros = np.zeros(inside.shape, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
    draw_layers(rng, scene, is_sector)
    if rng.random() < _VIEW_SHARE:
        _choose(rng, _VIEWS, is_sector)(rng, scene)
    else:
        for _ in range(int(rng.choice((1, 1, 2)))):
            count = len(scene.instances)
            _choose(rng, _STRUCTURES, is_sector)(rng, scene)
            earlier, later = scene.instances[:count], scene.instances[count:]
            scene.instances = _still_seen(earlier, later) + later
        if rng.random() < 0.25:
            hidden = draw_bone(rng, scene)
            scene.instances = [(name, mask & ~hidden) for name, mask in scene.instances]
    if rng.random() < 0.25:
        draw_poor_contact(rng, scene)
    return scene


def _choose(
    rng: np.random.Generator, painters: tuple[tuple[Painter, float, float], ...], is_sector: bool
) -> Painter:
    weights = np.array([entry[1 + is_sector] for entry in painters])
    return painters[int(rng.choice(len(painters), p=weights / weights.sum()))][0]


def _still_seen(
    earlier: list[tuple[str, BoolMap]], later: list[tuple[str, BoolMap]]
) -> list[tuple[str, BoolMap]]:
    """The structures of which later ones hide less than a third."""
    hidden = np.any([mask for _, mask in later], axis=0) if later else np.False_
    return [(name, mask) for name, mask in earlier if (mask & hidden).sum() <= mask.sum() / 3]
