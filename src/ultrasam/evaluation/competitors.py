"""Naive baselines behind the Segmenter protocol: a model is worth something only above them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError
from ultrasam.images.masks import ellipse_in
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.prompts import Prediction, Prompt

BoolMask = npt.NDArray[np.bool_]


class _Baseline:
    """Holds the frame, and packs one mask per prompt."""

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] = np.zeros((1, 1), np.uint8)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        self.pixels = as_scan(scan).frame(frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        asked = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        masks = np.stack([self.segment(prompt) for prompt in asked])[:, None]
        ones = np.ones(masks.shape[:2], dtype=np.float32)
        return Prediction(masks, ones, ones, np.zeros((*masks.shape[:2], 0, 0), np.float32))

    def segment(self, prompt: Prompt) -> BoolMask:
        raise PromptError("This baseline segments nothing.")

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


class EllipseInBox(_Baseline):
    """The largest ellipse in the box."""

    def segment(self, prompt: Prompt) -> BoolMask:
        return ellipse_in(_box(prompt), self.shape)


class FilledBox(_Baseline):
    """The box itself."""

    def segment(self, prompt: Prompt) -> BoolMask:
        return _filled(_box(prompt), self.shape)


class GrabCut(_Baseline):
    """GrabCut (Rother et al. 2004), five rounds over the box and half its size around it.

    Started from the box alone it finds nothing in most ultrasound pictures; so the box's largest
    ellipse starts as probable foreground, and the middle of it, 40 % of its width, is held.
    """

    def segment(self, prompt: Prompt) -> BoolMask:
        box = _box(prompt)
        reach = (box[2:] - box[:2]) / 2
        x0, y0 = np.floor(np.maximum(box[:2] - reach, 0)).astype(int)
        x1, y1 = np.ceil(box[2:] + reach).astype(int)
        view = self.pixels[y0:y1, x0:x1]
        inside = _filled(box, self.shape)[y0:y1, x0:x1]
        centre = np.tile((box[:2] + box[2:]) / 2, 2)
        labels = np.full(view.shape[:2], cv2.GC_BGD, np.uint8)
        labels[inside] = cv2.GC_PR_BGD
        labels[ellipse_in(box, self.shape)[y0:y1, x0:x1]] = cv2.GC_PR_FGD
        labels[ellipse_in(centre + 0.4 * (box - centre), self.shape)[y0:y1, x0:x1]] = cv2.GC_FGD
        mask = np.zeros(self.shape, dtype=bool)
        if {cv2.GC_BGD, cv2.GC_FGD} <= set(labels.ravel().tolist()):
            rgb = view if view.ndim == 3 else np.repeat(view[..., None], 3, 2)
            cv2.setRNGSeed(0)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            unused = (0, 0, 1, 1)
            rgb = np.ascontiguousarray(rgb)
            cv2.grabCut(rgb, labels, unused, *models, 5, cv2.GC_INIT_WITH_MASK)
        mask[y0:y1, x0:x1] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return mask


class DiscAtClick(_Baseline):
    """A disc around the first click, its radius 12 % of the image's longer side."""

    def segment(self, prompt: Prompt) -> BoolMask:
        points = np.asarray(prompt.points)
        if not len(points):
            raise PromptError("The disc needs a click; give a point.")
        radius = 0.12 * max(self.shape)
        x, y = points[0]
        return ellipse_in((x - radius, y - radius, x + radius, y + radius), self.shape)


def _filled(box: npt.NDArray[np.float64], shape: tuple[int, int]) -> BoolMask:
    x0, y0, x1, y1 = np.round(np.clip(box, 0, None)).astype(int)
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _box(prompt: Prompt) -> npt.NDArray[np.float64]:
    if prompt.box is None:
        raise PromptError("This baseline needs a box; give one.")
    return np.asarray(prompt.box, dtype=np.float64)
