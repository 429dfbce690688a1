"""Letterbox: the only code that maps scan pixels to model pixels and back.

A view of the scan (all of it, or a square zoomed around an object) is scaled so that its longest
side fills the model's square canvas; what remains at the bottom and right is padding (Kirillov et
al. 2023, "Segment Anything", section 3 and its published code).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError

PixelT = TypeVar("PixelT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A rectangle of a scan laid on a square canvas of ``size`` model pixels.

    Coordinates are (x, y) with the origin at the top-left corner of the top-left pixel, in the scan
    as on the canvas, so that a pixel's centre lies at + 0.5.

    Attributes:
        height, width: the scan's size in pixels.
        size: the canvas's side in model pixels.
        left, top, right, bottom: the view in scan pixels (integers; may reach beyond the scan, where
            the canvas is then black).
        mirrored: the view lies on the canvas with left and right exchanged.
    """

    height: int
    width: int
    size: int
    left: int
    top: int
    right: int
    bottom: int
    mirrored: bool = False

    @classmethod
    def whole(cls, height: int, width: int, *, size: int) -> Letterbox:
        """The view of a whole scan of ``height`` × ``width`` pixels."""
        return cls(height, width, size, 0, 0, width, height)

    @classmethod
    def around(
        cls, box: npt.NDArray[np.float64], height: int, width: int, *, size: int, margin: float
    ) -> Letterbox:
        """A square view around ``box`` (x0, y0, x1, y1), its side ``margin`` × the box's longer side.

        The side is at most the scan's longer side, at least 16 pixels; the view is moved, not cut, to
        stay inside the scan where it fits.
        """
        x0, y0, x1, y1 = (float(v) for v in box)
        side = round(max(x1 - x0, y1 - y0) * margin)
        side = int(np.clip(side, min(16, max(height, width)), max(height, width)))
        left = _placed((x0 + x1) / 2 - side / 2, side, width)
        top = _placed((y0 + y1) / 2 - side / 2, side, height)
        return cls(height, width, size, left, top, left + side, top + side)

    def mirror(self) -> Letterbox:
        """The same view with left and right exchanged on the canvas."""
        return replace(self, mirrored=not self.mirrored)

    @property
    def scale(self) -> float:
        """Model pixels per scan pixel."""
        return self.size / max(self.right - self.left, self.bottom - self.top)

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of the view on the canvas, in model pixels, padding left out."""
        return (
            max(1, int((self.bottom - self.top) * self.scale + 0.5)),
            max(1, int((self.right - self.left) * self.scale + 0.5)),
        )

    def points_to_model(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scan coordinates [..., 2] to canvas coordinates."""
        xy = np.asarray(points, dtype=np.float64) - (self.left, self.top)
        return self._turned(xy) * self._factors

    def points_to_scan(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Canvas coordinates [..., 2] to scan coordinates."""
        xy = np.asarray(points, dtype=np.float64) / self._factors
        return np.add(self._turned(xy), (self.left, self.top))

    def boxes_to_model(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Boxes [..., 4] as x0, y0, x1, y1 from the scan to the canvas."""
        corners = np.asarray(boxes, dtype=np.float64)
        moved = self.points_to_model(corners.reshape(*corners.shape[:-1], 2, 2))
        if self.mirrored:  # what was the left side is the right one
            moved = np.stack([moved[..., ::-1, 0], moved[..., 1]], axis=-1)
        return moved.reshape(corners.shape)

    def image_to_model(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A frame [H, W] or [H, W, 3] to the view on the canvas [h, w] or [h, w, 3], unpadded.

        Averages areas when shrinking, so that speckle does not alias; bilinear when enlarging.
        """
        if pixels.shape[:2] != (self.height, self.width):
            raise PromptError(
                f"The frame is {pixels.shape[0]} × {pixels.shape[1]} pixels, but this view is of "
                f"{self.height} × {self.width}; call set_image again."
            )
        view = self._cut(pixels)
        height, width = self.inner
        shrinking = height < view.shape[0] or width < view.shape[1]
        flag = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(view, (width, height), interpolation=flag), dtype=np.uint8)

    def logits_to_scan(
        self, logits: npt.NDArray[np.float32], *, outside: float = -32.0
    ) -> npt.NDArray[np.float32]:
        """Low-res logits [h, w] of the whole canvas to the scan's pixels [H, W], bilinear.

        Scan pixels outside the view get ``outside``. As in the published code: up to the canvas,
        padding cut away, then to the scan.
        """
        canvas = cv2.resize(logits, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        height, width = self.inner
        shape = (self.right - self.left, self.bottom - self.top)
        view = cv2.resize(canvas[:height, :width], shape, interpolation=cv2.INTER_LINEAR)
        if self.mirrored:
            view = view[:, ::-1]
        if (self.left, self.top, *shape) == (0, 0, self.width, self.height):
            return np.asarray(view, dtype=np.float32)
        full = np.full((self.height, self.width), outside, dtype=np.float32)
        y0, y1 = max(self.top, 0), min(self.bottom, self.height)
        x0, x1 = max(self.left, 0), min(self.right, self.width)
        full[y0:y1, x0:x1] = view[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        return full

    def logits_to_model(
        self, logits: npt.NDArray[np.float32], *, size: int, outside: float = -32.0
    ) -> npt.NDArray[np.float32]:
        """Logits in the scan's pixels [H, W] to a mask prompt [size, size] of the canvas."""
        view = self._cut(logits, fill=outside)
        height = max(1, round(self.inner[0] * size / self.size))
        width = max(1, round(self.inner[1] * size / self.size))
        shrinking = height < view.shape[0]
        flag = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        canvas = np.full((size, size), outside, dtype=np.float32)
        canvas[:height, :width] = cv2.resize(view, (width, height), interpolation=flag)
        return canvas

    def _turned(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Coordinates within the view, in scan pixels, from its other side where it is mirrored."""
        if not self.mirrored:
            return xy
        return np.stack([self.right - self.left - xy[..., 0], xy[..., 1]], axis=-1)

    @property
    def _factors(self) -> npt.NDArray[np.float64]:
        height, width = self.inner
        return np.array([width / (self.right - self.left), height / (self.bottom - self.top)])

    def _cut(self, pixels: npt.NDArray[PixelT], *, fill: float = 0) -> npt.NDArray[PixelT]:
        y0, y1 = max(self.top, 0), min(self.bottom, self.height)
        x0, x1 = max(self.left, 0), min(self.right, self.width)
        inside = pixels[y0:y1, x0:x1]
        before_after = [(y0 - self.top, self.bottom - y1), (x0 - self.left, self.right - x1)]
        if any(map(any, before_after)):
            before_after += [(0, 0)] * (pixels.ndim - 2)
            inside = np.pad(inside, before_after, constant_values=fill)
        return np.ascontiguousarray(inside[:, ::-1] if self.mirrored else inside)


def _placed(start: float, side: int, length: int) -> int:
    """The first pixel of a view of ``side``, moved inside ``length`` or centred on it."""
    if side >= length:
        return -((side - length) // 2)
    return int(np.clip(round(start), 0, length - side))
