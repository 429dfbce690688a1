"""Draw structures with their masks: lesions, glands, heads, chambers and cysts."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.tissue import BoolMap, Material, Scene, blob, fill, paint, place


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
        material = _lesion_material(rng)
        paint(rng, scene, mask, material)
        scene.instances.append(("cyst" if material.attenuation_db < -3 else "lesion", mask))
        if rng.random() < 0.2:
            _calcifications(rng, scene, mask)


def draw_gland(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a homogeneous organ with one to three nodules."""
    center, radii = place(rng, scene, low=0.2, high=0.42, aspect=2.2)
    tilt = rng.normal(0, 0.25)
    mask = fill(blob(rng, center, radii, roughness=0.06, angle=tilt), scene.shape)
    material = Material(rng.uniform(-6, 7), texture_db=1, rim=rng.uniform(0.5, 3), softness=0.8)
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
        paint(rng, scene, inner, _lesion_material(rng))
        scene.instances.append(("nodule", inner))


def draw_head(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a bright ellipse around darker contents, such as a skull or a capsule."""
    center, radii = place(rng, scene, low=0.22, high=0.46, aspect=1.5)
    outline = blob(rng, center, radii, roughness=0.01, angle=rng.uniform(-0.7, 0.7))
    mask = fill(outline, scene.shape)
    paint(
        rng, scene, mask,
        Material(
            rng.uniform(-14, -2), texture_db=4, grain=12, rim=rng.uniform(2, 7),
            rim_db=rng.uniform(8, 15), rim_width=rng.uniform(1.2, 3.5),
            attenuation_db=rng.uniform(0, 8),
        ),
    )  # fmt: skip
    scene.instances.append(("head", mask))
    if rng.random() < 0.6:
        along = (outline[0] + rng.normal(0, 4, 2), outline[48] + rng.normal(0, 4, 2))
        start, end = (tuple(int(v) for v in 0.75 * p + 0.25 * np.array(center)) for p in along)
        midline = np.zeros(scene.shape, np.float32)
        cv2.line(midline, start, end, rng.uniform(1, 3), 1, cv2.LINE_AA)
        scene.specular += midline * mask


def draw_chambers(rng: np.random.Generator, scene: Scene) -> None:
    """Draw nested and touching cavities in a thick wall, as in an apical view of the heart."""
    center, radii = place(rng, scene, low=0.16, high=0.3, aspect=2.0)
    radii = (min(radii), max(radii))
    tilt = rng.normal(0, 0.25)
    wall = rng.uniform(1.25, 1.6)
    outer = fill(
        blob(rng, center, (radii[0] * wall, radii[1] * wall), roughness=0.04, angle=tilt),
        scene.shape,
    )
    cavity = fill(blob(rng, center, radii, roughness=0.07, angle=tilt), scene.shape)
    paint(rng, scene, outer, Material(rng.uniform(-3, 5), texture_db=2, softness=1.5, rim=1))
    blood = Material(
        -rng.uniform(9, 26), texture_db=2, grain=14, softness=1.6, rim=rng.uniform(0, 2)
    )
    paint(rng, scene, cavity, blood)
    scene.instances += [("wall and cavity", outer), ("cavity", cavity)]
    if rng.random() < 0.6:
        at = (center[0], center[1] + radii[1] * rng.uniform(1.3, 1.6))
        size = (radii[0] * rng.uniform(0.8, 1.2), radii[1] * rng.uniform(0.4, 0.6))
        second = fill(blob(rng, at, size, roughness=0.06), scene.shape) & ~cavity
        paint(rng, scene, second, blood)
        scene.instances.append(("cavity", second))


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


def _calcifications(rng: np.random.Generator, scene: Scene, mask: BoolMap) -> None:
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return
    spots = np.zeros(scene.shape, np.float32)
    for index in rng.integers(len(ys), size=int(rng.integers(1, 8))):
        cv2.circle(spots, (int(xs[index]), int(ys[index])), int(rng.integers(1, 3)), 1.0, -1)
    scene.specular += spots * rng.uniform(2, 6)
    scene.attenuation_db += spots * rng.uniform(50, 400)
