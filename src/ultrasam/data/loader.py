"""From annotated images to batches: views, augmentation and first prompts.

A sample is a pure function of its index, so that training resumes exactly from a step number.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultrasam.data.phantom import simulate
from ultrasam.data.samples import Sample, grey
from ultrasam.errors import DataError
from ultrasam.images.masks import box_of, components
from ultrasam.model.prompt_encoder import BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT
from ultrasam.prompts import ClickStyle, jitter_box, simulate_click

_LEAST_PIXELS = 64  # smaller components are specks of annotation
_LEAST_VISIBLE = 0.6  # share of an object that a view must show


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """A grey image [H, W] uint8 and its objects' masks, packed to bits along the width."""

    pixels: npt.NDArray[np.uint8]
    packed: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> AnnotatedImage:
        return cls(pixels, np.packbits(masks, axis=-1))

    def mask(self, index: int) -> npt.NDArray[np.uint8]:
        """One mask [H, W] of 0 and 1."""
        return np.unpackbits(self.packed[index], axis=-1, count=self.pixels.shape[1])


def read_images(samples: Iterable[Sample]) -> list[AnnotatedImage]:
    """All samples that hold an object, each connected component an object of its own."""
    images = []
    for sample in samples:
        masks = [
            part
            for instance in sample.instances
            for part in components(instance.mask, least=_LEAST_PIXELS)
        ]
        if masks:
            images.append(AnnotatedImage.of(grey(sample.pixels), np.stack(masks)))
    return images


def make_phantoms(count: int, *, seed: int, workers: int) -> list[AnnotatedImage]:
    """Phantoms of ``count`` consecutive seeds, without those that show no structure."""
    seeds = range(seed * 10**7, seed * 10**7 + count)
    # A fork of a process that has threads may hang; a fresh one costs a second.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), mp_context=fresh) as pool:
        images = list(pool.map(_annotated_phantom, seeds, chunksize=32))
    return [image for image in images if len(image.packed)]


def _annotated_phantom(seed: int) -> AnnotatedImage:
    phantom = simulate(seed)
    return AnnotatedImage.of(phantom.pixels, phantom.masks)


@dataclass(frozen=True, slots=True)
class ViewStyle:
    """How images are seen and disturbed; the defaults keep to what a scanner could have shown.

    Attributes:
        zoomed: share of views that are zoomed around one object, the rest show the whole image.
        zoom: range of the zoomed view's side over the object's longer side.
        flip: chance of a mirror image, left for right.
        rotation: largest turn in degrees.
        stretch: largest relative change of aspect.
        brightness: strength of gamma, gain and time-gain changes, 0 for none.
        degradation: chance of each of blur, noise and lost resolution.
    """

    zoomed: float = 0.5
    zoom: tuple[float, float] = (1.2, 2.6)
    flip: float = 0.5
    rotation: float = 15.0
    stretch: float = 0.15
    brightness: float = 1.0
    degradation: float = 0.2


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """First prompts (arXiv 2411.16222, 3.2) and how people depart from them.

    Attributes:
        box: share of boxes; the rest are clicks.
        jitters, jitter_weights: box jitters, each corner by up to this share of the side.
        clicks: where clicks fall.
        per_image: most objects prompted in one view.
    """

    box: float = 0.5
    jitters: tuple[float, ...] = (0.05,)
    jitter_weights: tuple[float, ...] = (1.0,)
    clicks: ClickStyle = field(default_factory=ClickStyle)
    per_image: int = 20


