"""Cines with truth on every frame: a still whose object contracts, shifts and comes back.

The motion is known and smooth and fades out around the object, so that the rest of the picture stands still.
Multiplicative noise of the grain of speckle changes from frame to frame with a known correlation.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.images.masks import center_of_mass, largest_component
from ultrasam.images.pixels import gray
from ultrasam.images.scan import Scan
from ultrasam.phantom.acquisition import simulate

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_LONGEST = 400  # pixels; larger stills are scaled down
_LEAST_AREA = 400  # pixels
_MOST_PART = 0.2  # of the picture
_SHIFT_NOISE = 0.08  # standard deviation of the noise of translated pictures
_GRAIN = 1.0  # pixels; standard deviation of the blur that correlates the noise of neighbors


@dataclass(frozen=True, slots=True)
class Motion:
    """How an object moves.

    Attributes:
        frames: number of frames.
        contraction: by which fraction the object is smaller in the middle of the cine.
        shift: by which fraction of its radius it has moved there.
        correlation: of the noise of a frame with that of the one before it.
        noise: standard deviation of the noise that multiplies the picture.
    """

    frames: int
    contraction: float
    shift: float
    correlation: float
    noise: float


MODERATE = Motion(24, 0.25, 0.25, 0.9, 0.25)
HARD = Motion(40, 0.40, 0.40, 0.7, 0.4)


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A picture with one object."""

    name: str
    pixels: Gray
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class MovingCine:
    """A cine and the truth of each frame, [T, H, W]."""

    name: str
    pixels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.bool_]

    @property
    def scan(self) -> Scan:
        count, height, width = self.pixels.shape
        return Scan(count, height, width, False, lambda index: self.pixels[index])


def real_stills(folder: str, each: int, only: tuple[str, ...] = ()) -> Iterator[Still]:
    """The largest object of ``each`` images of every data set in a folder, evenly spread."""
    for data in open_evaluation_datasets([folder], only=only):
        found = 0
        step = max(1, len(data.items) // (3 * each))  # some images have no object
        for item in data.items[::step]:
            for image in item.read():
                masks = [i.mask for i in getattr(image, "instances", ()) if not i.ignore]
                masks = [mask for mask in masks if mask.sum() >= _LEAST_AREA]
                if not masks or found == each:
                    continue
                still = _scaled(
                    f"{data.name}/{item.key}", gray(image.pixels), max(masks, key=np.sum)
                )
                if still is not None:
                    found += 1
                    yield still


def phantom_stills(count: int, seed: int = 0) -> Iterator[Still]:
    """The largest object of simulated pictures."""
    found = 0
    while found < count:
        image = simulate(seed)
        seed += 1
        masks = [mask for mask in image.masks if mask.sum() >= _LEAST_AREA]
        still = masks and _scaled(f"phantom/{seed}", gray(image.pixels), max(masks, key=np.sum))
        if still:
            found += 1
            yield still


def _scaled(name: str, pixels: Gray, mask: Mask) -> Still | None:
    """None for what is left of tiny objects, and for those that fill the picture or touch its edge: how they
    go on behind it, nobody knows."""
    scale = min(1.0, _LONGEST / max(pixels.shape))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    inside = largest_component(np.asarray(inside))
    if not _LEAST_AREA <= inside.sum() <= _MOST_PART * inside.size:
        return None
    edges = inside[[0, -1]].any() or inside[:, [0, -1]].any()
    return None if edges else Still(name, small, inside)


def moved(still: Still, motion: Motion) -> MovingCine:
    """The still as a cine; the same for the same still and motion."""
    rng = np.random.default_rng(zlib.crc32(f"{still.name} {motion}".encode()))
    direction = rng.uniform(0, 2 * np.pi)
    radius = float(np.sqrt(still.mask.sum() / np.pi))
    shift = motion.shift * radius * np.array([np.cos(direction), np.sin(direction)])
    noise = _speckle(rng, still.pixels.shape)
    frames, truth = [], []
    for index in range(motion.frames):
        phase = float(np.sin(np.pi * index / (motion.frames - 1)) ** 2)
        source = _source(still.mask, motion.contraction * phase, shift * phase)
        frames.append(_seen(still.pixels, source, motion.noise * noise))
        truth.append(_moved_mask(still.mask, source))
        fresh = _speckle(rng, still.pixels.shape)
        keep = motion.correlation
        noise = keep * noise + np.float32(np.sqrt(1 - keep**2)) * fresh
    return MovingCine(still.name, np.stack(frames), np.stack(truth))


def translated(still: Still, step: tuple[float, float], frames: int) -> MovingCine:
    """The whole picture moves by (x, y) pixels a frame, with fresh noise in each."""
    rng = np.random.default_rng(zlib.crc32(f"{still.name} {step}".encode()))
    height, width = still.pixels.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels, truth = [], []
    for index in range(frames):
        source = np.stack([x - step[0] * index, y - step[1] * index], axis=-1).astype(np.float32)
        pixels.append(_seen(still.pixels, source, _SHIFT_NOISE * _speckle(rng, (height, width))))
        truth.append(_moved_mask(still.mask, source))
    return MovingCine(f"{still.name} {step}", np.stack(pixels), np.stack(truth))


def _source(
    mask: Mask, contraction: float, shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Where in the still each pixel comes from, [H, W, 2] as (x, y) of pixel indices.

    All of the object contracts and shifts; the motion fades to none at 2.5 times the object's reach.
    """
    center = center_of_mass(mask) - 0.5
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    away = np.hypot(*np.moveaxis(points - center, -1, 0))
    reach = float(away[mask].max()) * 1.1
    t = np.clip((2.5 * reach - away) / (1.5 * reach), 0, 1)
    weight = (t * t * (3 - 2 * t))[..., None]
    there = center + (points - center - shift) / (1 - contraction)
    return (points + weight * (there - points)).astype(np.float32)


def _seen(pixels: Gray, source: npt.NDArray[np.float32], noise: npt.NDArray[np.float32]) -> Gray:
    picture = _warp(pixels.astype(np.float32), source)
    return np.clip(picture * (1 + noise) + 0.5, 0, 255).astype(np.uint8)


def _warp(
    values: npt.NDArray[np.float32], source: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    out = cv2.remap(values, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(out)


def _moved_mask(mask: Mask, source: npt.NDArray[np.float32]) -> Mask:
    """Nothing comes in from outside the picture."""
    inside = cv2.remap(mask.astype(np.float32), source, None, cv2.INTER_LINEAR)
    return np.asarray(inside >= 0.5)


def _speckle(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Noise of unit variance."""
    white = rng.standard_normal(shape, dtype=np.float32)
    blurred = cv2.GaussianBlur(white, (0, 0), _GRAIN)
    return np.asarray(blurred / blurred.std())


def replaced(cine: MovingCine, other: Still, cut: int) -> MovingCine:
    """The cine until a frame; from there on another still with the same noise, and nothing to find."""
    rng = np.random.default_rng(cut)
    pixels, truth = cine.pixels.copy(), cine.truth.copy()
    size = pixels.shape[:0:-1]
    still = cv2.resize(other.pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    for index in range(cut, len(pixels)):
        noise = 1 + MODERATE.noise * _speckle(rng, still.shape)
        pixels[index] = np.clip(still * noise + 0.5, 0, 255).astype(np.uint8)
        truth[index] = False
    return MovingCine(f"{cine.name}, then {other.name}", pixels, truth)
