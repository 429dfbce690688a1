"""Geometry of the beams of linear, trapezoid, curved and phased arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ultrasam.phantom.tissue import BoolMap, FloatMap

Probe = Literal["linear", "curved", "phased"]


@dataclass(frozen=True, slots=True)
class BeamGeometry:
    """The mapping between pixels and beams.

    Attributes:
        inside: [H, W] bool, pixels in the field of view.
        beam: [2, H, W] float32, unit vector (x, y) of the beam through each pixel.
        to_beams: (beam, sample) coordinates of each pixel, two arrays [H, W] for ``cv2.remap``.
        to_pixels: (x, y) pixel coordinates of each sample of each beam, two arrays [samples, lines].
    """

    inside: BoolMap
    beam: FloatMap
    to_beams: tuple[FloatMap, FloatMap]
    to_pixels: tuple[FloatMap, FloatMap]

    @classmethod
    def draw(cls, rng: np.random.Generator, probe: Probe, height: int, width: int) -> BeamGeometry:
        """Draw the geometry of a probe for an image of the given size; one linear array in ten is steered."""
        samples, lines = height + 32, int(rng.integers(160, 288))
        if probe == "linear" and rng.random() < 0.9:
            return cls._parallel(rng, height, width, samples, lines)
        return cls._diverging(rng, probe, height, width, samples, lines)

    @classmethod
    def _parallel(
        cls, rng: np.random.Generator, height: int, width: int, samples: int, lines: int
    ) -> BeamGeometry:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        margin_x = rng.uniform(0, 0.12) * width if rng.random() < 0.3 else 0.0
        margin_y = rng.uniform(0, 0.1) * height if rng.random() < 0.25 else 0.0
        across = (x - margin_x) / (width - 2 * margin_x)
        along = (y - margin_y) / (height - 2 * margin_y)
        beam = np.stack([np.zeros_like(x), np.ones_like(x)])
        line, sample = np.meshgrid(np.arange(lines), np.arange(samples))
        px = margin_x + line / (lines - 1) * (width - 2 * margin_x)
        py = margin_y + sample / (samples - 1) * (height - 2 * margin_y)
        return cls._of(across, along, beam, px, py)

    @classmethod
    def _diverging(
        cls,
        rng: np.random.Generator,
        probe: Probe,
        height: int,
        width: int,
        samples: int,
        lines: int,
    ) -> BeamGeometry:
        """A sector whose arc reaches the bottom of the image, and whose corners reach its sides."""
        flat = probe == "linear"  # beams steered outwards from a flat array: a trapezoid
        if flat:
            half, inner = rng.uniform(0.15, 0.4), rng.uniform(1.0, 1.8)
        elif probe == "phased":
            half, inner = rng.uniform(0.6, 0.8), 0.01
        elif rng.random() < 0.25:  # an endocavity probe
            half, inner = rng.uniform(0.85, 1.2), rng.uniform(0.1, 0.3)
        else:
            half, inner = rng.uniform(0.45, 0.75), rng.uniform(0.25, 0.8)
        # The inner radius is in units of the depth.
        top = rng.uniform(0.0, 0.06) * height
        depth = min(
            (height - top) * rng.uniform(0.92, 1.0) / (1 + inner * (1 - np.cos(half))),
            width * rng.uniform(0.48, 0.6) / ((1 + inner) * np.sin(half)),
        )
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        apex_x = width / 2 + rng.normal(0, 0.02) * width
        apex_y = top - depth * inner * (1.0 if flat else np.cos(half))
        dx, dy = x - apex_x, y - apex_y
        radius = np.sqrt(dx * dx + dy * dy) + 1e-6
        turn = np.arctan2(dx, dy)
        across = turn / (2 * half) + 0.5
        surface = depth * inner / np.clip(np.cos(turn), 0.3, 1) if flat else depth * inner
        along = (radius - surface) / depth
        beam = np.stack([dx / radius, dy / radius])
        angle = np.linspace(-half, half, lines)[None, :]
        start = depth * inner / np.cos(angle) if flat else depth * inner
        reach = start + np.linspace(0, depth, samples)[:, None]
        px, py = apex_x + reach * np.sin(angle), apex_y + reach * np.cos(angle)
        return cls._of(across, along, beam, px, py)

    @classmethod
    def _of(
        cls,
        across: npt.NDArray[np.floating],
        along: npt.NDArray[np.floating],
        beam: npt.NDArray[np.floating],
        px: npt.NDArray[np.floating],
        py: npt.NDArray[np.floating],
    ) -> BeamGeometry:
        """From the position of each pixel among the beams and along its beam, 0 to 1."""
        inside = (across >= 0) & (across <= 1) & (along >= 0) & (along <= 1)
        samples, lines = px.shape
        return cls(
            inside,
            beam.astype(np.float32),
            ((across * (lines - 1)).astype(np.float32), (along * (samples - 1)).astype(np.float32)),
            (px.astype(np.float32), py.astype(np.float32)),
        )
