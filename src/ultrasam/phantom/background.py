"""Background tissue of phantoms: layers, strands, even parenchyma, bone and poor contact."""

from __future__ import annotations

import numpy as np

from ultrasam.phantom.textures import random_pattern
from ultrasam.phantom.tissue import BoolMap, Material, Scene, depth_map, paint, smooth_noise


def draw_layers(rng: np.random.Generator, scene: Scene, is_sector: bool) -> None:
    """Draw skin and layers of fat, muscle and fascia; fewer in the deep view of a curved or phased probe."""
    height, width = scene.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    base = rng.normal(0, 2)
    scene.echo_db += base + smooth_noise(rng, scene.shape, 60, 40) * rng.uniform(0.5, 2.5)
    scene.echo_db += smooth_noise(rng, scene.shape, 14, 10) * rng.uniform(0.3, 1.8)
    count = int(rng.integers(0, 3)) if is_sector else int(rng.integers(2, 7))
    tops = np.sort(rng.uniform(0.03, 0.95, count)) * height
    bend, tilt = rng.normal(0, 0.04) * height, rng.normal(0, 0.05) * height
    for top in tops:
        edge = top + bend * x * x + tilt * x + smooth_noise(rng, (1, width), width / 4, 1) * 4
        below = np.clip(y - edge + 0.5, 0, 1)
        fibrous = rng.random() < 0.5
        texture = smooth_noise(
            rng, scene.shape, rng.uniform(25, 70) if fibrous else 12, rng.uniform(2, 6)
        )
        level = base + rng.normal(0, 4.5) + texture * (rng.uniform(1.5, 4) if fibrous else 1)
        scene.echo_db += below * (level - scene.echo_db)
        line = np.exp(-((y - edge) ** 2) / (2 * rng.uniform(0.6, 2.0) ** 2))
        broken = np.clip(0.7 + 0.6 * smooth_noise(rng, (1, width), 30, 1), 0, 1.5)
        scene.specular += line * broken * rng.uniform(0, 1.8)
    if rng.random() < 0.85:
        _draw_strands(rng, scene)
    if rng.random() < 0.6:  # skin and gel
        thick = rng.uniform(2, 10)
        scene.echo_db += 9 * np.exp(-y / thick) * rng.uniform(0.3, 1.2)


def _draw_strands(rng: np.random.Generator, scene: Scene) -> None:
    """Draw connective tissue: bright curved strands, and lobules of different echogenicity between them.

    The zero contours of smooth noise are long curves that never cross. Stretched sideways, they resemble
    the septa of fat and the fascicles of muscle.
    """
    for _ in range(int(rng.integers(1, 5))):
        long = rng.uniform(40, 150)
        short = long * np.exp(rng.uniform(np.log(0.07), np.log(0.35)))
        noise = smooth_noise(rng, scene.shape, long, short)
        width = rng.uniform(0.03, 0.12)
        # Strands that face the probe reflect; without this, every turn of a contour would show as a hook.
        slope_y, slope_x = np.gradient(noise)
        along = slope_x * scene.beam[0] + slope_y * scene.beam[1]
        facing = along**2 / (slope_x**2 + slope_y**2 + 1e-9)
        strand = np.exp(-((noise / width) ** 2)) * facing**2
        density = np.clip(smooth_noise(rng, scene.shape, 70, 50) + rng.uniform(-0.3, 0.9), 0, 1.3)
        scene.echo_db += strand * density * rng.uniform(4, 17)
        scene.specular += strand * density**2 * rng.uniform(0, 3.5)
        scene.echo_db += np.tanh(noise * 2) * rng.uniform(0, 5)


def draw_bone(rng: np.random.Generator, scene: Scene) -> BoolMap:
    """Draw a bright arc with a deep shadow; returns the mask [H, W] of what the shadow hides."""
    height, width = scene.shape
    x = np.arange(width, dtype=np.float32)
    center, reach = rng.uniform(0, 1) * width, rng.uniform(0.08, 0.35) * width
    bump = np.clip(1 - ((x - center) / reach) ** 2, 0, None)
    surface = rng.uniform(0.35, 0.9) * height - rng.uniform(0, 0.12) * height * np.sqrt(bump)
    y = np.arange(height, dtype=np.float32)[:, None]
    thickness = rng.uniform(1.0, 2.2)
    arc = np.exp(-((y - surface) ** 2) / (2 * thickness**2)) * (bump > 0)
    hidden = np.asarray((y > surface) & (bump > 0), bool)
    behind = hidden.astype(np.float32)
    scene.specular *= 1 - behind
    scene.specular += arc.astype(np.float32) * rng.uniform(3, 8)
    scene.attenuation_db += behind * rng.uniform(100, 300)
    return hidden


def draw_poor_contact(rng: np.random.Generator, scene: Scene) -> None:
    """Draw the shadow at one side of the image where the probe does not touch the skin."""
    height, width = scene.shape
    x = np.arange(width, dtype=np.float32)[None, :]
    center, reach = rng.choice((0.0, 1.0)) * width, rng.uniform(0.05, 0.2) * width
    drop = rng.uniform(8, 25) * np.exp(-(((x - center) / reach) ** 2))
    scene.echo_db -= np.repeat(drop, height, axis=0).astype(np.float32)


def draw_around(rng: np.random.Generator, scene: Scene, *, share: float) -> None:
    """Draw the tissue of an organ around a structure, in a share of the pictures."""
    if rng.random() < share:
        draw_parenchyma(rng, scene, near=rng.uniform(0.03, 0.2), far=rng.uniform(0.8, 1.5))


def draw_parenchyma(rng: np.random.Generator, scene: Scene, *, near: float, far: float) -> BoolMap:
    """Fill the field of view between two depths, fractions of its depth, with an organ's tissue.

    Returns:
        The mask [H, W] of the tissue; what lies before it is the abdominal wall, and behind it the diaphragm.
    """
    depth = depth_map(scene)
    bend = smooth_noise(rng, scene.shape, scene.shape[1] / 2, scene.shape[0]) * 0.03
    x = np.linspace(-1, 1, scene.shape[1], dtype=np.float32)[None, :]
    slope = rng.normal(0, 0.12) * x - abs(rng.normal(0, 0.15)) * x * x
    organ = (depth + bend > near) & (depth + bend * 2 < far + slope) & scene.inside
    level = rng.normal(0, 3)
    scene.specular[:] *= depth < near
    beyond = level + rng.uniform(-14, 8)
    scene.echo_db += (depth > near) * (beyond - scene.echo_db)
    material = Material(
        level,
        texture_db=rng.uniform(0.5, 2.5),
        grain=rng.uniform(2, 9),
        attenuation_db=rng.uniform(-3, 8),
        softness=rng.uniform(0.8, 2.5),
        rim=rng.uniform(0, 4),
        pattern=random_pattern(rng, scene.shape, fibers=False) if rng.random() < 0.4 else None,
    )
    paint(rng, scene, organ, material)
    scene.echo_db += organ * smooth_noise(rng, scene.shape, 60, 60) * rng.uniform(0.2, 1.5)
    edge = np.exp(-(((depth + bend * 2 - far - slope) / rng.uniform(0.006, 0.02)) ** 2))
    broken = np.clip(0.7 + 0.6 * smooth_noise(rng, scene.shape, 50, 50), 0, 1)
    bright = np.asarray(edge * broken, np.float32)
    scene.echo_db += bright * (level + rng.uniform(2, 16) - scene.echo_db)
    return np.asarray(organ, bool)
