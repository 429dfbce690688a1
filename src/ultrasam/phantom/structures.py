"""Draw structures with their masks: lesions, glands and cysts."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.lesions import draw_calcifications, draw_lesion, level_at, relative_level
from ultrasam.phantom.textures import random_pattern
from ultrasam.phantom.tissue import Material, Scene, blob, fill, paint, place


def _lesion_material(rng: np.random.Generator) -> Material:
    kind = rng.choice(("dark", "fluid", "bright", "faint"), p=(0.5, 0.14, 0.12, 0.24))
    soft = float(rng.choice((0.6, 1.5, 3.0)))
    if kind == "fluid":
        return Material(
            -rng.uniform(18, 40), texture_db=1, attenuation_db=-rng.uniform(4, 22),
            rim=rng.uniform(0.5, 4), rim_db=rng.uniform(0, 6), rim_width=rng.uniform(0, 1.5),
        )  # fmt: skip
    if kind == "bright":
        return Material(rng.uniform(4, 10), texture_db=2, softness=soft, rim=rng.uniform(0, 1))
    if kind == "faint":
        return Material(rng.uniform(-7, -2.5), contrast=True, softness=soft, rim=rng.uniform(0, 2))
    return Material(
        -rng.uniform(4, 13), contrast=bool(rng.random() < 0.3), texture_db=rng.uniform(1, 4.5),
        grain=rng.uniform(5, 18), attenuation_db=rng.normal(2, 9), softness=soft,
        rim=rng.uniform(0, 2), rim_db=rng.uniform(-2, 6),
        rim_width=rng.uniform(0.5, 3) if rng.random() < 0.4 else 0,
    )  # fmt: skip


def draw_lesions(rng: np.random.Generator, scene: Scene) -> None:
    """Draw one to three lesions: dark, bright, faint or fluid-filled, some with calcifications."""
    for _ in range(int(rng.choice((1, 1, 2, 3)))):
        center, radii = place(rng, scene, low=0.04, high=0.34, aspect=2.4)
        outline = blob(
            rng, center, radii, roughness=abs(rng.normal(0, 0.12)), angle=rng.normal(0, 0.35)
        )
        mask = fill(outline, scene.shape)
        if rng.random() < 0.4:
            draw_lesion(rng, scene, mask)
            continue
        material = _lesion_material(rng)
        paint(rng, scene, mask, material)
        scene.instances.append(("cyst" if material.attenuation_db < -3 else "lesion", mask))
        if rng.random() < 0.2:
            draw_calcifications(rng, scene, mask)


def draw_gland(rng: np.random.Generator, scene: Scene) -> None:
    """Draw an organ with one to three nodules."""
    center, radii = place(rng, scene, low=0.2, high=0.42, aspect=2.2)
    tilt = rng.normal(0, 0.25)
    mask = fill(blob(rng, center, radii, roughness=0.06, angle=tilt), scene.shape)
    material = Material(
        level_at(scene, mask) + relative_level(rng), texture_db=rng.uniform(0.5, 3), softness=0.8,
        rim=rng.uniform(0.5, 3),
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.4 else None,
    )  # fmt: skip
    paint(rng, scene, mask, material)
    scene.instances.append(("gland", mask))
    for _ in range(int(rng.integers(1, 4))):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.55)
        at = (
            center[0] + reach * radii[0] * np.cos(angle),
            center[1] + reach * radii[1] * np.sin(angle),
        )
        radius = rng.uniform(0.15, 0.5) * min(radii)
        nodule_radii = (radius * rng.uniform(1, 1.7), radius)
        inner = fill(blob(rng, at, nodule_radii, roughness=0.08, angle=tilt), scene.shape) & mask
        draw_lesion(rng, scene, inner, name="nodule")


def draw_complex_cyst(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a large cyst, some with septa or a nodule on the wall."""
    center, radii = place(rng, scene, low=0.14, high=0.4, aspect=1.9)
    outline = blob(rng, center, radii, roughness=0.07, angle=rng.normal(0, 0.4))
    mask = fill(outline, scene.shape)
    fluid = Material(
        -rng.uniform(8, 34), texture_db=rng.uniform(1, 3), grain=20, rim=rng.uniform(1, 5),
        attenuation_db=-rng.uniform(4, 18), rim_db=rng.uniform(2, 8), rim_width=rng.uniform(0.8, 2.2),
    )  # fmt: skip
    paint(rng, scene, mask, fluid)
    scene.instances.append(("complex cyst", mask))
    for _ in range(int(rng.integers(0, 4))):
        a, b = outline[rng.integers(96)], outline[rng.integers(96)]
        septum = np.zeros(scene.shape, np.uint8)
        bow = (a + b) / 2 + rng.normal(0, 0.15, 2) * np.abs(a - b)
        curve = np.stack([(1 - t) ** 2 * a + 2 * t * (1 - t) * bow + t * t * b for t in _STEPS])
        width = int(rng.integers(1, 4))
        cv2.polylines(septum, [curve.astype(np.int32)], False, 1, width, cv2.LINE_AA)
        paint(
            rng, scene, (septum > 0) & mask, Material(rng.uniform(-6, 6), rim=rng.uniform(0.5, 3))
        )
    if rng.random() < 0.5:
        at = outline[rng.integers(96)]
        size = rng.uniform(0.15, 0.45) * min(radii)
        nodule = fill(blob(rng, (at[0], at[1]), (size, size), roughness=0.15), scene.shape) & mask
        paint(rng, scene, nodule, Material(rng.uniform(-8, 4), texture_db=3, softness=1.5))
        if nodule.sum() > 150:
            scene.instances.append(("solid part", nodule))


_STEPS = np.linspace(0, 1, 16)
