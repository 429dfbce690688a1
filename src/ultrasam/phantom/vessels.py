"""Vessels with walls, in cross-section and along their axis.

A wall of three layers shows, from the outside in, a bright adventitia, a dark media and a thin bright intima
where the beam meets it at a right angle (Pignoli et al. 1986). The mask of a vessel is its lumen.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.muscles import belly_interior, draw_muscle_bed, draw_sheet
from ultrasam.phantom.textures import parenchyma, random_pattern
from ultrasam.phantom.tissue import (
    BoolMap,
    FloatMap,
    Material,
    Scene,
    blob,
    fill,
    paint,
    place,
    smooth_noise,
)


def draw_vessels(rng: np.random.Generator, scene: Scene) -> None:
    """Draw two to six vessels of different size in cross-section, in pairs of artery and vein."""
    if not scene.instances and rng.random() < 0.6:
        draw_muscle_bed(rng, scene, int(rng.integers(3, 9)))
    for _ in range(int(rng.integers(1, 5))):
        center, radii = place(rng, scene, low=0.03, high=0.14, aspect=1.3)
        draw_artery_and_vein(rng, scene, center, float(np.mean(radii)))


def draw_artery_and_vein(
    rng: np.random.Generator, scene: Scene, center: tuple[float, float], radius: float
) -> None:
    """Draw an artery in cross-section, with up to two veins beside it; ``radius`` in pixels."""
    radii = (radius * rng.uniform(0.95, 1.2), radius * rng.uniform(0.85, 1.05))
    taken = [mask for _, mask in scene.instances]
    artery = fill(blob(rng, center, radii, roughness=0.04, angle=rng.normal(0, 0.3)), scene.shape)
    if any((artery & mask).any() for mask in taken):
        return
    _paint_vessel(rng, scene, artery, wall=rng.uniform(0.1, 0.3) * radius)
    scene.instances.append(("artery", artery))
    keep_out = cv2.dilate(artery.astype(np.uint8), _disc(0.15 * radius + 2)) > 0
    turn = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.choice((0, 1, 1, 1, 2)))):
        size = radius * rng.uniform(0.6, 1.7)
        flat = rng.uniform(0.35, 0.95)
        reach = 0.5 * radius + size * rng.uniform(0.75, 1.2)
        at = (center[0] + reach * np.cos(turn), center[1] + reach * np.sin(turn))
        outline = blob(rng, at, (size, flat * size), roughness=0.1, angle=rng.normal(0, 0.4))
        whole = fill(outline, scene.shape)
        vein = whole & ~keep_out
        for mask in taken:
            vein &= ~mask
        turn += rng.uniform(2, 4)
        if vein.sum() < 0.5 * whole.sum():  # a sliver beside what was there before
            continue
        _paint_vessel(rng, scene, vein, wall=rng.uniform(0.0, 0.1) * radius)
        scene.instances.append(("vein", vein))
        taken.append(vein)


def draw_carotid(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a large round artery in cross-section, with a compressed vein, plaques and a gland beside it.

    The masks are the lumen, in a third of the images the lumen with its wall, and what lies beside it.
    """
    bed = draw_muscle_bed(rng, scene, int(np.exp(rng.uniform(np.log(3), np.log(15)))))
    share = float(np.exp(rng.uniform(np.log(0.02), np.log(0.25))))
    radius = float(np.sqrt(share * scene.inside.sum() / np.pi))
    ratio = rng.uniform(0.85, 1.35)
    radii = (radius * ratio**0.5, radius * ratio**-0.5)
    ys, _ = np.nonzero(scene.inside)
    depth = float(ys.min() + max(rng.uniform(0.25, 0.65) * np.ptp(ys), 1.15 * radius))
    depth = min(depth, ys.max() - radius)
    across = np.nonzero(scene.inside[int(depth)])[0]
    center = (float(np.quantile(across, rng.uniform(0.25, 0.75))), depth)
    if rng.random() < 0.5:
        side = rng.choice((-1, 1))
        _draw_gland_beside(rng, scene, (center[0] + side * radius * rng.uniform(1.6, 2.4), depth))
    outline = blob(rng, center, radii, roughness=0.03, angle=rng.normal(0, 0.3))
    vessel = fill(outline, scene.shape)
    wall = radius * rng.uniform(0.06, 0.22)
    outer = cv2.dilate(vessel.astype(np.uint8), _disc(wall)) > 0
    for index, (name, mask) in enumerate(scene.instances):
        scene.instances[index] = (name, mask & ~outer)
    if rng.random() < 0.7:
        turn = rng.uniform(-2.9, -0.2)
        size = radius * rng.uniform(0.7, 1.6)
        flat = rng.uniform(0.25, 0.9)
        reach = radius + wall + size * rng.uniform(0.3, 0.75)
        at = (center[0] + reach * np.cos(turn), center[1] + reach * np.sin(turn))
        vein_outline = blob(
            rng,
            at,
            (size, flat * size),
            roughness=0.08,
            angle=turn + np.pi / 2 + rng.normal(0, 0.3),
        )
        vein = fill(vein_outline, scene.shape) & ~outer
        for index, (name, mask) in enumerate(scene.instances):
            scene.instances[index] = (name, mask & ~vein)
        _paint_vessel(rng, scene, vein, wall=rng.uniform(0, 0.06) * radius)
        scene.instances.append(("vein", vein))
    blood = _paint_vessel(rng, scene, vessel, wall=wall)
    lumen = vessel
    if rng.random() < 0.35:
        plaque = _draw_plaque(rng, scene, vessel, outline, radius, blood)
        lumen = vessel & ~plaque
        scene.instances.append(("plaque", plaque))
    scene.instances.append(("artery", lumen))
    if rng.random() < 0.33:
        scene.instances.append(("artery with its wall", outer))
    muscles = np.unique(bed)
    belly = (bed == rng.choice(muscles)) & ~outer
    for _, mask in scene.instances:
        belly &= ~mask
    belly = belly_interior(belly, scene.inside)
    if rng.random() < 0.3 and 0.02 < belly.mean() < 0.3:
        scene.instances.append(("muscle belly", belly))


