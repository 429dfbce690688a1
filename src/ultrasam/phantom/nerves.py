"""Nerves: roots in a fascial compartment, and peripheral nerves with fascicles, among muscles and vessels.

A nerve may be darker than muscle, brighter, or equal to it but for its sheath and its honeycomb of fascicles
(Silvestri et al. 1995). Masks are nested: fascicle, nerve, compartment.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.muscles import LabelMap, belly_interior, draw_muscle_bed
from ultrasam.phantom.textures import honeycomb, parenchyma, random_pattern
from ultrasam.phantom.tissue import BoolMap, Material, Scene, blob, fill, paint, smooth_noise
from ultrasam.phantom.vessels import draw_artery_and_vein

_MIN_FASCICLE = 150  # pixels; smaller fascicles are texture


def draw_nerves(rng: np.random.Generator, scene: Scene) -> None:
    """Draw one to three nerves or a string of roots where muscles meet, often beside an artery and veins."""
    bed = draw_muscle_bed(rng, scene, int(np.exp(rng.uniform(np.log(3), np.log(24)))))
    side = float(min(np.ptp(np.nonzero(scene.inside)[axis]) for axis in (0, 1)))
    if rng.random() < 0.55:
        x, y = _junction(rng, scene, bed)
        draw_artery_and_vein(rng, scene, (x, y), side * rng.uniform(0.03, 0.11))
    if rng.random() < 0.35:
        _draw_roots(rng, scene, _junction(rng, scene, bed), side)
    else:
        for _ in range(int(rng.choice((1, 1, 2, 3)))):
            _draw_peripheral_nerve(rng, scene, _junction(rng, scene, bed))
    if rng.random() < 0.3:
        belly = bed == int(rng.integers(bed.max() + 1))
        for _, mask in scene.instances:
            belly &= ~mask
        belly = belly_interior(belly, scene.inside)
        if 0.02 < belly.mean() < 0.4:
            scene.instances.append(("muscle belly", belly))


def _junction(rng: np.random.Generator, scene: Scene, bed: LabelMap) -> tuple[float, float]:
    """A point (x, y) on a border between muscles, in the upper three quarters, away from what is drawn."""
    height, width = scene.shape
    border = np.zeros(scene.shape, np.uint8)
    border[1:] = (bed[1:] != bed[:-1]) & scene.inside[1:]
    border[int(0.75 * height) :] = 0
    for _, mask in scene.instances:
        border[cv2.dilate(mask.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0] = 0
    border[:, : width // 10] = 0
    border[:, width - width // 10 :] = 0
    ys, xs = np.nonzero(border)
    if not len(ys):
        return float(rng.uniform(0.3, 0.7) * width), float(rng.uniform(0.2, 0.7) * height)
    index = int(rng.integers(len(ys)))
    return float(xs[index]), float(ys[index])


def _draw_peripheral_nerve(
    rng: np.random.Generator, scene: Scene, center: tuple[float, float]
) -> None:
    """Draw an oval nerve of 0.6 to 6 % of the view with a bright sheath."""
    area = scene.inside.sum() * np.exp(rng.uniform(np.log(0.006), np.log(0.06)))
    aspect = np.exp(rng.uniform(0, np.log(3.5)))
    radii = (float(np.sqrt(area / np.pi * aspect)), float(np.sqrt(area / np.pi / aspect)))
    angle = float(rng.normal(0, 0.5)) if rng.random() < 0.75 else float(rng.uniform(0, np.pi))
    outline = blob(rng, center, radii, roughness=rng.uniform(0.03, 0.14), angle=angle)
    mask = _free(scene, fill(outline, scene.shape))
    if mask.sum() < 0.6 * area:
        return
    if rng.random() < 0.35:
        _draw_compartment(rng, scene, mask, min(radii) * rng.uniform(0.25, 1.0))
    difference = _difference(rng)
    level = min(_level_around(scene, mask) + difference, 8.0)
    kind = rng.choice(("honeycomb", "fascicles", "plain"), p=(0.45, 0.35, 0.2))
    cell = min(radii) * rng.uniform(0.3, 0.7)
    if kind == "honeycomb":
        pattern, strength = honeycomb(rng, scene.shape, max(5.0, cell)), rng.uniform(4, 9)
    elif kind == "plain":
        pattern, strength = random_pattern(rng, scene.shape), rng.uniform(1, 4)
    else:
        pattern, strength = parenchyma(rng, scene.shape, 3), rng.uniform(1, 3)
    is_bare = abs(difference) > 4 and rng.random() < 0.4
    sheath = 0.0 if is_bare else rng.uniform(0.8, 2.6)
    paint(
        rng, scene, mask,
        Material(
            level, pattern=pattern, texture_db=strength, softness=rng.uniform(0.6, 1.8),
            rim=rng.uniform(0, 3), rim_db=level + rng.uniform(6, 17), rim_width=sheath,
        ),
    )  # fmt: skip
    if kind == "fascicles":
        _draw_fascicles(rng, scene, mask, level, max(4.0, 0.9 * cell))
    scene.instances.append(("nerve", mask))


def _draw_fascicles(
    rng: np.random.Generator, scene: Scene, nerve: BoolMap, level: float, radius: float
) -> None:
    """Draw three to twelve round, darker fascicles with bright rims; the masks of the large ones."""
    room = cv2.distanceTransform(nerve.astype(np.uint8), cv2.DIST_L2, 3)
    drop = rng.uniform(4, 14)
    for _ in range(int(rng.integers(3, 13))):
        size = radius * rng.uniform(0.55, 1.0)
        ys, xs = np.nonzero(room > 1.05 * size)
        if not len(ys):
            continue
        index = int(rng.integers(len(ys)))
        at = (float(xs[index]), float(ys[index]))
        round_ = blob(rng, at, (size * rng.uniform(1, 1.3), size), roughness=0.06)
        fascicle = fill(round_, scene.shape) & nerve
        paint(
            rng, scene, fascicle,
            Material(
                level - drop, texture_db=1.5, rim=rng.uniform(0, 1.5), rim_db=level + rng.uniform(0, 9),
                rim_width=rng.uniform(0.6, 1.2), softness=0.8,
            ),
        )  # fmt: skip
        y, x = np.ogrid[: nerve.shape[0], : nerve.shape[1]]
        apart = np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2) - 1.15 * size
        room = np.minimum(room, np.clip(apart, 0, None).astype(np.float32))
        if fascicle.sum() >= _MIN_FASCICLE:
            scene.instances.append(("fascicle", fascicle))


def _draw_roots(
    rng: np.random.Generator, scene: Scene, start: tuple[float, float], side: float
) -> None:
    """Draw two to six round roots along an oblique curve within a compartment between two muscles."""
    size = side * rng.uniform(0.026, 0.06)
    turn = rng.uniform(0.2, 2.9)
    at = np.array(start)
    centers: list[npt.NDArray[np.float64]] = []
    sizes: list[float] = []
    for _ in range(int(rng.integers(2, 7))):
        radius = size * rng.uniform(0.65, 1.3)
        if centers:
            step = (radius + sizes[-1]) * rng.uniform(0.95, 1.35)
            at = at + step * np.array([np.cos(turn), np.sin(turn)])
        turn += rng.normal(0, 0.35)
        centers.append(at)
        sizes.append(radius)
    discs = np.concatenate(
        [blob(rng, (c[0], c[1]), (r, r), roughness=0) for c, r in zip(centers, sizes, strict=True)]
    )
    hull = fill(np.asarray(cv2.convexHull(discs)[:, 0], np.float32), scene.shape)
    compartment = _draw_compartment(rng, scene, hull, size * rng.uniform(0.25, 1.3))
    level = _level_around(scene, compartment)
    drop = -rng.uniform(2, 15) if rng.random() < 0.75 else _difference(rng)
    rim = rng.uniform(4, 13) if abs(drop) > 3 else rng.uniform(10, 17)
    fascicles = honeycomb(rng, scene.shape, max(4.0, size * rng.uniform(0.35, 0.8)))
    for center, radius in zip(centers, sizes, strict=True):
        radii = (radius * rng.uniform(0.9, 1.25), radius)
        outline = blob(
            rng, (center[0], center[1]), radii, roughness=0.07, angle=rng.uniform(0, np.pi)
        )
        root = _free(scene, fill(outline, scene.shape), nested=("fascial compartment",))
        root &= compartment
        paint(
            rng, scene, root,
            Material(
                level + drop, pattern=fascicles, texture_db=rng.uniform(0.5, 4),
                rim=rng.uniform(0, 2), rim_db=level + rim, rim_width=rng.uniform(0.6, 1.7),
            ),
        )  # fmt: skip
        scene.instances.append(("nerve root", root))


def _draw_compartment(
    rng: np.random.Generator, scene: Scene, content: BoolMap, margin: float
) -> BoolMap:
    """Draw a fascial compartment ``margin`` pixels wide around its content; returns its mask."""
    away = cv2.distanceTransform((~content).astype(np.uint8), cv2.DIST_L2, 5)
    wavy = 1 + 0.35 * smooth_noise(rng, scene.shape, 3 * margin, 3 * margin)
    mask = _free(scene, away < np.maximum(margin * wavy, 1.5))
    pattern = parenchyma(rng, scene.shape, rng.uniform(2, 6))
    level = _level_around(scene, mask) + rng.normal(0, 4)
    paint(
        rng, scene, mask,
        Material(
            level, pattern=pattern, texture_db=rng.uniform(1, 4), softness=rng.uniform(1, 2.5),
            rim=rng.uniform(0, 3), rim_db=level + rng.uniform(2, 12), rim_width=rng.uniform(0.7, 2),
        ),
    )  # fmt: skip
    if rng.random() < 0.7:
        scene.instances.append(("fascial compartment", mask))
    return mask


def _difference(rng: np.random.Generator) -> float:
    """Level of a nerve relative to its surroundings in dB: equal in 40 % of the draws, to either side."""
    return float(rng.normal(0, 1.0) if rng.random() < 0.4 else rng.normal(0, 6.0))


def _level_around(scene: Scene, mask: BoolMap) -> float:
    """Mean scattering strength in dB of the tissue that a structure replaces and touches."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    return float(np.clip(scene.echo_db[near].mean(), -12, 8)) if near.any() else 0.0


def _free(scene: Scene, mask: BoolMap, nested: tuple[str, ...] = ()) -> BoolMap:
    """What other structures leave of a mask, but for those in which it is nested."""
    for name, other in scene.instances:
        if name not in nested:
            mask = mask & ~other
    return mask
