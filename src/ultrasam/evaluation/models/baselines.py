"""Baselines without a trained model, behind the Segmenter protocol.

Each lists the prompt types that it accepts in ``accepts``.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError
from ultrasam.extras import needs
from ultrasam.images.masks import inscribed_ellipse
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.prompts import Prediction, Prompt

BoolMask = npt.NDArray[np.bool_]


class _Baseline(ABC):
    """Stores the frame and stacks one mask per prompt."""

    accepts: frozenset[str] = frozenset({"box"})

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] = np.zeros((1, 1), np.uint8)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Store one frame of a scan."""
        self.pixels = as_scan(scan).frame(frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, each with a predicted IoU of 1."""
        prompts = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        masks = np.stack([self.segment(prompt) for prompt in prompts])[:, None]
        ones = np.ones(masks.shape[:2], dtype=np.float32)
        return Prediction(masks, ones, ones, np.zeros((*masks.shape[:2], 0, 0), np.float32))

    @abstractmethod
    def segment(self, prompt: Prompt) -> BoolMask:
        """Mask [H, W] for one prompt."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


class EllipseInBox(_Baseline):
    """The largest ellipse in the box."""

    def segment(self, prompt: Prompt) -> BoolMask:
        return inscribed_ellipse(_box(prompt), self.shape)


class FilledBox(_Baseline):
    """The box itself."""

    def segment(self, prompt: Prompt) -> BoolMask:
        return _filled(_box(prompt), self.shape)


class GrabCut(_Baseline):
    """GrabCut (Rother et al. 2004), five iterations on the box enlarged by half its size on each side.

    Initialized from the box only, GrabCut finds nothing in most ultrasound images. Therefore the largest
    ellipse in the box starts as probable foreground, and its center (40 % of its width) is fixed as
    foreground. Regions larger than 200 pixels are downsampled to that size, since GrabCut would take many
    seconds on them.
    """

    def segment(self, prompt: Prompt) -> BoolMask:
        box = _box(prompt)
        reach = (box[2:] - box[:2]) / 2
        x0, y0 = np.floor(np.maximum(box[:2] - reach, 0)).astype(int)
        x1, y1 = np.ceil(box[2:] + reach).astype(int)
        view = self.pixels[y0:y1, x0:x1]
        inside = _filled(box, self.shape)[y0:y1, x0:x1]
        center = np.tile((box[:2] + box[2:]) / 2, 2)
        labels = np.full(view.shape[:2], cv2.GC_BGD, np.uint8)
        labels[inside] = cv2.GC_PR_BGD
        labels[inscribed_ellipse(box, self.shape)[y0:y1, x0:x1]] = cv2.GC_PR_FGD
        labels[inscribed_ellipse(center + 0.4 * (box - center), self.shape)[y0:y1, x0:x1]] = (
            cv2.GC_FGD
        )
        mask = np.zeros(self.shape, dtype=bool)
        if {cv2.GC_BGD, cv2.GC_FGD} <= set(labels.ravel().tolist()):
            rgb = view if view.ndim == 3 else np.repeat(view[..., None], 3, 2)
            cv2.setRNGSeed(0)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            unused = (0, 0, 1, 1)
            small = _size_within(labels.shape, 200)
            resized = cv2.resize(np.ascontiguousarray(rgb), small, interpolation=cv2.INTER_AREA)
            cut = cv2.resize(labels, small, interpolation=cv2.INTER_NEAREST)
            cv2.grabCut(resized, cut, unused, *models, 5, cv2.GC_INIT_WITH_MASK)
            whole = cv2.resize(cut, labels.shape[::-1], interpolation=cv2.INTER_NEAREST)
            labels = np.asarray(whole, np.uint8)
        mask[y0:y1, x0:x1] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return mask


class DiscAtClick(_Baseline):
    """A disc around the first click; its radius is 12 % of the longer image side."""

    accepts = frozenset({"point"})

    def segment(self, prompt: Prompt) -> BoolMask:
        points = prompt.points
        if not len(points):
            raise PromptError("The disc baseline needs a click; add a point to the prompt.")
        radius = 0.12 * max(self.shape)
        x, y = points[0]
        return inscribed_ellipse((x - radius, y - radius, x + radius, y + radius), self.shape)


class RandomWalker(_Baseline):
    """Random walker (Grady 2006) on the box enlarged by a quarter of its size on each side.

    For a box, the foreground seeds are its center (40 % of its width) and the background seeds everything
    outside it. For clicks, the foreground seeds are small discs around the positive ones; the background
    seeds are discs around the negative ones and everything outside a disc of twice the radius of
    `DiscAtClick`. Regions larger than 100 pixels are downsampled to that size.
    """

    accepts = frozenset({"box", "point"})

    def segment(self, prompt: Prompt) -> BoolMask:
        with needs("The random-walker baseline", extra="evaluate"):
            from skimage.segmentation import random_walker

        height, width = self.shape
        points, labels = prompt.points, prompt.labels
        seeds = np.zeros(self.shape, np.int8)
        if prompt.box is not None:
            box = _box(prompt)
            center = np.tile((box[:2] + box[2:]) / 2, 2)
            reach = (box[2:] - box[:2]) / 4
            seeds[~_filled(box, self.shape)] = 2
            seeds[inscribed_ellipse(center + 0.4 * (box - center), self.shape)] = 1
        else:
            radius = 0.12 * max(self.shape)
            box = np.concatenate([points[0] - 2 * radius, points[0] + 2 * radius])
            reach = np.full(2, radius)
            seeds[~inscribed_ellipse(box, self.shape)] = 2
        dot = 0.02 * max(self.shape)
        for (x, y), label in zip(points, labels, strict=True):
            seeds[inscribed_ellipse((x - dot, y - dot, x + dot, y + dot), self.shape)] = (
                1 if label else 2
            )
        x0, y0 = np.floor(np.maximum(box[:2] - reach, 0)).astype(int)
        x1, y1 = np.ceil(np.minimum(box[2:] + reach, (width, height))).astype(int)
        view = (
            cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY) if self.pixels.ndim == 3 else self.pixels
        )
        view, seeds = view[y0:y1, x0:x1], seeds[y0:y1, x0:x1]
        full = view.shape[:2]
        small = _size_within(full, 100)
        view = cv2.resize(view, small, interpolation=cv2.INTER_AREA)
        seeds = np.asarray(cv2.resize(seeds, small, interpolation=cv2.INTER_NEAREST), np.int8)
        mask = np.zeros(self.shape, dtype=bool)
        inside = (seeds == 1).astype(np.uint8)
        if {1, 2} <= set(seeds.ravel().tolist()):
            with warnings.catch_warnings():
                # Rounding just beyond 0 or 1 changes no label.
                warnings.filterwarnings("ignore", message="The probability range is outside")
                walked = random_walker(view / 255, seeds, beta=130, mode="cg_j", tol=1e-3)
            inside = (walked == 1).astype(np.uint8)
        back = cv2.resize(inside, full[::-1], interpolation=cv2.INTER_NEAREST)
        mask[y0:y1, x0:x1] = back > 0
        return mask


def _size_within(shape: tuple[int, ...], max_side: int) -> tuple[int, int]:
    """(width, height) of an image of ``shape``, shrunk until no side exceeds ``max_side``."""
    scale = min(1.0, max_side / max(shape[:2]))
    return max(2, round(shape[1] * scale)), max(2, round(shape[0] * scale))


def _filled(box: npt.NDArray[np.float64], shape: tuple[int, int]) -> BoolMask:
    x0, y0, x1, y1 = np.round(np.clip(box, 0, None)).astype(int)
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _box(prompt: Prompt) -> npt.NDArray[np.float64]:
    if prompt.box is None:
        raise PromptError("This baseline needs a box; add one to the prompt.")
    return np.asarray(prompt.box, dtype=np.float64)