def draw_tube(rng: np.random.Generator, scene: Scene) -> None:
    """Draw one or two vessels along their axis, across the whole view, some with plaques.

    The masks are the lumen, the plaques, and in some images the lumen with its walls.
    """
    height, width = scene.shape
    if not scene.instances and rng.random() < 0.5:
        draw_muscle_bed(rng, scene, int(rng.integers(2, 6)))
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    depth = rng.uniform(0.2, 0.6)
    for index in range(int(rng.choice((1, 1, 2)))):
        half = height * rng.uniform(0.035, 0.14) * (1 - 0.4 * index)
        wave = 0.02 * np.sin(x * rng.uniform(2, 9) + rng.uniform(0, 6))
        middle = height * (depth + rng.normal(0, 0.2) * x + rng.normal(0, 0.12) * x * x + wave)
        depth += rng.uniform(0.25, 0.4)
        wide = half * (1 + 0.12 * smooth_noise(rng, (1, width), width / 5, 1)[0])
        offset = np.abs(y - middle)
        vessel = offset < wide
        for _, mask in scene.instances:
            vessel &= ~mask
        wall = half * rng.uniform(0.05, 0.3)
        blood = _paint_vessel(rng, scene, vessel, wall=wall)
        lumen = vessel
        if rng.random() < 0.4:
            edge = middle + rng.choice((-1, 1)) * wide
            at = rng.uniform(-0.4, 0.4)
            bump = (
                np.exp(-(((x - at) / rng.uniform(0.05, 0.2)) ** 2)) * half * rng.uniform(0.4, 1.1)
            )
            plaque = (np.abs(y - edge) < bump) & vessel
            _paint_plaque(rng, scene, plaque, blood)
            lumen = vessel & ~plaque
            scene.instances.append(("plaque", plaque))
        scene.instances.append(("vessel along its axis", lumen))
        if rng.random() < 0.3:
            scene.instances.append(("vessel with its walls", offset < wide + wall))
    if rng.random() < 0.4:
        edge = height * (rng.uniform(0.06, 0.15) + rng.normal(0, 0.05) * x)
        draw_sheet(rng, scene, edge, height * rng.uniform(0.006, 0.015), rng.uniform(4, 12))


