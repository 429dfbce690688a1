"""Simulate B-mode ultrasound images with exact masks, fast enough for training.

The steps follow the signal path of a scanner:

1. *Tissue* (`scene`): scattering strength, attenuation and instance masks on a Cartesian grid.
2. *Beams*: the maps are sampled along the beams of a linear, curved or phased array. Two-way attenuation
   accumulates along each beam, so that calcified and dense structures cast shadows, and fluid causes
   enhancement behind it.
3. *Speckle*: complex Gaussian scatterers, weighted by the square root of the scattering strength and
   convolved with a separable point-spread function in beam coordinates, whose lateral width grows away
   from the focus. The magnitude is fully developed speckle with Rayleigh statistics (Burckhardt 1978;
   Wagner et al. 1983). Compounding averages the magnitudes of independent looks.
4. *Specular echoes*: interfaces add a coherent echo that grows with the cosine of the angle between
   their normal and the beam.
5. *Display* (`display`): time-gain compensation, log compression, scan conversion, gray map, and burned-in
   annotations.

Phantoms teach edges, speckle and prompts, not anatomy. Structures are named for their appearance; the names
imply no clinical finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.phantom import display
from ultrasam.phantom.scene import draw_scene
from ultrasam.phantom.tissue import Scene

Probe = Literal["linear", "curved", "phased"]
FloatMap = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A simulated image with its ground truth.

    Attributes:
        pixels: [H, W] uint8.
        masks: [N, H, W] bool; structures may be nested or touch.
        names: names of the N structures.
        spacing: pixel size in mm, the same in both directions.
        probe: geometry of the transducer array.
    """

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    spacing: float
    probe: Probe


def simulate(
    seed: int, *, size: tuple[int, int] | None = None, probe: Probe | None = None
) -> Phantom:
    """Simulate an image; the same arguments give the same image.

    Args:
        seed: a non-negative integer.
        size: (height, width) in pixels; None draws 256 to 399 and 272 to 419.
        probe: geometry of the transducer array; None draws one.

    Example:
        >>> phantom = simulate(7)
        >>> phantom.masks.shape[1:] == phantom.pixels.shape
        True
    """
    rng = np.random.default_rng(seed)
    height, width = size or (int(rng.integers(256, 400)), int(rng.integers(272, 420)))
    probe = probe or _draw_probe(rng)
    geometry = _BeamGeometry.draw(rng, probe, height, width)
    depth_mm = float(rng.uniform(30, 60) if probe == "linear" else rng.uniform(60, 180))
    scene = draw_scene(rng, geometry.inside, geometry.beam, is_sector=probe != "linear")

    envelope = _acquire(rng, scene, geometry)
    settings = display.DisplaySettings.draw(rng)
    beams = display.compress(rng, envelope, settings)
    gray = np.asarray(cv2.remap(beams, *geometry.to_beams, cv2.INTER_LINEAR), dtype=np.float32)
    pixels = display.postprocess(rng, gray, settings)
    pixels[~geometry.inside] = 0
    visible = [(name, mask & geometry.inside) for name, mask in scene.instances]
    instances = [(name, mask) for name, mask in visible if mask.sum() >= MIN_OBJECT_PIXELS]
    names, masks = tuple(name for name, _ in instances), [mask for _, mask in instances]
    pixels = display.burn_in(rng, pixels, geometry.inside, masks)
    stack = np.stack(masks) if masks else np.zeros((0, height, width), bool)
    return Phantom(pixels, stack, names, depth_mm / height, probe)


def _draw_probe(rng: np.random.Generator) -> Probe:
    kinds: tuple[Probe, ...] = ("linear", "curved", "phased")
    return kinds[int(rng.choice(3, p=(0.5, 0.32, 0.18)))]


