"""Contours of the heart's chambers in an apical view, in coordinates of the left ventricle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ultrasam.phantom.tissue import BoolMap, FloatMap, field_bounds


@dataclass(frozen=True, slots=True)
class HeartAxes:
    """The left ventricle's coordinates: 0 at the apex and 1 at the valve; -1 and 1 at the sides.

    Attributes:
        apex: (x, y) in pixels.
        along: vector from the apex to the valve in pixels.
        across: vector from the axis to the lateral wall in pixels.
        bow: sideways bend of the axis, in half widths.
    """

    apex: FloatMap
    along: FloatMap
    across: FloatMap
    bow: float

    @classmethod
    def draw(cls, rng: np.random.Generator, inside: BoolMap) -> HeartAxes:
        left, top, right, bottom = field_bounds(inside)
        depth = bottom - top
        length = depth * rng.uniform(0.38, 0.66)
        start = min(depth * rng.uniform(0.07, 0.24), depth * 0.86 - length)
        tilt = rng.normal(0, 0.13)
        # A sector is narrow near the probe, and examiners turn it until the apex is in the picture.
        room = float(inside[int(top + start + 0.3 * length)].sum())
        half = min(length * rng.uniform(0.19, 0.37), room * rng.uniform(0.26, 0.5))
        middle = (left + right) / 2
        apex = np.array((middle + rng.normal(0, 0.03) * depth, top + start))
        along = length * np.array((np.sin(tilt), np.cos(tilt)))
        across = half * np.array((np.cos(tilt), -np.sin(tilt)))
        if rng.random() < 0.3:
            across = -across
        return cls(
            apex.astype(np.float32),
            along.astype(np.float32),
            across.astype(np.float32),
            float(rng.normal(0, 0.18)),
        )

    @property
    def half_width(self) -> float:
        return float(np.hypot(*self.across))

    @property
    def length(self) -> float:
        return float(np.hypot(*self.along))

    def pixels(self, points: FloatMap) -> FloatMap:
        """Pixel coordinates [N, 2] of points [N, 2] in the ventricle's coordinates (along, across)."""
        along, across = points[:, :1], points[:, 1:] + self.bow * np.sin(np.pi * points[:, :1])
        return np.asarray(self.apex + along * self.along + across * self.across, np.float32)


def left_heart(
    rng: np.random.Generator, axes: HeartAxes
) -> tuple[dict[str, FloatMap], dict[str, FloatMap]]:
    """Contours (along, across) of the left chambers, and of the walls around them."""
    shoulder, taper = rng.uniform(0.45, 0.75), rng.uniform(0.05, 0.4)
    t = (1 - np.cos(np.linspace(0, np.pi / 2, 40))).astype(np.float32)
    profile = _bullet(t, shoulder, taper)
    septal = -profile + _wave(rng, 40, 0.04)
    lateral = profile + _wave(rng, 40, 0.05)
    slant = rng.normal(0, 0.03)  # the hinges of the valve are not at the same depth
    depth_septal, depth_lateral = t * (1 - slant), t * (1 + slant)
    cavity = _outline(depth_septal, septal, depth_lateral, lateral)

    thick, ratio = rng.uniform(0.22, 0.6), axes.half_width / axes.length
    beyond = thick * ratio * rng.uniform(0.4, 1.0)  # the apex is thinner
    stretch = t * (1 + beyond) - beyond
    wall = _outline(
        stretch * (1 - slant),
        septal * (1 + thick * rng.uniform(0.8, 1.2)),
        stretch * (1 + slant),
        lateral * (1 + thick * rng.uniform(0.8, 1.2)),
    )
    reach = rng.uniform(0.3, 0.62)
    u = np.sin(np.linspace(0, np.pi / 2, 24)).astype(np.float32)
    ring, wide = 1 - taper, (1 - taper) * rng.uniform(1.05, 1.5)
    half = (ring + (wide - ring) * np.sin(np.pi * np.sqrt(u))) * np.sqrt(1 - u**3)
    drift = rng.normal(0, 0.2) * u
    atrium = _outline(
        1 - slant * (1 - u) + reach * u, -half + drift,
        1 + slant * (1 - u) + reach * u, half + drift,
    )  # fmt: skip
    thin = rng.uniform(0.08, 0.22)
    around = atrium.copy()
    middle = atrium.mean(axis=0)
    around[:, 1] += np.sign(atrium[:, 1] - middle[1]) * thin
    around[:, 0] += np.where(atrium[:, 0] > middle[0], thin * ratio, 0)
    return (
        {"left ventricle": cavity, "left atrium": atrium},
        {"left ventricle with wall": wall, "left atrium": around},
    )


