"""Turn annotated images into batches of views with first prompts.

A view depends only on its index and the seed, so that training resumes exactly from a step number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.errors import DataError
from ultrasam.images.masks import MIN_OBJECT_PIXELS, bounding_box
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.phantom.paste import paste
from ultrasam.prompts import UNUSED
from ultrasam.training.absent_prompts import absent_prompt, draw_absent_box
from ultrasam.training.augmentation import (
    Augmentation,
    Pixels,
    View,
    augment_intensity,
    random_sector,
    square_view,
)
from ultrasam.training.datamodule import TensorBatch
from ultrasam.training.prompt_sampling import PromptSampling, sample_prompt

_MIN_VISIBLE = 0.6  # fraction of an object that a view must show
_ABSENT_FIRST = 0.4  # of the views with an absent prompt, those that may zoom in on it
_MAX_MISSES = 1000  # consecutive views without a usable object before training gives up


@dataclass(frozen=True, slots=True)
class Source:
    """Images that share one sampling weight."""

    name: str
    images: Sequence[AnnotatedImage]
    weight: float


@dataclass(frozen=True, slots=True)
class PromptableBatch(TensorBatch):
    """B views and their N prompts.

    Attributes:
        pixels: [B, 1, S, S] uint8.
        valid: [B, 1, S, S] bool, where the view shows the image; the rest is padding.
        targets: [N, 1, M, M] float, the object's coverage of each low-res pixel.
        coords: [N, K, 2] first prompts in model pixels; labels: [N, K], padded with UNUSED.
        image_index: [N], the view of each prompt.
        classes: [N] class index of each object; 0 if objects have no classes.
        present: [N] bool, whether there is an object; if not, the target is empty.
        seeds: [N], for all further randomness of a prompt, independent of the other prompts.
    """

    pixels: Tensor
    valid: Tensor
    targets: Tensor
    coords: Tensor
    labels: Tensor
    image_index: Tensor
    classes: Tensor
    present: Tensor
    seeds: Tensor

    def inputs(self, preprocessor: Preprocessor) -> Tensor:
        """The model's input [B, 3, S, S]: normalized pixels, and zeros for padding, as in prediction."""
        rgb = self.pixels.expand(-1, 3, -1, -1).float()
        return preprocessor.normalize(rgb) * self.valid


@dataclass(frozen=True, slots=True)
class PromptedView:
    """One view with P prompted objects.

    Attributes:
        pixels: [S, S] uint8; valid: [S, S] bool, where it shows the image.
        targets: [P, M, M] uint8, coverage of each low-res pixel, 255 for full.
        coords: [P, K, 2] first prompts in model pixels; labels: [P, K].
        classes: [P]; present: [P] bool; seeds: [P].
    """

    pixels: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.uint8]
    coords: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    seeds: npt.NDArray[np.int64]


