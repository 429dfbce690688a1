"""From annotated images to batches: views, augmentation and first prompts.

A sample is a pure function of its index, so that training resumes exactly from a step number.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultrasam.datasets.annotated_image import Sample
from ultrasam.errors import DataError
from ultrasam.images.masks import MIN_OBJECT_PIXELS, box_of, components
from ultrasam.images.pixels import grey
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompt_simulation import ClickStyle, jitter_box, simulate_clicks
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT, UNUSED
from ultrasam.store.store import Store
from ultrasam.training.augmentation import ViewStyle, disturb, random_sector, warp

_LEAST_VISIBLE = 0.6  # share of an object that a view must show


class Annotated(Protocol):
    """A grey image and its objects."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """[H, W]."""

    def __len__(self) -> int:
        """How many objects."""

    def mask(self, index: int) -> npt.NDArray[np.uint8]:
        """One mask [H, W] of 0 and 1."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """A grey image [H, W] uint8 and its objects' masks, packed to bits along the width."""

    pixels: npt.NDArray[np.uint8]
    packed: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> AnnotatedImage:
        return cls(pixels, np.packbits(masks, axis=-1))

    def __len__(self) -> int:
        return len(self.packed)

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
            for part in components(instance.mask, least=MIN_OBJECT_PIXELS)
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
    return [image for image in images if len(image)]


