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
   their normal and the beam. Side lobes and reverberation add a haze.
5. *Display* (`display`): time-gain compensation, log compression, scan conversion, speckle reduction and
   gray map.
6. *Screen* (`screen`): the picture is cropped, stretched, or shown between text, scales and icons.

Phantoms teach edges, speckle and prompts, not anatomy. Structures are named for their appearance; the names
imply no clinical finding.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.phantom import display
from ultrasam.phantom.beams import BeamGeometry, Probe
from ultrasam.phantom.scene import draw_scene
from ultrasam.phantom.screen import Layout
from ultrasam.phantom.tissue import FloatMap, Scene, smooth_noise


@dataclass(frozen=True, slots=True)
class Phantom:
    """A simulated image with its ground truth.

    Attributes:
        pixels: [H, W] uint8.
        masks: [N, H, W] bool; structures may be nested or touch.
        names: names of the N structures.
        spacing: (row, column) distance between pixel centers in mm; they differ in a stretched image.
        probe: geometry of the transducer array.
    """

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    spacing: tuple[float, float]
    probe: Probe


def simulate(
    seed: int, *, size: tuple[int, int] | None = None, probe: Probe | None = None
) -> Phantom:
    """Simulate an image; the same arguments give the same image.

    Args:
        seed: a non-negative integer.
        size: (height, width) in pixels; None draws 240 to 399 and 272 to 459.
        probe: geometry of the transducer array; None draws one.

    Example:
        >>> phantom = simulate(7)
        >>> phantom.masks.shape[1:] == phantom.pixels.shape
        True
    """
    rng = np.random.default_rng(seed)
    probe = probe or _draw_probe(rng)
    size = size or _draw_size(rng, probe)
    layout = Layout.draw(rng, size)
    height, width = layout.canvas
    geometry = BeamGeometry.draw(rng, probe, height, width)
    depth_mm = float(rng.uniform(30, 60) if probe == "linear" else rng.uniform(60, 180))
    scene = draw_scene(rng, geometry.inside, geometry.beam, is_sector=probe != "linear")

    envelope = _acquire(rng, scene, geometry, probe)
    settings = display.DisplaySettings.draw(rng)
    beams = display.compress(rng, envelope, settings)
    gray = np.asarray(cv2.remap(beams, *geometry.to_beams, cv2.INTER_LINEAR), dtype=np.float32)
    picture = display.postprocess(gray, settings)
    picture[~geometry.inside] = 0
    seen = [mask & geometry.inside for _, mask in scene.instances]
    pixels, shown = layout.present(rng, picture, geometry.inside, seen)
    kept = [
        i
        for i, mask in enumerate(shown)
        if mask.sum() >= MIN_OBJECT_PIXELS and _is_lit(pixels, mask)
    ]
    pixels = display.archive(rng, pixels)
    stack = np.stack([shown[i] for i in kept]) if kept else np.zeros((0, *size), bool)
    names = tuple(scene.instances[i][0] for i in kept)
    row_scale, column_scale = layout.scale
    spacing = (depth_mm / height / row_scale, depth_mm / height / column_scale)
    return Phantom(pixels, stack, names, spacing, probe)