def right_heart(
    rng: np.random.Generator, axes: HeartAxes, wall: FloatMap
) -> tuple[dict[str, FloatMap], dict[str, FloatMap]]:
    """Contours of the right chambers on the septal side of the left ventricle's wall."""
    septum = wall[: len(wall) // 2]
    septum = septum[np.argsort(septum[:, 0])]
    start, base = rng.uniform(0.1, 0.42), rng.uniform(0.86, 0.97)
    u = np.linspace(0, 1, 30).astype(np.float32)
    t = start + (base - start) * u
    near = np.interp(t, septum[:, 0], septum[:, 1]) - 0.02
    width = rng.uniform(0.9, 1.9)
    far = near - width * np.sin(u * rng.uniform(1.35, 2.0)) ** 0.85 + _wave(rng, 30, 0.04)
    ventricle = _outline(t, far, t, near)
    thick = rng.uniform(0.1, 0.26)
    outer = _outline(t - thick * 0.15, far - thick, t, near)

    gap = rng.uniform(0.08, 0.2)
    reach = rng.uniform(0.32, 0.6)
    inner_edge = near[-1] + rng.uniform(0, 0.12)
    breadth = abs(far[-1] - near[-1]) * rng.uniform(1.0, 1.3)
    u = np.sin(u * np.pi / 2)
    cap = np.sqrt(1 - u**3)
    bulge = 0.12 * np.sin(np.pi * u)
    middle = inner_edge - breadth / 2
    atrium = _outline(
        base + reach * u, middle - (breadth / 2 + bulge) * cap,
        base + reach * u, middle + (breadth / 2 - gap * 0.3) * cap,
    )  # fmt: skip
    around = atrium.copy()
    around[:, 1] = middle + (atrium[:, 1] - middle) * (1 + 2 * gap / breadth)
    around[:, 0] = np.where(around[:, 0] > base, around[:, 0] + gap * 0.2, around[:, 0])
    return (
        {"right ventricle": ventricle, "right atrium": atrium},
        {"right ventricle": outer, "right atrium": around},
    )


def _bullet(t: FloatMap, shoulder: float, taper: float) -> FloatMap:
    """Half width of a bullet along its axis ``t`` in 0-1: 1 at the shoulder, 1 - taper at the base."""
    tip = np.clip((shoulder - t) / shoulder, 0, 1)
    base = np.clip((t - shoulder) / (1 - shoulder), 0, 1)
    return np.asarray((1 - tip**2.3) ** (1 / 2.1) * (1 - taper * base**1.6), np.float32)


def _wave(rng: np.random.Generator, count: int, amplitude: float) -> FloatMap:
    knots = np.concatenate([[0], rng.normal(0, amplitude, 5), [0]])
    return np.asarray(np.interp(np.linspace(0, 6, count), np.arange(7), knots), np.float32)


def _outline(t_first: FloatMap, first: FloatMap, t_second: FloatMap, second: FloatMap) -> FloatMap:
    """A closed contour [N, 2]: down the first side, across the base, and back up the second side."""
    down, up = np.stack([t_first, first], -1), np.stack([t_second, second], -1)[::-1]
    return np.concatenate([down, up]).astype(np.float32)