class PromptableViews(Dataset[PromptedView]):
    """Views sampled from sources.

    Args:
        image_size, mask_size: sides S of the model input and M of its masks.
        classes: function that returns the class index of each instance of an image, or None to skip it. By
            default, all instances are used, without classes.

    Raises:
        DataError: No source contains an image.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        image_size: int,
        mask_size: int,
        augmentation: Augmentation,
        prompts: PromptSampling,
        seed: int,
        classes: Callable[[AnnotatedImage], Sequence[int | None]] | None = None,
    ) -> None:
        self.classes = classes
        self.sources = [source for source in sources if len(source.images) and source.weight > 0]
        if not self.sources:
            raise DataError(
                "There is nothing to train on; add data sets or phantoms to the recipe."
            )
        weights = np.array([source.weight for source in self.sources])
        self.probabilities = weights / weights.sum()
        self.image_size, self.mask_size = image_size, mask_size
        self.augmentation, self.prompts, self.seed = augmentation, prompts, seed

    def __getitem__(self, index: int) -> PromptedView:
        """The view with this index.

        Raises:
            DataError: Many consecutive views show no object of sufficient size, or an image is damaged.
        """
        rng = np.random.default_rng((self.seed, index))
        for _ in range(_MAX_MISSES):
            source = self.sources[int(rng.choice(len(self.sources), p=self.probabilities))]
            image = source.images[int(rng.integers(len(source.images)))]
            view = self._draw(rng, image, source)
            if view is not None:
                return view
        names = ", ".join(source.name for source in self.sources)
        raise DataError(
            f"No object in {names} covers {MIN_OBJECT_PIXELS} pixels of a {self.image_size} × "
            f"{self.image_size} view; set augmentation.zoomed=1 to enlarge objects."
        )

    def _draw(
        self, rng: np.random.Generator, image: AnnotatedImage, source: Source
    ) -> PromptedView | None:
        """A view of an image of a source; None if it has nothing to prompt."""
        pasted = self.augmentation.pasted if self.classes is None else 0.0
        if pasted and rng.random() < pasted:
            image = _with_pasted(rng, image)
        known = [0] * len(image.areas) if self.classes is None else self.classes(image)
        usable = [
            i for i, area in enumerate(image.areas)
            if area >= MIN_OBJECT_PIXELS and known[i] is not None
        ]  # fmt: skip
        share = self.prompts.absent_in(source.name)
        if not usable and not share:
            return None
        gray, absent = image.gray, None
        shape = (gray.shape[0], gray.shape[1])
        if share and rng.random() < (share if usable else 1.0):
            absent = draw_absent_box(rng, image, source.images, shape=shape)
        if not usable and absent is None:
            return None
        order = rng.permutation(usable)
        if absent is not None and (not usable or rng.random() < _ABSENT_FIRST):
            first = absent
        else:
            first = bounding_box(image.mask(int(order[0])))
        view = square_view(rng, self.augmentation, shape, self.image_size, first)
        pixels = view.resample(gray)
        sector = None
        if rng.random() < self.augmentation.cone:
            sector = random_sector(rng, self.image_size)
            pixels[~sector] = 0
        targets: list[npt.ArrayLike] = []
        coords, labels, classes = [], [], []
        most = self.prompts.per_image - (absent is not None)
        visible: list[tuple[int, Pixels]] = []
        for index in order:
            if len(visible) == most:
                break
            covered = self._covered(image.mask(int(index)), view, sector)
            if covered is not None:
                visible.append((int(index), covered))
        # If there are too few objects, the same ones get further prompts.
        for index, covered in (visible * self.prompts.per_object)[:most]:
            size = (self.mask_size, self.mask_size)
            targets.append(cv2.resize(covered, size, interpolation=cv2.INTER_AREA))
            xy, kinds = sample_prompt(rng, covered > 127, self.prompts)
            coords.append(xy)
            labels.append(kinds)
            classes.append(known[index])
        present = [True] * len(targets)
        in_view = None if absent is None else _box_in_view(absent, view)
        if in_view is not None:
            targets.append(np.zeros((self.mask_size, self.mask_size), np.uint8))
            xy, kinds = absent_prompt(rng, in_view, as_box=rng.random() < self.prompts.box)
            coords.append(xy)
            labels.append(kinds)
            classes.append(0)
            present.append(False)
        if not targets:
            return None
        slots = max(len(kinds) for kinds in labels)
        return PromptedView(
            augment_intensity(rng, pixels, self.augmentation),
            view.resample(np.full(shape, 255, np.uint8)) > 127,
            np.asarray(np.stack(targets), np.uint8),
            np.stack([_padded(xy, slots, 0) for xy in coords]),
            np.stack([_padded(kinds, slots, UNUSED) for kinds in labels]),
            np.array(classes, np.int64),
            np.array(present),
            rng.integers(0, 2**31, len(targets)),
        )

    def _covered(
        self, mask: npt.NDArray[np.bool_], view: View, sector: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint8] | None:
        """An object's coverage of a view, 0 to 255; None if too little of it is visible."""
        covered = view.mask(mask)
        if sector is not None:
            covered[~sector] = 0
        area = int((covered > 127).sum())
        if area < max(MIN_OBJECT_PIXELS, _MIN_VISIBLE * int(mask.sum()) * view.scale**2):
            return None
        return covered


def _box_in_view(box: npt.NDArray[np.float64], view: View) -> npt.NDArray[np.float64] | None:
    """The box around an image's box in view pixels, cut to the view; None if too little is visible."""
    x0, y0, x1, y1 = box
    corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])
    points = corners @ view.matrix[:, :2].T + view.matrix[:, 2]
    low, high = points.min(axis=0), points.max(axis=0)
    shown = np.clip(np.stack([low, high]), 0, view.size[::-1])
    if np.prod(shown[1] - shown[0]) < max(MIN_OBJECT_PIXELS, _MIN_VISIBLE * np.prod(high - low)):
        return None
    return np.asarray(shown.reshape(4), np.float64)


def _with_pasted(rng: np.random.Generator, image: AnnotatedImage) -> AnnotatedImage:
    """The image with a simulated structure as one more instance, if its background has room for one."""
    instances, ignored = image.instances, image.ignored
    regions = [] if ignored is None else [ignored]
    gray = image.gray
    known = [instance.mask for instance in instances] + regions
    taken = np.stack(known) if known else np.zeros((0, *gray.shape), bool)
    pixels, masks = paste(rng, gray, taken)
    if len(masks) == len(taken):
        return image
    return AnnotatedImage.in_memory(pixels, [*instances, Instance("pasted", masks[-1])])


def _padded(array: npt.NDArray[Any], count: int, fill: int) -> npt.NDArray[Any]:
    """Pad with rows of ``fill`` up to ``count`` rows."""
    missing = np.full((count - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, missing])


def collate(views: Sequence[PromptedView]) -> PromptableBatch:
    """Combine views with any number of prompts into one flat batch."""
    counts = torch.tensor([len(view.targets) for view in views])
    slots = max(view.labels.shape[1] for view in views)
    coords = [_padded(view.coords.swapaxes(0, 1), slots, 0).swapaxes(0, 1) for view in views]
    labels = [_padded(view.labels.T, slots, UNUSED).T for view in views]
    return PromptableBatch(
        pixels=torch.from_numpy(np.stack([view.pixels for view in views])).unsqueeze(1),
        valid=torch.from_numpy(np.stack([view.valid for view in views])).unsqueeze(1),
        targets=torch.from_numpy(np.concatenate([view.targets for view in views])).unsqueeze(1)
        / 255,
        coords=torch.from_numpy(np.concatenate(coords)),
        labels=torch.from_numpy(np.concatenate(labels)),
        image_index=torch.repeat_interleave(torch.arange(len(views)), counts),
        classes=torch.from_numpy(np.concatenate([view.classes for view in views])),
        present=torch.from_numpy(np.concatenate([view.present for view in views])),
        seeds=torch.from_numpy(np.concatenate([view.seeds for view in views])),
    )
