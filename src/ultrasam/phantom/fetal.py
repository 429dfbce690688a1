"""Draw fetal heads and abdomens: round bodies with an incomplete bright border, in tissue or in fluid."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.background import draw_around
from ultrasam.phantom.clutter import draw_haze, roughen
from ultrasam.phantom.lesions import level_at, line_map, relative_level
from ultrasam.phantom.tissue import (
    FloatMap,
    Material,
    Scene,
    blob,
    field_bounds,
    fill,
    paint,
    smooth_noise,
    turned,
)


def draw_fetal_head(rng: np.random.Generator, scene: Scene) -> None:
    """Draw an ellipse of bone, seldom complete, with a midline and structures of the brain."""
    draw_around(rng, scene, share=0.4)
    center, radii, angle = _draw_place(rng, scene, rng.uniform(0.16, 0.47), aspect=(1.1, 1.4))
    outline = blob(rng, center, radii, roughness=0.008, angle=angle)
    mask = fill(outline, scene.shape)
    around = level_at(scene, mask)
    _draw_fluid(rng, scene, center, radii)
    brain = around + rng.uniform(-13, 4)
    attenuation = rng.uniform(0, 14)
    inside = Material(brain, texture_db=rng.uniform(1, 3.5), grain=14, attenuation_db=attenuation)
    paint(rng, scene, mask, inside)
    _draw_brain(rng, scene, center, radii, angle, brain)
    thick = max(1.5, min(radii) * rng.uniform(0.03, 0.11))
    inner = _scaled(outline, center, 1 - 0.5 * thick / min(radii))
    _draw_shell(rng, scene, inner, thick, around + rng.uniform(7, 24), along=rng.uniform(0.2, 1.3))
    scene.instances.append(("head", mask))
    if rng.random() < 0.4:
        draw_haze(rng, scene)


def draw_fetal_abdomen(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a round body with a spine, a dark bubble and a short vein, and a thin skin."""
    draw_around(rng, scene, share=0.4)
    center, radii, angle = _draw_place(rng, scene, rng.uniform(0.2, 0.47), aspect=(1.0, 1.25))
    outline = blob(rng, center, radii, roughness=0.025, angle=angle)
    mask = fill(outline, scene.shape)
    level = level_at(scene, mask) + relative_level(rng)
    _draw_fluid(rng, scene, center, radii)
    body = Material(
        level, texture_db=rng.uniform(1, 4), grain=rng.uniform(5, 16), softness=rng.uniform(1, 2.5),
        attenuation_db=rng.uniform(0, 10), rim=rng.uniform(0, 4),
    )  # fmt: skip
    paint(rng, scene, mask, body)
    radius = min(radii)
    turn = rng.uniform(0, 2 * np.pi)

    def at(reach: float, direction: float) -> tuple[float, float]:
        reach *= radius
        return (
            center[0] + reach * np.cos(turn + direction),
            center[1] + reach * np.sin(turn + direction),
        )

    # Spine: three bright points with shadows.
    spine = at(0.78, 0.0)
    for step in (-0.16, 0.0, 0.16):
        x, y = at(0.78 - 0.5 * abs(step), step)
        dot = line_map(scene.shape, np.array([(x, y), (x + 2, y)], np.float32), 0.06 * radius)
        scene.specular += dot * rng.uniform(1, 5)
        scene.attenuation_db += (dot > 0.5) * rng.uniform(20, 150)
    for direction in (-0.5, 0.5):  # vessels before the spine
        size = radius * rng.uniform(0.04, 0.08)
        where = (spine[0] + 0.5 * (center[0] - spine[0]), spine[1] + 0.5 * (center[1] - spine[1]))
        where = (where[0] + direction * 0.2 * radius, where[1])
        vessel = fill(blob(rng, where, (size, size), roughness=0.05), scene.shape)
        paint(rng, scene, vessel, Material(level - rng.uniform(5, 15), rim=1))
    bubble = np.array((rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.2))) * radius
    where = at(rng.uniform(0.4, 0.6), rng.uniform(1.2, 2.2))
    stomach = fill(
        blob(rng, where, (bubble[0], bubble[1]), roughness=0.1, angle=rng.uniform(0, 3)),
        scene.shape,
    )
    if rng.random() < 0.8:
        fluid = Material(level - rng.uniform(8, 24), texture_db=1, rim=rng.uniform(0, 3))
        paint(rng, scene, stomach & mask, fluid)
        scene.instances.append(("bubble", stomach & mask))
    s = np.linspace(0, 1, 10)
    bend = rng.uniform(0.2, 0.9) * rng.choice((-1, 1))
    vein = np.array([at(0.75 - 0.6 * t, np.pi + bend * t * t) for t in s], np.float32)
    walls = line_map(scene.shape, vein, radius * 0.16)
    lumen = line_map(scene.shape, vein, radius * 0.1)
    scene.echo_db += walls * mask * (level + rng.uniform(0, 7) - scene.echo_db)
    scene.echo_db += lumen * mask * (level - rng.uniform(6, 18) - scene.echo_db)
    if rng.random() < 0.75:
        _draw_shell(
            rng, scene, outline, rng.uniform(1.2, max(2.0, 0.07 * radius)),
            level + rng.uniform(1, 11), along=rng.uniform(0, 1),
        )  # fmt: skip
    scene.instances.append(("fetal abdomen", mask))
    roughen(rng, scene)
    if rng.random() < 0.4:
        draw_haze(rng, scene)


