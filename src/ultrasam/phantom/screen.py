"""Show a picture as archives hold it: cropped, stretched, scaled up, or on a scanner's screen.

Masks follow the picture. What is burned in covers a picture's gray levels and never its truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ultrasam.phantom.display import GrayImage
from ultrasam.phantom.overlays import draw_in_picture, draw_round_picture
from ultrasam.phantom.tissue import BoolMap

Kind = Literal["plain", "cropped", "screen", "dual"]
_MIN_SIDE = 96  # of the simulated picture, in pixels


@dataclass(frozen=True, slots=True)
class Layout:
    """How a picture becomes an image of a given size.

    Attributes:
        kind: the whole picture; a window cut out of it; a scanner's screen with the picture; or two pictures
            beside each other.
        size: (height, width) of the image.
        canvas: (height, width) of the picture to simulate.
        window: (height, width) of the part of the canvas that is shown.
        place: (top, left, height, width) of the shown part in the image.
    """

    kind: Kind
    size: tuple[int, int]
    canvas: tuple[int, int]
    window: tuple[int, int]
    place: tuple[int, int, int, int]

    @classmethod
    def draw(cls, rng: np.random.Generator, size: tuple[int, int]) -> Layout:
        """Draw a layout for an image of this size."""
        kinds: tuple[Kind, ...] = ("plain", "cropped", "screen", "dual")
        kind = kinds[int(rng.choice(4, p=(0.45, 0.27, 0.22, 0.06)))]
        height, width = size
        top, left = 0, 0
        if kind == "screen":
            height, width = (int(side * rng.uniform(0.68, 0.94)) for side in size)
            top = int((size[0] - height) * rng.uniform(0.2, 1))
            left = int((size[1] - width) * rng.uniform(0.1, 0.9))
        elif kind == "dual":
            width = int(size[1] * rng.uniform(0.44, 0.495))
            height = min(int(width * rng.uniform(0.8, 1.6)), size[0])
            top = (size[0] - height) // 2
            left = int(rng.choice((0, size[1] - width)))
        place = (top, left, height, width)
        stretch = np.exp(rng.uniform(-0.65, 0.65)) if rng.random() < 0.3 else 1.0
        coarse = rng.uniform(0.35, 0.7) if rng.random() < 0.12 else 1.0  # an old archive, scaled up
        shown = (height * coarse * np.sqrt(stretch), width * coarse / np.sqrt(stretch))
        cut = np.exp(rng.uniform(np.log(0.5), 0, 2)) if kind == "cropped" else np.ones(2)
        window = tuple(max(int(side), _MIN_SIDE // 2) for side in shown)
        canvas = tuple(max(round(w / c), w, _MIN_SIDE) for w, c in zip(window, cut, strict=True))
        return cls(kind, size, (canvas[0], canvas[1]), (window[0], window[1]), place)

    @property
    def scale(self) -> tuple[float, float]:
        """(row, column) pixels of the image per pixel of the canvas."""
        return self.place[2] / self.window[0], self.place[3] / self.window[1]

    def present(
        self, rng: np.random.Generator, picture: GrayImage, inside: BoolMap, masks: list[BoolMap]
    ) -> tuple[GrayImage, list[BoolMap]]:
        """The image and its masks; a mask may become empty where the image leaves it out.

        Args:
            rng: source of randomness.
            picture: the simulated picture, of the canvas's size.
            inside: bool, the field of view in the picture.
            masks: of the structures in the picture.
        """
        window = self._window(rng, inside, masks)
        pixels = self._fit(picture[window])
        shown = [self._shown(mask[window]) for mask in masks]
        view = self._shown(inside[window])
        image = np.full(self.size, self._background(rng), np.uint8)
        top, left, height, width = self.place
        image[top : top + height, left : left + width] = pixels
        if self.kind == "dual":
            self._second(rng, image, pixels)
        draw_in_picture(rng, image, view, shown)
        if self.kind == "screen":
            draw_round_picture(rng, image, self.place)
        return image, shown

    def _window(
        self, rng: np.random.Generator, inside: BoolMap, masks: list[BoolMap]
    ) -> tuple[slice, slice]:
        """A window of the canvas round a point of a structure; the one of several with the least black."""
        room = (self.canvas[0] - self.window[0], self.canvas[1] - self.window[1])
        if not any(room):
            return slice(0, self.window[0]), slice(0, self.window[1])
        target = masks[int(rng.integers(len(masks)))] if masks else inside
        rows, columns = np.nonzero(target if target.any() else inside)
        best, most = (0, 0), -1.0
        for _ in range(6):
            k = int(rng.integers(len(rows)))
            corner = (
                int(np.clip(rows[k] - self.window[0] * rng.uniform(0.25, 0.75), 0, room[0])),
                int(np.clip(columns[k] - self.window[1] * rng.uniform(0.25, 0.75), 0, room[1])),
            )
            part = inside[corner[0] :: 4, corner[1] :: 4]
            share = float(part[: self.window[0] // 4, : self.window[1] // 4].mean())
            if share > most:
                best, most = corner, share
        return (
            slice(best[0], best[0] + self.window[0]), slice(best[1], best[1] + self.window[1])
        )  # fmt: skip

    def _fit(self, part: GrayImage) -> GrayImage:
        """Scale the window to its place."""
        size = (self.place[3], self.place[2])
        if part.shape == size[::-1]:
            return part
        smooth = cv2.INTER_AREA if size[0] < part.shape[1] else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, size, interpolation=smooth), np.uint8)

    def _shown(self, mask: BoolMap) -> BoolMap:
        """The window of a mask in the image."""
        whole = np.zeros(self.size, bool)
        top, left, height, width = self.place
        fitted = self._fit(mask.view(np.uint8) * np.uint8(255)) > 127
        whole[top : top + height, left : left + width] = fitted
        return whole

    def _background(self, rng: np.random.Generator) -> int:
        return int(rng.integers(12, 70)) if self.kind == "screen" and rng.random() < 0.25 else 0

    def _second(self, rng: np.random.Generator, image: GrayImage, pixels: GrayImage) -> None:
        """The same view a second time, with another gray map, beside the first."""
        top, left, height, width = self.place
        other = 0 if left else self.size[1] - width
        curve = 255 * np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.4))
        image[top : top + height, other : other + width] = curve.astype(np.uint8)[pixels]