def _annotated_phantom(seed: int) -> AnnotatedImage:
    phantom = simulate(seed)
    return AnnotatedImage.of(phantom.pixels, phantom.masks)


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
        coords: [N, K, 2] first prompts in model pixels; labels: [N, K], UNUSED where one has fewer slots.
        image_index: [N].
        seeds: [N], of all further randomness of a prompt, so that it depends on no other prompt.
    """

    pixels: Tensor
    targets: Tensor
    coords: Tensor
    labels: Tensor
    image_index: Tensor
    seeds: Tensor

    def to(self, device: torch.device) -> Batch:
        return replace(
            self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        )

    def pin_memory(self) -> Batch:
        return replace(
            self, **{name: getattr(self, name).pin_memory() for name in self.__dataclass_fields__}
        )


class StoreImages(Sequence[Annotated]):
    """Images of a store that hold an object, read when asked for; masks one by one.

    Pickling sends rows and the store's path: workers map the same tables and share their pages.
    """

    def __init__(self, store: Store, rows: npt.NDArray[np.int64]) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Annotated:  # type: ignore[override]
        return _StoredImage(self.store, int(self.rows[index]))


@dataclass(frozen=True, slots=True)
class _StoredImage:
    store: Store
    row: int

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        return self.store.pixels(self.row)

    def __len__(self) -> int:
        return len(self.store.instances_of(self.row))

    def mask(self, index: int) -> npt.NDArray[np.uint8]:
        return self.store.mask(self.store.instances_of(self.row)[index]).astype(np.uint8)


def store_sources(
    store: Store,
    *,
    split: str = "train",
    datasets: Sequence[str] | None = None,
    temperature: float = 1.0,
    weight: float = 1.0,
) -> list[Source]:
    """One source for each data set of a store, drawn with a share that grows as n ** (1 / temperature).

    Temperature 1 draws every image as often as any other, a large one every data set.

    Raises:
        DataError: no image of that side holds an object.
    """
    names = datasets if datasets is not None else list(store.manifest["datasets"])
    found = {
        name: store.select(datasets=[name], splits=[split], with_instances=True) for name in names
    }
    found = {name: rows for name, rows in found.items() if len(rows)}
    if not found:
        raise DataError(
            f"{store.root} has no image with an object on side '{split}' of {', '.join(names)}."
        )
    shares = np.array([len(rows) ** (1 / temperature) for rows in found.values()])
    shares = weight * shares / shares.sum()
    return [
        Source(StoreImages(store, rows), float(share))
        for rows, share in zip(found.values(), shares, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Source:
    """Images that are drawn with one weight."""

    images: Sequence[Annotated]
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
        """Pixels [S, S], targets [P, M, M], coords [P, K, 2], labels [P, K] and seeds [P] of one view."""
        rng = np.random.default_rng((self.seed, index))
        while True:
            source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
            image = source.images[int(rng.integers(len(source.images)))]
            drawn = self._draw(rng, image)
            if drawn is not None:
                return drawn

    def _draw(
        self, rng: np.random.Generator, image: Annotated
    ) -> list[npt.NDArray[np.generic]] | None:
        order = rng.permutation(len(image))
        grey = image.pixels
        transform = self._view(rng, image, grey.shape, int(order[0]))
        scale = math.sqrt(abs(np.linalg.det(transform[:, :2])))
        pixels = warp(grey, transform, scale, self.image_size)
        seen = None
        if rng.random() < self.views.cone:
            seen = random_sector(rng, self.image_size)
            pixels[~seen] = 0
        targets: list[npt.NDArray[np.generic]] = []
        coords: list[npt.NDArray[np.generic]] = []
        labels: list[npt.NDArray[np.generic]] = []
        for index in order:
            if len(targets) == self.prompts.per_image:
                break
            full = image.mask(int(index))
            view = warp(full * np.uint8(255), transform, scale, self.image_size)
            if seen is not None:
                view[~seen] = 0
            mask = view > 127
            area = int(mask.sum())
            if area < MIN_OBJECT_PIXELS or area < _LEAST_VISIBLE * int(full.sum()) * scale**2:
                continue
            size = (self.mask_size, self.mask_size)
            targets.append(cv2.resize(view, size, interpolation=cv2.INTER_AREA))
            xy, kinds = self._first_prompt(rng, mask)
            coords.append(xy)
            labels.append(kinds)
        if not targets:
            return None
        pixels = disturb(rng, pixels, self.views)
        seeds = rng.integers(0, 2**31, len(targets))
        slots = max(len(kinds) for kinds in labels)
        return [
            pixels,
            np.stack(targets),
            np.stack([_slots(xy, slots, 0) for xy in coords]),
            np.stack([_slots(kinds, slots, UNUSED) for kinds in labels]),
            seeds,
        ]

    def _view(
        self,
        rng: np.random.Generator,
        image: Annotated,
        shape: tuple[int, ...],
        chosen: int,
    ) -> npt.NDArray[np.float64]:
        """The affine map [2, 3] from the image to the canvas."""
        height, width = shape
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
            side = max(height, width) * math.exp(rng.uniform(-1, 1) * style.scale)
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
        points, kinds = simulate_clicks(rng, mask, self.prompts.clicks)
        coords = np.concatenate([points, np.zeros((1, 2))]).astype(np.float32)
        return coords, np.append(np.where(kinds == 1, FOREGROUND, BACKGROUND), NOT_A_POINT)


def _slots(array: npt.NDArray[Any], count: int, fill: int) -> npt.NDArray[Any]:
    """Rows up to ``count``, the missing ones filled."""
    missing = np.full((count - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, missing])


def collate(views: Sequence[Sequence[npt.NDArray[np.generic]]]) -> Batch:
    """Views with any number of prompts each to one flat batch."""
    counts = torch.tensor([len(view[1]) for view in views])
    slots = max(view[2].shape[1] for view in views)
    coords = [_slots(view[2].swapaxes(0, 1), slots, 0).swapaxes(0, 1) for view in views]
    labels = [_slots(view[3].T, slots, UNUSED).T for view in views]
    return Batch(
        pixels=torch.from_numpy(np.stack([view[0] for view in views])).unsqueeze(1),
        targets=torch.from_numpy(np.concatenate([view[1] for view in views])).unsqueeze(1) / 255,
        coords=torch.from_numpy(np.concatenate(coords)),
        labels=torch.from_numpy(np.concatenate(labels)),
        image_index=torch.repeat_interleave(torch.arange(len(views)), counts),
        seeds=torch.from_numpy(np.concatenate([view[4] for view in views])),
    )