def _draw_place(
    rng: np.random.Generator, scene: Scene, share: float, aspect: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Center, radii and angle of a body whose mean radius is a share of the field's shorter side."""
    left, top, right, bottom = field_bounds(scene.inside)
    side = min(right - left, bottom - top)
    stretch = np.sqrt(rng.uniform(*aspect))
    x = (left + right) / 2 + rng.normal(0, 0.1) * side
    y = top + (bottom - top) * rng.uniform(0.42, 0.62)
    radius = side * share
    return (
        (float(x), float(y)),
        (float(radius * stretch), float(radius / stretch)),
        rng.normal(0, 0.5),
    )


def _draw_fluid(
    rng: np.random.Generator, scene: Scene, center: tuple[float, float], radii: tuple[float, float]
) -> None:
    """Draw amniotic fluid around a part of the body, and now and then none."""
    if rng.random() < 0.3:
        return
    shift = rng.normal(0, 0.5, 2) * radii
    at = (center[0] + shift[0], center[1] + shift[1])
    size = rng.uniform(0.9, 1.5, 2)
    pool = fill(
        blob(rng, at, (radii[0] * size[0], radii[1] * size[1]), roughness=0.15), scene.shape
    )
    level = level_at(scene, pool)
    paint(
        rng, scene, pool,
        Material(level - rng.uniform(6, 26), texture_db=1.5, grain=20, rim=rng.uniform(0, 4), softness=1.5),
    )  # fmt: skip


def _scaled(outline: FloatMap, center: tuple[float, float], scale: float) -> FloatMap:
    middle = np.array(center, np.float32)
    return np.asarray((outline - middle) * scale + middle, np.float32)


def _draw_shell(
    rng: np.random.Generator,
    scene: Scene,
    outline: FloatMap,
    thickness: float,
    level: float,
    *,
    along: float,
) -> None:
    """Draw a bright closed line that fades where it runs along the beam, and has gaps.

    Args:
        rng: source of randomness.
        scene: the scene.
        outline: [N, 2] of (x, y) pixels.
        thickness: of the line in pixels.
        level: its echogenicity in dB.
        along: how much is lost where the line runs along the beam: 0 nothing, 1 all.
    """
    ink = line_map(scene.shape, outline, thickness, closed=True)
    ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), max(0.6, thickness / 4)), np.float32)
    tangent = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    length = np.hypot(tangent[:, 0], tangent[:, 1]) + 1e-6
    x = np.clip(outline[:, 0], 0, scene.shape[1] - 1).astype(int)
    y = np.clip(outline[:, 1], 0, scene.shape[0] - 1).astype(int)
    parallel = np.abs(tangent[:, 0] * scene.beam[0, y, x] + tangent[:, 1] * scene.beam[1, y, x])
    keep = np.clip(1.25 - along * (parallel / length) ** 2 * 1.3, 0, 1)
    # Extend the strength of each contour point to the pixels near it.
    strength, weight = np.zeros(scene.shape, np.float32), np.full(scene.shape, 1e-3, np.float32)
    np.add.at(strength, (y, x), keep)
    np.add.at(weight, (y, x), 1.0)
    reach = max(3.0, float(length.mean()))
    near = cv2.GaussianBlur(strength, (0, 0), reach) / cv2.GaussianBlur(weight, (0, 0), reach)
    gaps = np.clip(rng.uniform(0.5, 1.3) + 0.7 * smooth_noise(rng, scene.shape, 35, 35), 0, 1)
    opacity = np.asarray(np.clip(ink * 1.3, 0, 1) * np.clip(near, 0, 1) * gaps, np.float32)
    scene.echo_db += opacity * (level - scene.echo_db)
    scene.specular += opacity * ink * rng.uniform(0, 2.5)
    scene.attenuation_db += opacity * rng.uniform(0, 40)


def _draw_brain(
    rng: np.random.Generator,
    scene: Scene,
    center: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    level: float,
) -> None:
    """Draw the midline, echoes beside it and pairs of dark and bright bodies."""

    def at(points: npt.NDArray[np.floating]) -> FloatMap:
        return turned(points[:, 0] * radii[0], points[:, 1] * radii[1], center, angle)

    bright = level + rng.uniform(5, 15)
    lines = np.zeros(scene.shape, np.float32)
    s = np.linspace(-1, 1, 12)
    if rng.random() < 0.8:
        reach = rng.uniform(0.5, 0.9)
        midline = np.stack([reach * s + rng.normal(0, 0.05), rng.normal(0, 0.03) * (1 - s * s)], -1)
        lines += line_map(scene.shape, at(midline), rng.uniform(1, 3))
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)
        short = np.stack([x + rng.uniform(0.05, 0.25) * s, y + rng.normal(0, 0.1) * s * s], -1)
        lines += line_map(scene.shape, at(short), rng.uniform(1, 3))
    broken = np.clip(0.6 + 0.6 * smooth_noise(rng, scene.shape, 18, 18), 0, 1)
    scene.echo_db += np.clip(lines, 0, 1) * broken * (bright - scene.echo_db)
    for _ in range(int(rng.integers(0, 4))):
        where = at(np.array([(rng.uniform(-0.55, 0.55), rng.uniform(-0.5, 0.5))], np.float32))[0]
        size = min(radii) * rng.uniform(0.06, 0.22)
        outline = blob(
            rng, (float(where[0]), float(where[1])), (size * rng.uniform(1, 2.2), size),
            roughness=0.15, angle=angle,
        )  # fmt: skip
        tone = Material(level + rng.uniform(-10, 10), texture_db=2, softness=1.8)
        paint(rng, scene, fill(outline, scene.shape), tone)