@dataclass(frozen=True, slots=True)
class _BeamGeometry:
    """The mapping between pixels and beams.

    Attributes:
        inside: [H, W] bool, pixels in the field of view.
        beam: [2, H, W] float32, unit vector (x, y) of the beam through each pixel.
        to_beams: (beam, sample) coordinates of each pixel, two arrays [H, W] for ``cv2.remap``.
        to_pixels: (x, y) pixel coordinates of each sample of each beam, two arrays [samples, lines].
    """

    inside: npt.NDArray[np.bool_]
    beam: FloatMap
    to_beams: tuple[FloatMap, FloatMap]
    to_pixels: tuple[FloatMap, FloatMap]

    @classmethod
    def draw(cls, rng: np.random.Generator, probe: Probe, height: int, width: int) -> _BeamGeometry:
        """Draw the geometry of a probe for an image of the given size."""
        samples, lines = height + 32, int(rng.integers(160, 288))
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        if probe == "linear":
            margin_x = rng.uniform(0, 0.12) * width if rng.random() < 0.5 else 0.0
            margin_y = rng.uniform(0, 0.1) * height if rng.random() < 0.4 else 0.0
            across = (x - margin_x) / (width - 2 * margin_x)
            along = (y - margin_y) / (height - 2 * margin_y)
            beam = np.stack([np.zeros_like(x), np.ones_like(x)])
            line, sample = np.meshgrid(np.arange(lines), np.arange(samples))
            px = margin_x + line / (lines - 1) * (width - 2 * margin_x)
            py = margin_y + sample / (samples - 1) * (height - 2 * margin_y)
        else:
            half = rng.uniform(0.45, 0.75) if probe == "curved" else rng.uniform(0.6, 0.8)
            inner = rng.uniform(0.25, 0.8) if probe == "curved" else 0.01
            # Fit the sector to the image: its arc to the bottom, its corners to the sides. The inner radius
            # is in units of the depth.
            top = rng.uniform(0.0, 0.06) * height
            depth = min(
                (height - top) * rng.uniform(0.92, 1.0) / (1 + inner * (1 - np.cos(half))),
                width * rng.uniform(0.48, 0.6) / ((1 + inner) * np.sin(half)),
            )
            apex_x = width / 2 + rng.normal(0, 0.02) * width
            apex_y = top - depth * inner * np.cos(half)
            dx, dy = x - apex_x, y - apex_y
            radius = np.sqrt(dx * dx + dy * dy) + 1e-6
            across = np.arctan2(dx, dy) / (2 * half) + 0.5
            along = (radius - depth * inner) / depth
            beam = np.stack([dx / radius, dy / radius])
            angle = np.linspace(-half, half, lines)[None, :]
            reach = depth * inner + np.linspace(0, depth, samples)[:, None]
            px, py = apex_x + reach * np.sin(angle), apex_y + reach * np.cos(angle)
        inside = (across >= 0) & (across <= 1) & (along >= 0) & (along <= 1)
        return cls(
            inside,
            beam.astype(np.float32),
            ((across * (lines - 1)).astype(np.float32), (along * (samples - 1)).astype(np.float32)),
            (px.astype(np.float32), py.astype(np.float32)),
        )


def _acquire(rng: np.random.Generator, scene: Scene, geometry: _BeamGeometry) -> FloatMap:
    """The envelope [samples, lines] before time-gain compensation errors and log compression."""
    sample = {
        name: cv2.remap(
            values, *geometry.to_pixels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for name, values in (
            ("echo", scene.echo_db),
            ("attenuation", scene.attenuation_db),
            ("specular", scene.specular),
        )
    }
    shape = sample["echo"].shape
    depth = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]

    # Attenuation is in dB per image height, in excess of background tissue, whose loss is compensated.
    loss = np.cumsum(sample["attenuation"], axis=0) / shape[0]
    loss = cv2.GaussianBlur(loss, (0, 0), sigmaX=1.2)
    amplitude = 10 ** ((sample["echo"] / 2 - loss) / 10)

    focus = rng.uniform(0.2, 0.8)
    narrow = rng.uniform(0.7, 1.5)
    wide = narrow * rng.uniform(1.6, 3.2)
    axial = rng.uniform(0.6, 1.2)
    looks = int(rng.choice((1, 1, 2, 3, 5)))
    blur = np.clip(np.abs(depth - focus) / 0.6, 0, 1)
    envelope = np.zeros(shape, np.float32)
    for _ in range(looks):
        scatter = rng.standard_normal((*shape, 2), dtype=np.float32) * amplitude[..., None]
        sharp = _unit_energy_blur(scatter, narrow, axial)
        soft = _unit_energy_blur(scatter, wide, axial * 1.15)
        echo = sharp * (1 - blur[..., None]) + soft * blur[..., None]
        envelope += np.sqrt((echo * echo).sum(axis=-1))
    envelope /= looks

    specular = sample["specular"] * 10 ** (-loss / 10)
    envelope += cv2.GaussianBlur(specular, (0, 0), sigmaX=narrow, sigmaY=0.7 * axial)
    # Electronic noise does not decay with depth, so it is visible where the compensated echo is weak.
    noise = 10 ** (-rng.uniform(38, 60) / 20) * 10 ** (depth * rng.uniform(0, 12) / 20)
    grain = rng.standard_normal((*shape, 2), dtype=np.float32)
    envelope += noise * np.sqrt((grain * grain).sum(axis=-1))
    return np.asarray(envelope, dtype=np.float32)


def _unit_energy_blur(scatter: FloatMap, lateral: float, axial: float) -> FloatMap:
    """Convolve scatterers with a Gaussian point-spread function of unit energy."""
    blurred = cv2.GaussianBlur(scatter, (0, 0), sigmaX=lateral, sigmaY=axial)
    return np.asarray(blurred * np.sqrt(4 * np.pi * lateral * axial), dtype=np.float32)
