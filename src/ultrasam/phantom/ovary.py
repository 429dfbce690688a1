"""Draw ovaries with follicles, and ovarian masses: cysts with septa, solid parts and bright plugs."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.background import draw_around, draw_parenchyma
from ultrasam.phantom.lesions import (
    draw_calcifications,
    draw_lesion,
    level_at,
    line_map,
    relative_level,
)
from ultrasam.phantom.textures import random_pattern
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


def draw_ovary(rng: np.random.Generator, scene: Scene) -> None:
    """Draw an ovary, of any echogenicity, with two to a dozen follicles."""
    draw_around(rng, scene, share=0.4)
    center, radii = place(rng, scene, low=0.12, high=0.34, aspect=2.0)
    outline = blob(rng, center, radii, roughness=0.07, angle=rng.normal(0, 0.6))
    mask = fill(outline, scene.shape)
    around = level_at(scene, mask)
    level = around + relative_level(rng)
    paint(
        rng, scene, mask,
        Material(
            level, texture_db=rng.uniform(1, 3.5), grain=rng.uniform(3, 8), softness=rng.uniform(0.8, 2.5),
            rim=rng.uniform(0, 2.5), rim_db=level + rng.uniform(2, 8),
            rim_width=rng.uniform(0.6, 1.5) if rng.random() < 0.4 else 0.0,
        ),
    )  # fmt: skip
    scene.instances.append(("ovary", mask))
    points = np.argwhere(mask)
    taken = np.zeros(scene.shape, bool)
    fluid = level - rng.uniform(8, 24)
    for _ in range(int(rng.integers(2, 13))):
        y, x = points[int(rng.integers(len(points)))]
        size = min(radii) * rng.uniform(0.08, 0.42)
        shape = (size * rng.uniform(0.9, 1.3), size)
        follicle = fill(blob(rng, (float(x), float(y)), shape, roughness=0.08), scene.shape)
        follicle &= mask & ~taken
        if follicle.sum() < 0.6 * np.pi * size**2:
            continue
        paint(
            rng,
            scene,
            follicle,
            Material(fluid, texture_db=1, attenuation_db=-5, rim=rng.uniform(0, 3)),
        )
        taken |= cv2.dilate(follicle.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        if rng.random() < 0.3:
            scene.instances.append(("cyst", follicle))


def draw_ovarian_mass(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a mass of 5 to 50 % of the picture: solid, fluid, or fluid with septa and solid parts."""
    if rng.random() < 0.4:
        draw_parenchyma(rng, scene, near=rng.uniform(0.03, 0.15), far=rng.uniform(0.8, 1.5))
    center, radii = place(rng, scene, low=0.15, high=0.46, aspect=1.8)
    outline = blob(
        rng, center, radii, roughness=abs(rng.normal(0.03, 0.07)), angle=rng.normal(0, 0.5)
    )
    mask = fill(outline, scene.shape) & scene.inside
    if rng.random() < 0.25:
        draw_lesion(rng, scene, mask, name="mass")
        return
    around = level_at(scene, mask)
    shade = around - rng.uniform(8, 28) if rng.random() < 0.65 else around + relative_level(rng)
    wall = Material(
        shade, texture_db=rng.uniform(0.5, 2.5), grain=rng.uniform(6, 20),
        attenuation_db=-rng.uniform(0, 14), rim=rng.uniform(0.5, 5), softness=rng.uniform(0.7, 2),
        rim_db=around + rng.uniform(-2, 9),
        rim_width=rng.uniform(0.8, 3) if rng.random() < 0.7 else 0.0,
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.2 else None,
    )  # fmt: skip
    paint(rng, scene, mask, wall)
    scene.instances.append(("mass", mask))
    kind = rng.choice(("plain", "septa", "solid", "plug", "layered"), p=(0.2, 0.35, 0.2, 0.15, 0.1))
    if kind == "septa":
        _draw_septa(rng, scene, mask, outline, center, shade, around)
    if kind == "solid" or rng.random() < 0.2:
        _draw_solid_parts(rng, scene, mask, outline, min(radii), around)
    if kind == "plug":
        _draw_plug(rng, scene, mask, radii, around)
    if kind == "layered":
        rows = np.nonzero(mask)[0]
        level = float(np.quantile(rows, rng.uniform(0.25, 0.75)))
        slope = rng.normal(0, 0.06) * (np.arange(scene.shape[1])[None, :] - center[0])
        low = mask & (np.arange(scene.shape[0])[:, None] > level + slope)
        paint(rng, scene, low, Material(shade + rng.uniform(4, 16), texture_db=2, rim=1.0))


