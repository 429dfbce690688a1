"""Small moving pictures with truth on every frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction, Prompt

Mask = npt.NDArray[np.bool_]
SIZE = (96, 112)


@dataclass
class Cine:
    """Frames [T, H, W] and the truth of each; reading counts, and damaged frames refuse."""

    pixels: npt.NDArray[np.uint8]
    truth: Mask
    damaged: frozenset[int] = frozenset()
    read: list[int] = field(default_factory=list)

    @property
    def scan(self) -> Scan:
        count, height, width = self.pixels.shape

        def frame(index: int) -> npt.NDArray[np.uint8]:
            self.read.append(index)
            if index in self.damaged:
                raise ScanError(f"Frame {index} of cine.avi is damaged.")
            return self.pixels[index]

        return Scan(count, height, width, False, frame)


def textured(size: tuple[int, int] = SIZE, seed: int = 0) -> npt.NDArray[np.float32]:
    """Smooth random gray levels around 100."""
    noise = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    coarse, fine = (cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (5, 2))
    return np.asarray(100 + 30 * coarse / coarse.std() + 15 * fine / fine.std(), np.float32)


def moving(
    count: int,
    step: tuple[float, float] = (1.5, 0.5),
    *,
    damaged: tuple[int, ...] = (),
    start: tuple[float, float] = (40, 44),
    radius: float = 14,
) -> Cine:
    """A disc, darker than the tissue, that moves (x, y) pixels a frame with all of it."""
    height, width = SIZE
    still = textured()
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    disc = np.hypot(x - start[0], y - start[1]) <= radius
    still = np.where(disc, 0.6 * still, still).astype(np.float32)
    frames, truth = [], []
    for index in range(count):
        move = np.float32([[1, 0, step[0] * index], [0, 1, step[1] * index]])
        moved = cv2.warpAffine(still, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        frames.append(np.clip(moved, 0, 255).astype(np.uint8))
        inside = cv2.warpAffine(disc.astype(np.float32), move, (width, height))
        truth.append(inside >= 0.5)
    return Cine(np.stack(frames), np.stack(truth), frozenset(damaged))


def dice(mask: Mask, truth: Mask) -> float:
    total = mask.sum() + truth.sum()
    return float(2 * (mask & truth).sum() / total) if total else 1.0


@dataclass
class Told:
    """A segmenter that knows the truth, and is off from it by some pixels."""

    cine: Cine
    grows: int = 0
    predicted_iou: float = 0.9
    frames: list[int] = field(default_factory=list)
    index: int = 0

    def set_image(self, scan: object, *, frame: int | None = None) -> None:
        pixels = np.asarray(scan)
        self.index = int(np.argmax([np.array_equal(pixels, one) for one in self.cine.pixels]))
        self.frames.append(self.index)

    def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
        count = 1 if isinstance(prompts, Prompt) else len(prompts)
        kernel = np.ones((2 * abs(self.grows) + 1,) * 2, np.uint8)
        change = cv2.dilate if self.grows >= 0 else cv2.erode
        mask = change(self.cine.truth[self.index].astype(np.uint8), kernel) > 0
        masks = np.repeat(mask[None, None], count, axis=0)
        scores = np.full((count, 1), self.predicted_iou, np.float32)
        return Prediction(masks, scores, scores, np.zeros((count, 1, 8, 8), np.float32))