def _is_lit(pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a tenth of the surroundings of a mask [H, W] differ visibly from black.

    Where gain is low or a shadow deep, a structure cannot be told from its surroundings by anyone.
    """
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    top, left = max(0, y - height // 4), max(0, x - width // 4)
    window = pixels[top : y + height + height // 4, left : x + width + width // 4]
    return float((window > 20).mean()) > 0.1


def _draw_probe(rng: np.random.Generator) -> Probe:
    kinds: tuple[Probe, ...] = ("linear", "curved", "phased")
    return kinds[int(rng.choice(3, p=(0.5, 0.32, 0.18)))]


def _draw_size(rng: np.random.Generator, probe: Probe) -> tuple[int, int]:
    if probe == "linear":
        return int(rng.integers(256, 400)), int(rng.integers(272, 420))
    height = int(rng.integers(240, 360))
    return height, int(np.clip(height * rng.uniform(1.05, 1.4), 272, 459))


def _acquire(
    rng: np.random.Generator, scene: Scene, geometry: BeamGeometry, probe: Probe
) -> FloatMap:
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
    passed = 10 ** (-np.cumsum(sample["attenuation"], axis=0) / (10 * shape[0]))
    # The aperture looks past the edge of what casts a shadow, so a shadow's edge is soft; and echoes that
    # come by other ways fill it a little.
    passed = cv2.GaussianBlur(passed, (0, 0), sigmaX=rng.uniform(1.5, 7), sigmaY=1.2)
    passed = np.maximum(passed, 10 ** (-rng.uniform(22, 50) / 20))
    amplitude = 10 ** ((sample["echo"] + _unevenness(rng, shape, probe)) / 20) * passed

    focus = rng.uniform(0.2, 0.8)
    # Linear arrays resolve depth much better than width; in a sector, beams are dense near its apex.
    narrow = np.exp(rng.uniform(*np.log((1.0, 3.2) if probe == "linear" else (0.7, 2.0))))
    wide = narrow * rng.uniform(1.3, 2.4)
    axial = rng.uniform(0.35, 0.8) if probe == "linear" else rng.uniform(0.45, 1.2)
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

    specular = sample["specular"] * passed
    envelope += cv2.GaussianBlur(specular, (0, 0), sigmaX=narrow, sigmaY=0.7 * axial)
    grain = rng.standard_normal((*shape, 2), dtype=np.float32)
    noise = np.sqrt((grain * grain).sum(axis=-1))
    coarse = _unit_energy_blur(grain, narrow, axial)
    clutter = _side_lobes(rng, envelope) + _reverberation(rng, shape, depth)
    envelope += clutter * np.sqrt((coarse * coarse).sum(axis=-1))
    # Electronic noise does not decay with depth, so it is visible where the compensated echo is weak.
    envelope += 10 ** (-rng.uniform(30, 56) / 20) * 10 ** (depth * rng.uniform(0, 14) / 20) * noise
    return np.asarray(envelope, dtype=np.float32)


def _unevenness(rng: np.random.Generator, shape: tuple[int, int], probe: Probe) -> FloatMap:
    """Variations of scattering strength in dB [samples, lines]: no tissue is as homogeneous as a painted one.

    Sheets of connective tissue lie across the beams of a linear array and show as short bright streaks.
    """
    uneven = smooth_noise(rng, shape, rng.uniform(4, 14), rng.uniform(1.5, 5)) * rng.uniform(0, 2.5)
    if rng.random() < (0.85 if probe == "linear" else 0.4):
        sheets = smooth_noise(rng, shape, rng.uniform(12, 50), rng.uniform(1.2, 3.0))
        density = smooth_noise(rng, shape, 80, 40) * 0.5
        streaks = np.clip(sheets + density - rng.uniform(0.2, 1.3), 0, 2)
        uneven += streaks * rng.uniform(1, 8)
    return uneven


def _side_lobes(rng: np.random.Generator, envelope: FloatMap) -> FloatMap:
    """Amplitude of the echoes that side lobes pick up beside the beam: a haze in fluids and shadows."""
    small = cv2.resize(envelope, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    reach = rng.uniform(3, 12)
    spread = cv2.GaussianBlur(small, (0, 0), sigmaX=reach, sigmaY=reach / 4)
    haze = cv2.resize(spread, envelope.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(haze * 10 ** (-rng.uniform(20, 42) / 20), np.float32)


def _reverberation(rng: np.random.Generator, shape: tuple[int, int], depth: FloatMap) -> FloatMap:
    """Amplitude of echoes between probe and skin: bands near the surface that weaken with depth.

    Harmonic imaging, in half of the images, suppresses nearly all of it.
    """
    if rng.random() < 0.5:
        return np.zeros((1, 1), np.float32)
    period, reach = rng.uniform(0.015, 0.06), rng.uniform(0.03, 0.15)
    bands = np.exp(-(((depth / period) % 1 - 0.5) ** 2) / 0.03)
    patchy = np.clip(0.7 + 0.4 * smooth_noise(rng, (1, shape[1]), 40, 1), 0, 1.5)
    level = (0.3 + bands * patchy) * np.exp(-depth / reach)
    return np.asarray(level * 10 ** (rng.uniform(-22, 2) / 20), np.float32)


def _unit_energy_blur(scatter: FloatMap, lateral: float, axial: float) -> FloatMap:
    """Convolve scatterers with a Gaussian point-spread function of unit energy."""
    blurred = cv2.GaussianBlur(scatter, (0, 0), sigmaX=lateral, sigmaY=axial)
    return np.asarray(blurred * np.sqrt(4 * np.pi * lateral * axial), dtype=np.float32)
