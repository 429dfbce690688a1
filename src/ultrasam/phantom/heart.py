"""Draw views of the heart: apical views with two or four chambers, and short-axis views.

Chambers have no border where a valve is open: the mask is then closed by the line between the hinges of
the valve, as in the annotation of CAMUS (Leclerc et al. 2019). Parts of the walls vanish, and clutter
fills the chambers with haze.
"""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.clutter import draw_haze, roughen
from ultrasam.phantom.heart_contours import HeartAxes, left_heart, right_heart
from ultrasam.phantom.tissue import (
    BoolMap,
    FloatMap,
    Material,
    Scene,
    blob,
    field_bounds,
    fill,
    paint,
    smooth_noise,
)


def draw_apical_heart(rng: np.random.Generator, scene: Scene) -> None:
    """Draw an apical view: the left ventricle and atrium, and often the right ventricle and atrium."""
    around = _draw_surroundings(rng, scene)
    axes = HeartAxes.draw(rng, scene.inside)
    blood, muscle = _draw_materials(rng, around)
    chambers, walls = left_heart(rng, axes)
    if rng.random() < 0.6:
        right_chambers, right_walls = right_heart(rng, axes, walls["left ventricle with wall"])
        chambers |= right_chambers
        walls |= right_walls
    masks = {name: fill(axes.pixels(points), scene.shape) for name, points in chambers.items()}
    outer = {name: fill(axes.pixels(points), scene.shape) for name, points in walls.items()}
    left = outer["left ventricle with wall"] | masks["left ventricle"] | masks["left atrium"]
    for name in masks:
        if name.startswith("right"):
            masks[name] &= ~left
    thin = Material(muscle.echo_db + rng.uniform(-2, 3), softness=1.2, rim=muscle.rim)
    for name, mask in outer.items():
        paint(rng, scene, mask, muscle if "left ventricle" in name else thin)
    for side in ("left", "right"):  # as one, since there is no border where the valve is open
        chambers_of_side = [mask for name, mask in masks.items() if name.startswith(side)]
        if chambers_of_side:
            paint(rng, scene, np.logical_or.reduce(chambers_of_side), blood)
    cavities = np.logical_or.reduce(list(masks.values()))
    tissue = np.logical_or.reduce(list(outer.values())) & ~cavities
    _draw_dropout(rng, scene, tissue, blood.echo_db)
    if rng.random() < 0.7:
        _draw_trabeculae(rng, scene, axes, masks["left ventricle"], muscle.echo_db)
    for name, contour in chambers.items():
        if "ventricle" in name:
            _draw_valve(rng, scene, axes, contour, muscle.echo_db)
    roughen(rng, scene)
    if rng.random() < 0.7:
        for name, contour in walls.items():
            if "atrium" in name:
                _draw_bright_line(rng, scene, axes, contour)
    draw_haze(rng, scene)
    whole = outer["left ventricle with wall"] | masks["left ventricle"]
    scene.instances.append(("left ventricle with wall", whole))
    scene.instances += masks.items()


