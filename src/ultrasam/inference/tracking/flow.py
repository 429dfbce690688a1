"""Dense optical flow within a window of a frame, and the displacements that it adds up to.

All coordinates are indices of working pixels: those of the whole frame, scaled by the factor of a `Scale`;
(0, 0) is the center of the top-left one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Gray

Float32 = npt.NDArray[np.float32]

_BLUR = 1.0  # working pixels; speckle is finer than the structures that are followed
_SMOOTH = 4.0  # working pixels; tissue moves with its neighbors
_AROUND = 6.0  # working pixels; as far, one flow is preferred to another
_PATCH = 8  # working pixels; OpenCV's flow needs some patches in each direction
_LEAST = 4 * _PATCH


@dataclass(frozen=True, slots=True)
class Scale:
    """Working pixels per pixel of the scan, at most 1, and the size of a frame of the scan."""

    factor: float
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame in working pixels."""
        return (
            max(_LEAST, round(self.height * self.factor)),
            max(_LEAST, round(self.width * self.factor)),
        )

    @property
    def steps(self) -> tuple[float, float]:
        """Working pixels per pixel of the scan along x and y."""
        rows, columns = self.shape
        return columns / self.width, rows / self.height

    def picture(self, frame: Gray) -> Float32:
        """A frame in working pixels, without its speckle."""
        rows, columns = self.shape
        shrinks = rows < self.height
        small = cv2.resize(
            frame, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        return np.asarray(cv2.GaussianBlur(small, (0, 0), _BLUR), np.float32)

    def to_working(self, points: npt.NDArray[np.floating]) -> Float32:
        """Indices (x, y) of pixels of the scan as those of working pixels."""
        return np.asarray((points + 0.5) * np.array(self.steps) - 0.5, np.float32)

    def to_scan(self, points: npt.NDArray[np.floating]) -> Float32:
        """Indices (x, y) of working pixels as those of pixels of the scan."""
        return np.asarray((points + 0.5) / np.array(self.steps) - 0.5, np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of working pixels."""

    x0: int
    y0: int
    width: int
    height: int

    @classmethod
    def around(cls, box: npt.NDArray[np.floating], margin: float, shape: tuple[int, int]) -> Window:
        """The box x0, y0, x1, y1 with a margin, both in working pixels, within a frame of a shape."""
        rows, columns = shape
        x0, x1 = _stretched(float(box[0]) - margin, float(box[2]) + margin, columns)
        y0, y1 = _stretched(float(box[1]) - margin, float(box[3]) + margin, rows)
        return cls(x0, y0, x1 - x0, y1 - y0)

    def grid(self) -> Float32:
        """The indices (x, y) of its pixels, [h, w, 2]."""
        y, x = np.mgrid[self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]
        return np.stack([x, y], axis=-1).astype(np.float32)

    def of(self, picture: Float32) -> Float32:
        """The part of a picture in it."""
        return np.ascontiguousarray(
            picture[self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]
        )


def _stretched(low: float, high: float, limit: int) -> tuple[int, int]:
    """A range of whole numbers within 0 … ``limit``, of at least `_LEAST`."""
    first = int(np.clip(np.floor(low), 0, limit - _LEAST))
    last = int(np.clip(np.ceil(high), first + _LEAST, limit))
    return first, last


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Where the pixels of a window come from in an earlier frame.

    Attributes:
        window: in the later frame.
        values: [h, w, 2] float32, displacement (x, y) to the earlier frame.
    """

    window: Window
    values: Float32

    @classmethod
    def none(cls, window: Window) -> Field:
        """Without motion."""
        return cls(window, np.zeros((window.height, window.width, 2), np.float32))

    def at(self, points: Float32) -> Float32:
        """The displacement at points [..., 2]; outside the window, that of its nearest pixel."""
        local = points - np.array([self.window.x0, self.window.y0], np.float32)
        return sample(self.values, local)


def sample(picture: Float32, points: Float32) -> Float32:
    """The values of a picture [H, W] or [H, W, 2] at points [h, w, 2] of (x, y), interpolated linearly."""
    return np.asarray(
        cv2.remap(  # type: ignore[call-overload]
            picture, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )


class FlowEstimator:
    """Dense inverse search (Kroeger et al., ECCV 2016), as OpenCV has it."""

    def __init__(self) -> None:
        # Two, because OpenCV 5.0 crashes if one search is given a guess after it had none for that size.
        self._search, self._guided = (
            cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
            for _ in range(2)
        )

    def flow(self, frame: Float32, earlier: Float32, start: Float32 | None = None) -> Float32:
        """The flow between two pictures [h, w] of gray levels, [h, w, 2]: where the earlier one shows what
        the frame shows.

        Args:
            frame, earlier: the pictures.
            start: a guess.
        """
        now, then = _bytes(frame, earlier)
        if start is None:
            found = self._search.calc(now, then, None)
        else:
            found = self._guided.calc(now, then, np.array(start, order="C"))  # which it writes to
        return np.asarray(cv2.GaussianBlur(found, (0, 0), _SMOOTH))


def _bytes(*pictures: Float32) -> list[Gray]:
    """The search takes bytes: of a dark window, too, it gets all 256 of them."""
    low = min(float(picture.min()) for picture in pictures)
    high = max(*(float(picture.max()) for picture in pictures), low + 1)
    return [((picture - low) * (255 / (high - low)) + 0.5).astype(np.uint8) for picture in pictures]


def added(flow: Float32, field: Field, window: Window) -> Field:
    """A flow within a window to a picture that a field explains, and that field, as one field."""
    return Field(window, flow + field.at(window.grid() + flow))


def difference(frame: Float32, picture: Float32) -> Float32:
    """How much two pictures [h, w] differ around each pixel, in gray levels."""
    return np.asarray(cv2.GaussianBlur(np.abs(frame - picture), (0, 0), _AROUND))


def signed_distance(mask: BoolMask) -> Float32:
    """The distance [H, W] of each pixel's center to the mask's border, positive inside."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), np.float32)
