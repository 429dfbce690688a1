"""Needles on their way to a target."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.phantom.muscles import draw_muscles
from ultrasam.phantom.nerves import draw_nerves
from ultrasam.phantom.tissue import FloatMap, Scene, fill, smooth_noise
from ultrasam.phantom.vessels import draw_vessels


def draw_needle(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a needle in muscle, or among nerves or vessels; the mask is the shaft that is seen."""
    target = rng.choice(3, p=(0.3, 0.4, 0.3))
    (draw_muscles, draw_nerves, draw_vessels)[target](rng, scene)
    _draw_shaft(rng, scene)


def _draw_shaft(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a bright oblique line from one side, its reverberations below it, and a faint shadow."""
    height, width = scene.shape
    side = int(rng.choice((-1, 1)))
    angle = rng.uniform(0.1, 1.0)
    tip = np.array([rng.uniform(0.3, 0.7) * width, rng.uniform(0.25, 0.8) * height])
    direction = np.array([side * np.cos(angle), -np.sin(angle)])  # from the tip to the hub
    to_side = ((width if side > 0 else 0) - tip[0]) / direction[0]
    to_top = tip[1] / np.sin(angle)
    length = min(to_side, to_top) * (1.0 if rng.random() < 0.5 else rng.uniform(0.5, 0.95))
    hub = tip + length * direction
    thickness = int(rng.integers(1, 5))
    shine = np.zeros(scene.shape, np.float32)
    step = np.array([-direction[1], direction[0]]) * side  # towards greater depth
    spacing = thickness * rng.uniform(1.6, 3.0) + 1.5
    decay = rng.uniform(0.35, 0.75)
    for order in range(int(rng.integers(1, 7))):
        shift = order * spacing * np.sign(step[1]) * step
        copy = np.zeros(scene.shape, np.float32)
        _line(copy, tip + shift, hub + shift, thickness)
        shine = np.maximum(shine, copy * decay**order)
    along = np.clip(0.8 + 0.35 * smooth_noise(rng, scene.shape, 30, 30), 0.3, 1.4)
    shine = np.asarray(cv2.GaussianBlur(shine, (0, 0), 0.6) * along, np.float32)
    scene.echo_db += np.clip(shine, 0, 1) * rng.uniform(11, 22)
    scene.specular += shine * rng.uniform(2, 9)
    below = np.array([0, 0.5 * height])
    corners = np.stack([tip, hub, hub + below, tip + below]).astype(np.float32)
    shadow = cv2.GaussianBlur(fill(corners, scene.shape).astype(np.float32), (0, 0), 4)
    scene.attenuation_db += shadow * rng.uniform(0, 14)
    shaft = np.zeros(scene.shape, np.float32)
    _line(shaft, tip, hub, max(3, thickness + 1))
    scene.instances.append(("needle", shaft > 0.5))


def _line(
    canvas: FloatMap, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], thickness: int
) -> None:
    """Draw a straight line between (x, y) points with a precision of 1/16 pixel."""
    first, last = (tuple(int(v) for v in np.round(p * 16)) for p in (start, end))
    cv2.line(canvas, first, last, 1.0, thickness, cv2.LINE_AA, 4)