@dataclass(frozen=True, slots=True)
class Batch:
    """B views and their N prompts.

    Attributes:
        pixels: [B, 1, S, S] uint8.
        targets: [N, 1, M, M] float, share of each low-res pixel that the object covers.
        coords: [N, 2, 2] first prompts in model pixels; labels: [N, 2].
        image_index: [N].
    """

    pixels: Tensor
    targets: Tensor
    coords: Tensor
    labels: Tensor
    image_index: Tensor

    def to(self, device: torch.device) -> Batch:
        return replace(
            self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        )

    def pin_memory(self) -> Batch:
        return replace(
            self, **{name: getattr(self, name).pin_memory() for name in self.__dataclass_fields__}
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Images that are drawn with one weight."""

    images: Sequence[AnnotatedImage]
    weight: float


class TrainingViews(Dataset[list[npt.NDArray[np.generic]]]):
    """``length`` views, each drawn from the sources by its index and ``seed`` alone."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        length: int,
        image_size: int,
        mask_size: int,
        views: ViewStyle,
        prompts: PromptStyle,
        seed: int,
    ) -> None:
        self.sources = [source for source in sources if source.images and source.weight > 0]
        if not self.sources:
            raise DataError(
                "There is nothing to train on; give data sets or phantoms in the recipe."
            )
        weights = np.array([source.weight for source in self.sources])
        self.shares = weights / weights.sum()
        self.length = length
        self.image_size, self.mask_size = image_size, mask_size
        self.views, self.prompts, self.seed = views, prompts, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[npt.NDArray[np.generic]]:
        """Pixels [S, S], targets [P, M, M], coords [P, 2, 2] and labels [P, 2] of one view."""
        rng = np.random.default_rng((self.seed, index))
        while True:
            source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
            image = source.images[int(rng.integers(len(source.images)))]
            drawn = self._draw(rng, image)
            if drawn is not None:
                return drawn

    def _draw(
        self, rng: np.random.Generator, image: AnnotatedImage
    ) -> list[npt.NDArray[np.generic]] | None:
        order = rng.permutation(len(image.packed))
        transform = self._view(rng, image, int(order[0]))
        scale = math.sqrt(abs(np.linalg.det(transform[:, :2])))
        pixels = _warp(image.pixels, transform, scale, self.image_size)
        targets: list[npt.NDArray[np.generic]] = []
        coords: list[npt.NDArray[np.generic]] = []
        labels: list[npt.NDArray[np.generic]] = []
        for index in order:
            if len(targets) == self.prompts.per_image:
                break
            full = image.mask(int(index))
            view = _warp(full * np.uint8(255), transform, scale, self.image_size)
            mask = view > 127
            area = int(mask.sum())
            if area < _LEAST_PIXELS or area < _LEAST_VISIBLE * int(full.sum()) * scale**2:
                continue
            size = (self.mask_size, self.mask_size)
            targets.append(cv2.resize(view, size, interpolation=cv2.INTER_AREA))
            xy, kinds = self._first_prompt(rng, mask)
            coords.append(xy)
            labels.append(kinds)
        if not targets:
            return None
        pixels = disturb(rng, pixels, self.views)
        return [pixels, np.stack(targets), np.stack(coords), np.stack(labels)]

    def _view(
        self, rng: np.random.Generator, image: AnnotatedImage, chosen: int
    ) -> npt.NDArray[np.float64]:
        """The affine map [2, 3] from the image to the canvas."""
        height, width = image.pixels.shape
        style, size = self.views, self.image_size
        if rng.random() < style.zoomed:
            x0, y0, x1, y1 = box_of(image.mask(chosen).astype(bool))
            longest = max(x1 - x0, y1 - y0)
            side = longest * math.exp(rng.uniform(*np.log(style.zoom)))
            slack = max(0.0, (side - longest) / 2)
            cx = (x0 + x1) / 2 + rng.uniform(-0.5, 0.5) * slack
            cy = (y0 + y1) / 2 + rng.uniform(-0.5, 0.5) * slack
            centre_out = (size / 2, size / 2)
        else:
            side = max(height, width) * math.exp(rng.uniform(-0.12, 0.12))
            cx, cy = width / 2, height / 2
            centre_out = (cx * size / side, cy * size / side)
        angle = math.radians(rng.uniform(-1, 1) * style.rotation * (rng.random() < 0.7))
        stretch = math.exp(rng.uniform(-1, 1) * style.stretch / 2)
        mirror = -1.0 if rng.random() < style.flip else 1.0
        scale = size / side
        cos, sin = math.cos(angle), math.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(
            [mirror * scale * stretch, scale / stretch]
        )
        shift = np.array(centre_out) - linear @ np.array([cx, cy])
        return np.concatenate([linear, shift[:, None]], axis=1)

    def _first_prompt(
        self, rng: np.random.Generator, mask: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        if rng.random() < self.prompts.box:
            weights = np.array(self.prompts.jitter_weights)
            share = float(rng.choice(self.prompts.jitters, p=weights / weights.sum()))
            box = jitter_box(rng, box_of(mask), share)
            return box.reshape(2, 2).astype(np.float32), np.array([TOP_LEFT, BOTTOM_RIGHT])
        click = simulate_click(rng, mask, self.prompts.clicks)
        coords = np.stack([click, np.zeros(2)]).astype(np.float32)
        return coords, np.array([FOREGROUND, PADDING])


def _warp(
    image: npt.NDArray[np.uint8], transform: npt.NDArray[np.float64], scale: float, size: int
) -> npt.NDArray[np.uint8]:
    """Resample through an affine map given for pixel corners, areas averaged when shrinking."""
    shrink = max(1, int(1 / scale + 0.25)) if scale < 0.8 else 1
    transform = transform.copy()
    if shrink > 1:
        height, width = image.shape[0] // shrink, image.shape[1] // shrink
        image = image[: height * shrink, : width * shrink]
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
        transform[:, :2] *= shrink
    # OpenCV counts from pixel centres: p' = A (p + 1/2) + t - 1/2.
    transform[:, 2] += transform[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(
        cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR), np.uint8
    )


def disturb(
    rng: np.random.Generator, pixels: npt.NDArray[np.uint8], style: ViewStyle
) -> npt.NDArray[np.uint8]:
    """Changes of gain, time-gain curve, grey map, speckle and resolution of a view [S, S]."""
    size = pixels.shape[0]
    grey: npt.NDArray[np.floating] = pixels.astype(np.float32) / 255
    black = pixels == 0
    strength = style.brightness
    if strength:
        grey = grey ** math.exp(rng.normal(0, 0.25) * strength)
        if rng.random() < 0.5:
            knots = rng.normal(0, 0.12 * strength, 5)
            curve = np.interp(np.linspace(0, 4, size), np.arange(5), knots)
            grey = grey * np.exp(curve).astype(np.float32)[:, None]
        grey = grey * math.exp(rng.normal(0, 0.2) * strength) + rng.normal(0, 0.02) * strength
    if rng.random() < style.degradation:
        grey = _floats(cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.4)))
    if rng.random() < style.degradation:
        small = int(size * rng.uniform(0.35, 0.8))
        coarse = cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA)
        grey = _floats(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR))
    if rng.random() < style.degradation:
        grain = cv2.GaussianBlur(
            rng.standard_normal((size, size), dtype=np.float32), (0, 0), rng.uniform(0.5, 1.5)
        )
        grey = grey * (1 + rng.uniform(0.1, 0.5) * grain)
    out: npt.NDArray[np.uint8] = np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)
    out[black] = 0
    return out


def _floats(array: npt.ArrayLike) -> npt.NDArray[np.floating]:
    return np.asarray(array, dtype=np.float32)


def collate(views: Sequence[Sequence[npt.NDArray[np.generic]]]) -> Batch:
    """Views with any number of prompts each to one flat batch."""
    counts = torch.tensor([len(view[1]) for view in views])
    return Batch(
        pixels=torch.from_numpy(np.stack([view[0] for view in views])).unsqueeze(1),
        targets=torch.from_numpy(np.concatenate([view[1] for view in views])).unsqueeze(1) / 255,
        coords=torch.from_numpy(np.concatenate([view[2] for view in views])),
        labels=torch.from_numpy(np.concatenate([view[3] for view in views])),
        image_index=torch.repeat_interleave(torch.arange(len(views)), counts),
    )
