"""Naive baselines behind the Segmenter protocol: a model is worth something only above them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError
from ultrasam.images.masks import ellipse_in
from ultrasam.images.scan import Scan, read_scan
from ultrasam.inference.segmenter import ScanLike
from ultrasam.prompts import Prediction, Prompt

BoolMask = npt.NDArray[np.bool_]


class _Baseline:
    """Holds the frame, and packs one mask per prompt."""

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] = np.zeros((1, 1), np.uint8)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        if isinstance(scan, (str, os.PathLike)):
            scan = read_scan(scan)
        elif not isinstance(scan, Scan):
            scan = Scan.from_array(scan)
        self.pixels = scan.frame(frame)

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
        x0, y0, x1, y1 = np.round(np.clip(_box(prompt), 0, None)).astype(int)
        mask = np.zeros(self.shape, dtype=bool)
        mask[y0:y1, x0:x1] = True
        return mask


class GrabCut(_Baseline):
    """GrabCut (Rother et al. 2004) from the box, five rounds."""

    def segment(self, prompt: Prompt) -> BoolMask:
        x0, y0, x1, y1 = np.round(_box(prompt)).astype(int)
        x0, y0 = max(x0, 0), max(y0, 0)
        pixels = self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels[..., None], 3, 2)
        labels = np.zeros(self.shape, np.uint8)
        cv2.setRNGSeed(0)
        try:
            cv2.grabCut(
                np.ascontiguousarray(pixels), labels, (x0, y0, x1 - x0, y1 - y0),
                np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT,
            )  # fmt: skip
        except cv2.error:  # nothing outside the box to learn the background from
            labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
        return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


class DiscAtClick(_Baseline):
    """A disc around the first click, its radius 12 % of the image's longer side."""

    def segment(self, prompt: Prompt) -> BoolMask:
        points = np.asarray(prompt.points)
        if not len(points):
            raise PromptError("The disc needs a click; give a point.")
        radius = 0.12 * max(self.shape)
        x, y = points[0]
        return ellipse_in((x - radius, y - radius, x + radius, y + radius), self.shape)


def _box(prompt: Prompt) -> npt.NDArray[np.float64]:
    if prompt.box is None:
        raise PromptError("This baseline needs a box; give one.")
    return np.asarray(prompt.box, dtype=np.float64)
