"""ViewTransform maps scan pixels to model pixels and back; no other code does.

A view is a rectangle of the scan: all of it, or a square around an object. It is either scaled so that its
longer side fills the model's square input, with padding at the bottom and right (Kirillov et al. 2023,
"Segment Anything", section 3 and its published code), or stretched to the square, as MedSAM does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError
from ultrasam.resampling import resize_area, resize_linear

PixelT = TypeVar("PixelT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class ViewTransform:
    """The map between a rectangle of a scan and the model's square input.

    Coordinates are (x, y). In the scan and in the input, the origin is the top-left corner of the top-left
    pixel, so a pixel's center lies at + 0.5.

    Attributes:
        height, width: the scan's size in pixels.
        size: side of the input in model pixels.
        left, top, right, bottom: the view in scan pixels (integers). It may extend beyond the scan; the input
            is black there.
        flipped: the input is mirrored left to right.
        stretch: stretch the view to the square; otherwise keep its aspect ratio and pad.
    """

    height: int
    width: int
    size: int
    left: int
    top: int
    right: int
    bottom: int
    flipped: bool = False
    stretch: bool = False

    @classmethod
    def full(cls, height: int, width: int, *, size: int, stretch: bool = False) -> ViewTransform:
        """The view of a whole scan of ``height`` × ``width`` pixels."""
        return cls(height, width, size, 0, 0, width, height, stretch=stretch)

    def crop_around(self, box: npt.ArrayLike, *, margin: float) -> ViewTransform:
        """A square view around ``box`` (x0, y0, x1, y1 in the scan); its side is ``margin`` times the box's
        longer side.

        The side is at least 16 pixels and at most the scan's longer side. Where it fits, the view is shifted
        to stay inside the scan, not cropped.
        """
        x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
        height, width = self.height, self.width
        side = round(max(x1 - x0, y1 - y0) * margin)
        side = int(np.clip(side, min(16, max(height, width)), max(height, width)))
        left = _fit_start((x0 + x1) / 2 - side / 2, side, width)
        top = _fit_start((y0 + y1) / 2 - side / 2, side, height)
        return replace(
            self, left=left, top=top, right=left + side, bottom=top + side, flipped=False
        )

    def hflip(self) -> ViewTransform:
        """The same view, mirrored left to right."""
        return replace(self, flipped=not self.flipped)

    @property
    def scale(self) -> float:
        """Model pixels per scan pixel, along the view's longer side."""
        return self.size / max(self.right - self.left, self.bottom - self.top)

    @property
    def resized_shape(self) -> tuple[int, int]:
        """Height and width of the view in model pixels, without padding."""
        if self.stretch:
            return self.size, self.size
        return (
            max(1, int((self.bottom - self.top) * self.scale + 0.5)),
            max(1, int((self.right - self.left) * self.scale + 0.5)),
        )

    def coverage(self, patch: int) -> npt.NDArray[np.float32]:
        """The fraction of each input patch that the view covers, [size / patch, size / patch]."""
        height, width = self.resized_shape
        edges = np.arange(self.size // patch) * patch
        down, across = (np.clip((n - edges) / patch, 0, 1) for n in (height, width))
        return np.outer(down, across).astype(np.float32)

    def points_to_model(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scan coordinates [..., 2] to model coordinates."""
        xy = np.asarray(points, dtype=np.float64) - (self.left, self.top)
        return self._mirror(xy) * self._factors

    def points_to_scan(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Model coordinates [..., 2] to scan coordinates."""
        xy = np.asarray(points, dtype=np.float64) / self._factors
        return np.add(self._mirror(xy), (self.left, self.top))

    def boxes_to_model(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Boxes [..., 4] as x0, y0, x1, y1 from the scan to the model."""
        corners = np.asarray(boxes, dtype=np.float64)
        moved = self.points_to_model(corners.reshape(*corners.shape[:-1], 2, 2))
        if self.flipped:  # the left edge has become the right one
            moved = np.stack([moved[..., ::-1, 0], moved[..., 1]], axis=-1)
        return moved.reshape(corners.shape)

    def crop(self, pixels: npt.NDArray[PixelT], *, fill: float = 0) -> npt.NDArray[PixelT]:
        """Crop the view from a frame [H, W, …], in scan pixels; flipped if the view is, ``fill`` outside.

        Raises:
            PromptError: The frame's size differs from this view's scan.
        """
        if pixels.shape[:2] != (self.height, self.width):
            raise PromptError(
                f"The frame is {pixels.shape[1]} × {pixels.shape[0]} pixels, but this view is for "
                f"{self.width} × {self.height}; call set_image again."
            )
        y0, y1 = max(self.top, 0), min(self.bottom, self.height)
        x0, x1 = max(self.left, 0), min(self.right, self.width)
        inside = pixels[y0:y1, x0:x1]
        before_after = [(y0 - self.top, self.bottom - y1), (x0 - self.left, self.right - x1)]
        if any(map(any, before_after)):
            before_after += [(0, 0)] * (pixels.ndim - 2)
            inside = np.pad(inside, before_after, constant_values=fill)
        return np.ascontiguousarray(inside[:, ::-1] if self.flipped else inside)

    def logits_to_scan(
        self, logits: npt.NDArray[np.float32], *, outside: float = -32.0
    ) -> npt.NDArray[np.float32]:
        """Low-res logits [h, w] of the whole input to the scan's pixels [H, W], bilinear.

        Scan pixels outside the view get ``outside``. As in the published code, logits are upscaled to the
        input's size, cropped to remove the padding, then resized to the scan.
        """
        full_size = resize_linear(logits, (self.size, self.size))
        height, width = self.resized_shape
        shape = (self.right - self.left, self.bottom - self.top)
        view = resize_linear(full_size[:height, :width], shape[::-1])
        if self.flipped:
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
        """Logits in the scan's pixels [H, W] to a mask prompt [size, size] of the input."""
        view = self.crop(logits, fill=outside)
        height = max(1, round(self.resized_shape[0] * size / self.size))
        width = max(1, round(self.resized_shape[1] * size / self.size))
        resize = resize_area if height < view.shape[0] else resize_linear
        out = np.full((size, size), outside, dtype=np.float32)
        out[:height, :width] = resize(view, (height, width))
        return out

    def _mirror(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Coordinates within the view, in scan pixels; mirrored if the view is flipped."""
        if not self.flipped:
            return xy
        return np.stack([self.right - self.left - xy[..., 0], xy[..., 1]], axis=-1)

    @property
    def _factors(self) -> npt.NDArray[np.float64]:
        height, width = self.resized_shape
        return np.array([width / (self.right - self.left), height / (self.bottom - self.top)])


def _fit_start(start: float, side: int, length: int) -> int:
    """The first pixel of a view of ``side`` pixels: shifted inside ``length``, or centered if longer."""
    if side >= length:
        return -((side - length) // 2)
    return int(np.clip(round(start), 0, length - side))