def draw_short_axis_heart(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a short-axis view: a round ventricle in a thick wall, and a crescent around one side of it."""
    around = _draw_surroundings(rng, scene)
    blood, muscle = _draw_materials(rng, around)
    box = field_bounds(scene.inside)
    side = min(box[2] - box[0], box[3] - box[1])
    radius = side * rng.uniform(0.1, 0.24)
    wall = radius * rng.uniform(1.28, 1.85)
    center = np.array(
        (
            (box[0] + box[2]) / 2 + rng.normal(0.04, 0.06) * side,
            box[1] + (box[3] - box[1]) * rng.uniform(0.42, 0.62),
        )
    )
    mirror = -1.0 if rng.random() < 0.25 else 1.0
    squeeze, turn = rng.uniform(0.82, 1.1), rng.normal(0, 0.3)
    at = (float(center[0]), float(center[1]))
    cavity = fill(
        blob(rng, at, (radius * squeeze, radius), roughness=0.06, angle=turn), scene.shape
    )
    epicardium = blob(rng, at, (wall * squeeze, wall), roughness=0.03, angle=turn)
    outer = fill(epicardium, scene.shape) | cavity
    # The right ventricle is a disc moved to one side, less the left ventricle with its wall.
    toward = np.pi + rng.normal(0.3, 0.35)
    shift = wall * rng.uniform(0.55, 1.0)
    where = center + shift * np.array((mirror * np.cos(toward), -np.sin(toward)))
    size = wall * rng.uniform(0.85, 1.2)
    disc = blob(
        rng,
        (float(where[0]), float(where[1])),
        (size * rng.uniform(0.8, 1.0), size * rng.uniform(1.0, 1.25)),
        roughness=0.05,
        angle=-mirror * (toward - np.pi),
    )
    right = fill(disc, scene.shape) & ~outer
    right = _largest_part(right)
    thickness = max(3, round(radius * rng.uniform(0.12, 0.3)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness + 1,) * 2)
    right_wall = cv2.dilate(right.astype(np.uint8), kernel).astype(bool)
    paint(rng, scene, right_wall & ~outer, Material(muscle.echo_db + rng.uniform(-2, 3), rim=0.8))
    paint(rng, scene, outer, muscle)
    for mask in (right, cavity):
        paint(rng, scene, mask, blood)
    _draw_dropout(rng, scene, (outer | right_wall) & ~cavity & ~right, blood.echo_db)
    roughen(rng, scene)
    for angle in rng.permutation((0.6, 2.4, 4.5))[: int(rng.integers(0, 4))]:
        _draw_papillary(rng, scene, cavity, center, radius, angle, muscle.echo_db)
    draw_haze(rng, scene)
    scene.instances += [
        ("left ventricle with wall", outer),
        ("left ventricle", cavity),
        ("right ventricle", right),
    ]


def _draw_surroundings(rng: np.random.Generator, scene: Scene) -> float:
    """Replace the background by what surrounds a heart: uneven echoes that change from beam to beam.

    Returns:
        Their mean level in dB.
    """
    angle = np.arctan2(scene.beam[0], scene.beam[1])
    knots = np.linspace(float(angle.min()) - 1e-3, float(angle.max()) + 1e-3, 9)
    sideways = np.interp(angle, knots, rng.normal(0, rng.uniform(1, 6), 9)).astype(np.float32)
    level = rng.normal(-0.5, 4)
    scene.echo_db[:] = level + sideways
    scene.echo_db += smooth_noise(rng, scene.shape, 45, 60) * rng.uniform(1, 5)
    scene.echo_db += smooth_noise(rng, scene.shape, 13, 6) * rng.uniform(0.5, 5)
    scene.specular[:] = 0
    streaks = smooth_noise(rng, scene.shape, 40, 5)
    scene.specular += np.clip(streaks - 1.6, 0, 1) * rng.uniform(0, 2)
    return float(level)


def _draw_materials(rng: np.random.Generator, around: float) -> tuple[Material, Material]:
    """Draw blood and muscle; blood is seldom black, and brighter than muscle with a contrast agent.

    In 45 % of the hearts the muscle's level is that of its surroundings, ``around`` in dB.
    """
    muscle_db = rng.normal(around, 1.2) if rng.random() < 0.45 else rng.normal(2, 3.5)
    drop = rng.uniform(4, 9) if rng.random() < 0.3 else rng.uniform(9, 22)
    if rng.random() < 0.06:
        drop = -rng.uniform(3, 10)
    soft = float(rng.uniform(0.8, 2.6))
    blood = Material(
        muscle_db - drop, texture_db=rng.uniform(0.5, 2), grain=rng.uniform(10, 30),
        softness=soft, rim=rng.uniform(0, 2.5), attenuation_db=-rng.uniform(0, 5),
    )  # fmt: skip
    muscle = Material(
        muscle_db, texture_db=rng.uniform(1, 5), grain=rng.uniform(4, 10), softness=soft * 1.3,
        rim=rng.uniform(0.5, 4), rim_db=muscle_db + rng.uniform(0, 8),
        rim_width=rng.uniform(0.8, 3) if rng.random() < 0.4 else 0,
        attenuation_db=rng.uniform(0, 10),
    )  # fmt: skip
    return blood, muscle


def _draw_dropout(rng: np.random.Generator, scene: Scene, tissue: BoolMap, blood_db: float) -> None:
    """Let parts of the walls fade into the blood, as where they run along the beam."""
    patchy = smooth_noise(rng, scene.shape, 60, 60) * 1.1 + smooth_noise(rng, scene.shape, 22, 30)
    lost = np.clip(patchy * 0.6 + rng.uniform(-0.8, 0.35), 0, 1)
    weight = cv2.GaussianBlur(tissue.astype(np.float32), (0, 0), 1.5) * lost
    scene.echo_db += weight * (blood_db + rng.uniform(0, 3) - scene.echo_db)
    scene.specular *= 1 - np.clip(lost * 1.5, 0, 1)


def _draw_trabeculae(
    rng: np.random.Generator, scene: Scene, axes: HeartAxes, cavity: BoolMap, muscle_db: float
) -> None:
    """Draw muscles and cords in the cavity, which belong to it by the convention of annotation."""
    for _ in range(int(rng.integers(1, 5))):
        side = rng.choice((-1.0, 1.0), p=(0.3, 0.7))
        start = np.array((rng.uniform(0.25, 0.7), side * rng.uniform(0.65, 0.95)))
        end = start + np.array((rng.uniform(0.08, 0.3), -side * rng.uniform(0, 0.35)))
        line = axes.pixels(np.stack([start, end]).astype(np.float32))
        center = line.mean(axis=0)
        reach = np.hypot(*(line[1] - line[0])) / 2
        angle = np.arctan2(line[1, 1] - line[0, 1], line[1, 0] - line[0, 0])
        size = (reach, axes.half_width * rng.uniform(0.04, 0.16))
        outline = blob(
            rng, (float(center[0]), float(center[1])), size, roughness=0.12, angle=float(angle)
        )
        level = muscle_db + rng.uniform(-5, 5)
        paint(rng, scene, fill(outline, scene.shape) & cavity, Material(level, softness=1.5))


def _draw_papillary(
    rng: np.random.Generator,
    scene: Scene,
    cavity: BoolMap,
    center: FloatMap,
    radius: float,
    angle: float,
    muscle_db: float,
) -> None:
    angle += rng.normal(0, 0.25)
    reach = radius * rng.uniform(0.5, 0.85)
    at = (float(center[0] + reach * np.cos(angle)), float(center[1] + reach * np.sin(angle)))
    size = radius * rng.uniform(0.14, 0.3)
    outline = blob(rng, at, (size * rng.uniform(1, 1.5), size), roughness=0.1, angle=angle)
    level = muscle_db + rng.uniform(-3, 4)
    paint(rng, scene, fill(outline, scene.shape) & cavity, Material(level, softness=1.2, rim=0.8))


def _draw_valve(
    rng: np.random.Generator, scene: Scene, axes: HeartAxes, chamber: FloatMap, muscle_db: float
) -> None:
    """Draw two thin leaflets, open into the ventricle or closed in a tent, and the hinges of the valve."""
    last = len(chamber) // 2
    hinges = chamber[last - 1], chamber[last]
    middle = (hinges[0] + hinges[1]) / 2
    is_open = rng.random() < 0.45
    ink = np.zeros(scene.shape, np.float32)
    s = np.linspace(0, 1, 10)[:, None]
    width = int(rng.integers(1, 4))
    for hinge in hinges:
        if is_open:
            tip = hinge + (middle - hinge) * rng.uniform(0.1, 0.6) - (rng.uniform(0.1, 0.3), 0)
        else:
            tip = middle - (rng.uniform(-0.02, 0.1), 0)
        bend = (hinge + tip) / 2 - (rng.uniform(-0.02, 0.06), 0)
        curve = (1 - s) ** 2 * hinge + 2 * s * (1 - s) * bend + s * s * tip
        points = np.round(axes.pixels(curve.astype(np.float32)) * 8).astype(np.int32)
        cv2.polylines(ink, [points], False, 1.0, width, cv2.LINE_AA, 3)
        if rng.random() < 0.7:
            x, y = (int(v) for v in axes.pixels(hinge[None])[0])
            cv2.circle(ink, (x, y), int(rng.integers(2, 6)), 1.0, -1, cv2.LINE_AA)
    ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), 0.9), np.float32)
    ink *= np.clip(0.8 + 0.6 * smooth_noise(rng, scene.shape, 15, 15), 0, 1)
    level = muscle_db + rng.uniform(0, 11)
    scene.echo_db += np.clip(ink * 1.4, 0, 1) * np.maximum(level - scene.echo_db, 0)


def _draw_bright_line(
    rng: np.random.Generator, scene: Scene, axes: HeartAxes, contour: FloatMap
) -> None:
    """Draw the broken bright echo behind an atrium."""
    far = contour[contour[:, 0] > np.quantile(contour[:, 0], rng.uniform(0.3, 0.7))]
    points = np.round(axes.pixels(far) * 8).astype(np.int32)
    ink = np.zeros(scene.shape, np.float32)
    cv2.polylines(ink, [points], False, 1.0, int(rng.integers(2, 9)), cv2.LINE_AA, 3)
    ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.8, 2.5)), np.float32)
    ink *= np.clip(0.7 + 0.7 * smooth_noise(rng, scene.shape, 25, 25), 0, 1)
    scene.echo_db += ink * (rng.uniform(5, 13) - scene.echo_db)


def _largest_part(mask: BoolMap) -> BoolMap:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), bool)