def _paint_vessel(rng: np.random.Generator, scene: Scene, lumen: BoolMap, *, wall: float) -> float:
    """Paint a wall of up to ``wall`` pixels around a lumen, and blood with haze; returns its level in dB."""
    intima = rng.uniform(1, 6)
    if wall > 1.2:
        adventitia = cv2.dilate(lumen.astype(np.uint8), _disc(wall)) > 0
        paint(
            rng, scene, adventitia,
            Material(
                rng.uniform(2, 12), texture_db=rng.uniform(1, 4), grain=6,
                rim=rng.uniform(0, 2), softness=max(0.8, rng.uniform(0.1, 0.5) * wall),
            ),
        )  # fmt: skip
        media = (
            cv2.dilate(lumen.astype(np.uint8), _disc(max(1.0, rng.uniform(0.2, 0.5) * wall))) > 0
        )
        paint(
            rng, scene, media, Material(rng.uniform(-22, -4), rim=rng.uniform(0, 4), softness=0.7)
        )
    level = _blood_level(rng)
    needs_wall = level > -9 or rng.random() < 0.5
    blood = Material(
        level, texture_db=rng.uniform(0.5, 3), grain=rng.uniform(6, 25),
        attenuation_db=-rng.uniform(0, 14), rim=intima, softness=rng.uniform(0.6, 1.3),
        rim_db=rng.uniform(3, 11), rim_width=rng.uniform(0.6, 1.6) if needs_wall else 0,
    )  # fmt: skip
    paint(rng, scene, lumen, blood)
    if rng.random() < 0.5:
        _draw_haze(rng, scene, lumen)
    return level


def _blood_level(rng: np.random.Generator) -> float:
    """Blood is black, gray as slow flow, or nearly as bright as tissue, as in a low-contrast image."""
    kind = rng.choice(3, p=(0.5, 0.37, 0.13))
    low, high = ((-38, -16), (-16, -5), (-5, 3))[kind]
    return float(rng.uniform(low, high))


def _draw_haze(rng: np.random.Generator, scene: Scene, lumen: BoolMap) -> None:
    """Draw the reverberations of the near wall, which fade with the depth in the lumen."""
    depth = np.cumsum(lumen, axis=0, dtype=np.float32)
    reach = rng.uniform(0.15, 0.6) * float(depth.max() + 1)
    fade = np.exp(-depth / reach) * lumen
    streaks = np.clip(1 + 0.5 * smooth_noise(rng, scene.shape, 25, 3), 0.2, 2)
    scene.echo_db += cv2.GaussianBlur(fade, (0, 0), 1.0) * streaks * rng.uniform(4, 20)


def _draw_plaque(
    rng: np.random.Generator,
    scene: Scene,
    vessel: BoolMap,
    outline: FloatMap,
    radius: float,
    blood: float,
) -> BoolMap:
    """Draw a plaque on the wall; returns its mask, a part of the vessel's."""
    at = outline[int(rng.integers(len(outline)))]
    size = radius * rng.uniform(0.35, 0.8)
    toward = np.arctan2(*(outline.mean(axis=0) - at)[::-1]) + np.pi / 2
    lump = blob(
        rng, (float(at[0]), float(at[1])), (size * rng.uniform(1, 1.8), size),
        roughness=0.12, angle=float(toward),
    )  # fmt: skip
    plaque = fill(lump, scene.shape) & vessel
    _paint_plaque(rng, scene, plaque, blood)
    return plaque


def _paint_plaque(rng: np.random.Generator, scene: Scene, plaque: BoolMap, blood: float) -> None:
    material = Material(
        max(blood, -15) + rng.uniform(5, 18), pattern=random_pattern(rng, scene.shape),
        texture_db=rng.uniform(1, 4), attenuation_db=rng.uniform(0, 90) if rng.random() < 0.4 else 0.0,
        rim=rng.uniform(0, 3),
    )  # fmt: skip
    paint(rng, scene, plaque, material)


def _draw_gland_beside(rng: np.random.Generator, scene: Scene, center: tuple[float, float]) -> None:
    """Draw an even gland, such as a lobe of the thyroid."""
    size = min(scene.shape) * rng.uniform(0.1, 0.3)
    outline = blob(
        rng, center, (size * rng.uniform(1, 1.5), size), roughness=0.06, angle=rng.normal(0, 0.4)
    )
    mask = fill(outline, scene.shape)
    fine = parenchyma(rng, scene.shape, rng.uniform(2, 4))
    paint(
        rng, scene, mask,
        Material(
            rng.uniform(-4, 8), pattern=fine, texture_db=rng.uniform(0.5, 2.5), rim=rng.uniform(0, 3),
            rim_db=rng.uniform(4, 10), rim_width=rng.uniform(0.6, 1.5),
        ),
    )  # fmt: skip
    scene.instances.append(("gland", mask))


def _disc(radius: float) -> npt.NDArray[np.uint8]:
    size = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