def _draw_septa(
    rng: np.random.Generator,
    scene: Scene,
    mask: BoolMap,
    outline: FloatMap,
    center: tuple[float, float],
    shade: float,
    around: float,
) -> None:
    """Draw locules of different echogenicity with thin walls between them."""
    count = int(rng.integers(2, 9))
    spread = np.ptp(outline, axis=0) / 2
    seeds = np.array(center) + rng.uniform(-0.9, 0.9, (count, 2)) * spread
    y, x = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]].astype(np.float32)
    x = x + smooth_noise(rng, scene.shape, 40, 40) * 6
    weight = rng.uniform(0, 0.35, count) * float(spread.min())
    distance = np.stack(
        [np.hypot(x - sx, y - sy) - w for (sx, sy), w in zip(seeds, weight, strict=True)]
    )
    nearest = distance.argmin(axis=0)
    levels = (shade + rng.normal(0, rng.uniform(0, 4), count)).astype(np.float32)
    two = np.partition(distance, 1, axis=0)[:2]
    edge = np.exp(-(((two[1] - two[0]) / (2 * rng.uniform(0.8, 2.6))) ** 2)).astype(np.float32)
    scene.echo_db += mask * (levels[nearest] - shade)
    seen = np.clip(0.9 + 0.4 * smooth_noise(rng, scene.shape, 30, 30), 0, 1)
    scene.echo_db += mask * edge * seen * (around + rng.uniform(-4, 7) - scene.echo_db)
    scene.specular += mask * edge * rng.uniform(0, 1.0)


def _draw_solid_parts(
    rng: np.random.Generator,
    scene: Scene,
    mask: BoolMap,
    outline: FloatMap,
    radius: float,
    around: float,
) -> None:
    """Draw one to four projections from the wall."""
    for index in rng.integers(len(outline), size=int(rng.integers(1, 5))):
        x, y = outline[index]
        size = radius * np.exp(rng.uniform(np.log(0.12), np.log(0.7)))
        shape = (size * rng.uniform(0.8, 1.4), size)
        part = fill(blob(rng, (float(x), float(y)), shape, roughness=0.18), scene.shape) & mask
        tone = Material(around + rng.uniform(-7, 6), texture_db=3, softness=1.2, rim=1.0)
        paint(rng, scene, part, tone)
        if part.sum() > 150 and rng.random() < 0.6:
            scene.instances.append(("solid part", part))


def _draw_plug(
    rng: np.random.Generator,
    scene: Scene,
    mask: BoolMap,
    radii: tuple[float, float],
    around: float,
) -> None:
    """Draw a bright ball with a shadow, and short bright lines in the fluid."""
    points = np.argwhere(mask)
    y, x = points[int(rng.integers(len(points)))]
    size = min(radii) * rng.uniform(0.25, 0.7)
    ball = fill(blob(rng, (float(x), float(y)), (size * 1.2, size), roughness=0.15), scene.shape)
    tone = Material(
        around + rng.uniform(2, 12), texture_db=2.5, softness=2.0, attenuation_db=rng.uniform(0, 60)
    )
    paint(rng, scene, ball & mask, tone)
    for _ in range(int(rng.integers(0, 25))):
        y, x = points[int(rng.integers(len(points)))]
        reach = rng.uniform(2, 9)
        ends = np.array([(x - reach, y), (x + reach, y + rng.normal(0, 2))], np.float32)
        line = line_map(scene.shape, ends, 1)
        scene.echo_db += line * mask * np.clip(around + 6 - scene.echo_db, 0, None)
    if rng.random() < 0.3:
        draw_calcifications(rng, scene, ball & mask)
