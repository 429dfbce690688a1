"""Carry one object's mask from its key frame through the frames that follow, by optical flow from the key.

In each frame, the key's picture is warped as the object moved until the frame before, and the flow to that
warped picture is added to the motion. The flow is thus small and of equal scale however far the object has
moved or shrunk, and as it always leads to the pixels of the key, its errors hardly add up. Beside it, the
flow is estimated directly from the key; around each pixel, the one that explains the frame better counts
more. Where the way back does not fit (forward-backward error), or the warped picture does not look like the
frame, the key is too different by now: the frame before takes its place if the flow from there fits, as the
first link of a chain. A chain keeps the errors of its links, so the key takes its place back when the frame
looks like it again: organs move to and fro.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.pixels import Gray
from ultrasam.inference.tracking.flow import (
    Field,
    Float32,
    FlowEstimator,
    Scale,
    Window,
    added,
    difference,
    sample,
    signed_distance,
)

_LONGEST = 384  # working pixels; the window around an object has at most about this size
_MARGIN = 1.0  # of the object's longer side, around it
_LEAST_MARGIN = 64  # working pixels
_CHOICE = 4.0  # power of the difference by which one flow is preferred to another
_AROUND_PART = 0.3  # of the object's diameter: the surroundings that the likeness is of
_LEAST_LIKENESS, _USUAL_PART = 0.3, 0.7
_REMEMBERED = 9  # frames that tell what is usual
_AS_LIKE = 0.7  # of the likeness with the chain: speckle makes a key that is farther away less like
_FITS = 1.0  # pixels of the scan, or …
_FITS_PART = 0.02  # … of the object's diameter: up to this error, a point is found again


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A mask that was carried to a frame.

    Attributes:
        distance: [H, W] float32, signed distance to the border in pixels of the scan, positive inside; far
            from the object, only its sign is right.
        error: median forward-backward error on the border, in pixels of the scan.
        found: fraction of the border's points that the flow back finds again.
        likeness: correlation of the key's picture of the object and its surroundings, moved as the object
            was, with the frame's; -1 to 1.
        chained: the frame that took the key's place in this step, if any.
        lost: whether the frame seems to show something else.
    """

    distance: Float32
    error: float
    found: float
    likeness: float
    chained: int | None = None
    lost: bool = False

    @property
    def confidence(self) -> float:
        """The smaller of what is found again and the likeness, 0 to 1."""
        return max(0.0, min(self.found, self.likeness))

    @property
    def mask(self) -> BoolMask:
        return np.asarray(self.distance > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """A frame and the anchor's picture, moved to look like it, in a window; all [h, w] but the field."""

    field: Field
    error: Float32
    now: Float32
    warped: Float32


class Carrier:
    """Carries one object's mask from frame to frame.

    Args:
        frame: [H, W] of the key.
        mask: [H, W] of the object there; not empty.
        index: of the key frame.
        limit: forward-backward error on the border, in pixels of the scan, from which the key is replaced.
    """

    def __init__(self, frame: Gray, mask: BoolMask, index: int, limit: float) -> None:
        height, width = mask.shape
        box = bounding_box(mask)
        longest = float(max(box[2] - box[0], box[3] - box[1]))
        self.scale = Scale(min(1.0, _LONGEST / (longest * (1 + 2 * _MARGIN))), height, width)
        self.diameter = diameter(mask)
        self.limit = limit
        self.key = signed_distance(mask)
        self.anchor = self.last = index
        self._search = FlowEstimator()
        self._likenesses: deque[float] = deque(maxlen=_REMEMBERED)
        self._index = index
        self._key_picture = self._anchor_picture = self._last_picture = self.scale.picture(frame)
        self._box = self._working_box(mask)
        window = self._window()
        self._to_key = Field.none(window)  # from the anchor
        self._to_anchor = Field.none(window)  # from the last frame
        self._straight: Field | None = None  # from the last frame to the key, beside a chain

    def step(self, frame: Gray, index: int) -> Carried:
        """Carry the mask to the next frame; frames may be left out before it."""
        picture = self.scale.picture(frame)
        match = self._matched(picture, self._anchor_picture, self._to_anchor)
        carried = self._carried(match, self._to_key)
        if self._straight is not None:
            match, carried = self._from_key_again(picture, self._straight, match, carried)
        if self.anchor != self.last and not self.is_like(carried):
            to_key = self._joined(self._to_anchor)
            match_here = self._matched(picture, self._last_picture, Field.none(match.field.window))
            here = self._carried(match_here, to_key)
            if self.is_like(here):
                if self._straight is None:
                    self._straight = match.field
                self.anchor, self._anchor_picture, self._to_key = (
                    self.last,
                    self._last_picture,
                    to_key,
                )
                match, carried = match_here, replace(here, chained=self.last)
        carried = replace(carried, lost=not self.is_like(carried))
        self._to_anchor, self._last_picture, self.last = match.field, picture, index
        self._likenesses.append(carried.likeness)
        if carried.mask.any():
            self._box = self._working_box(carried.mask)
        return carried

    def _from_key_again(
        self, picture: Float32, straight: Field, match: _Match, carried: Carried
    ) -> tuple[_Match, Carried]:
        """What is carried without the links of the chain, if the frame looks like the key again."""
        nothing = Field.none(match.field.window)
        match_key = self._matched(picture, self._key_picture, straight)
        of_key = self._carried(match_key, nothing)
        if not self.is_like(of_key) or of_key.likeness < _AS_LIKE * carried.likeness:
            self._straight = match_key.field
            return match, carried
        self.anchor, self._anchor_picture, self._to_key = self._index, self._key_picture, nothing
        self._straight = None
        return match_key, of_key

    def is_like(self, carried: Carried) -> bool:
        """Whether a frame shows what its anchor showed, so that its mask can be trusted."""
        return carried.error <= self.limit and carried.likeness >= self.least_likeness

    @property
    def least_likeness(self) -> float:
        """Below, the object is lost: 70 % of what was usual in the last frames, but at least 0.3."""
        usual = float(np.median(list(self._likenesses))) if self._likenesses else 0.0
        return max(_LEAST_LIKENESS, _USUAL_PART * usual)

    def to_key(self, values: Float32) -> Float32:
        """A picture [H, W] of the key frame, moved as the object was until the last frame."""
        points = self._key_points(self._to_anchor, self._to_key)
        moved = sample(values, self.scale.to_scan(points))
        return self._in_scan(moved, self._to_anchor.window, fill=0.0)

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """What `restore` needs besides the frames."""
        fields = {"to_key": self._to_key, "to_anchor": self._to_anchor}
        if self._straight is not None:
            fields["straight"] = self._straight
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "frames": np.array([self.anchor, self.last]),
            "box": self._box,
            "likenesses": np.array(list(self._likenesses)),
        }
        for name, field in fields.items():
            arrays[name] = field.values
            arrays[f"{name}_window"] = np.array([field.window.x0, field.window.y0])
        return arrays

    def restore(self, state: dict[str, npt.NDArray[np.generic]], anchor: Gray, last: Gray) -> None:
        """Go on from a state, whose anchor and last frame are given."""
        self.anchor, self.last = (int(n) for n in state["frames"])
        self._box = np.asarray(state["box"], np.float64)
        self._likenesses = deque(state["likenesses"].tolist(), maxlen=_REMEMBERED)
        self._anchor_picture = self.scale.picture(anchor)
        self._last_picture = self.scale.picture(last)
        self._to_key, self._to_anchor = (
            _field(state[name], state[f"{name}_window"]) for name in ("to_key", "to_anchor")
        )
        if "straight" in state:
            self._straight = _field(state["straight"], state["straight_window"])

    def _matched(self, picture: Float32, earlier: Float32, field: Field) -> _Match:
        """Match a frame with an earlier one, given the field to that from the frame before."""
        window = self._window()
        grid = window.grid()
        now, guess = window.of(picture), field.at(grid)
        step = self._search.flow(now, sample(earlier, grid + guess))
        by_steps = added(step, field, window).values
        middle = np.median(guess.reshape(-1, 2), axis=0).astype(np.float32)
        there = sample(earlier, grid + middle)
        direct = middle + self._search.flow(now, there, guess - middle)
        found = _better(now, earlier, grid, (by_steps, direct))
        warped = sample(earlier, grid + found)
        back = self._search.flow(warped, now)
        error = np.asarray(np.hypot(back[..., 0], back[..., 1]))
        return _Match(Field(window, found), error, now, warped)

    def _key_points(self, field: Field, to_key: Field) -> Float32:
        points = field.window.grid() + field.values
        return points + to_key.at(points)

    def _joined(self, field: Field) -> Field:
        """From the last frame to the key, by way of the anchor."""
        grid = field.window.grid()
        return Field(field.window, self._key_points(field, self._to_key) - grid)

    def _carried(self, match: _Match, to_key: Field) -> Carried:
        points = self._key_points(match.field, to_key)
        distance = sample(self.key, self.scale.to_scan(points))
        whole = self._in_scan(distance, match.field.window, fill=-float(max(self.key.shape)))
        border = _border(distance > 0)
        if not border.any():
            return Carried(whole, np.inf, 0.0, -1.0)
        errors = match.error[border] / min(self.scale.steps)
        fits = max(_FITS, _FITS_PART * self.diameter)
        around = distance > -_AROUND_PART * self.diameter
        return Carried(
            whole,
            float(np.median(errors)),
            float((errors <= fits).mean()),
            _correlation(match.now[around], match.warped[around]),
        )

    def _in_scan(self, values: Float32, window: Window, *, fill: float) -> Float32:
        """Values in a window as a picture of the scan's size."""
        height, width = self.scale.height, self.scale.width
        whole = np.full((height, width), fill, np.float32)
        across, down = self.scale.steps
        x0, y0 = int(np.ceil(window.x0 / across)), int(np.ceil(window.y0 / down))
        x1 = min(width, int(np.floor((window.x0 + window.width) / across)))
        y1 = min(height, int(np.floor((window.y0 + window.height) / down)))
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        points = self.scale.to_working(np.stack([x, y], axis=-1))
        whole[y0:y1, x0:x1] = sample(values, points - np.array([window.x0, window.y0], np.float32))
        return whole

    def _window(self) -> Window:
        longest = float(max(self._box[2] - self._box[0], self._box[3] - self._box[1]))
        margin = max(_LEAST_MARGIN, _MARGIN * longest)
        return Window.around(self._box, margin, self.scale.shape)

    def _working_box(self, mask: BoolMask) -> npt.NDArray[np.float64]:
        across, down = self.scale.steps
        return np.asarray(bounding_box(mask) * np.array([across, down, across, down]))


def _correlation(first: Float32, second: Float32) -> float:
    """Pearson's; 1 if both are even."""
    deviations = [part - part.mean() for part in (first, second)]
    scale = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return float((deviations[0] * deviations[1]).sum()) / scale if scale > 1e-6 else 1.0


def _better(
    now: Float32, earlier: Float32, grid: Float32, fields: tuple[Float32, Float32]
) -> Float32:
    """Of two fields, around each pixel mostly that by which the earlier picture looks more like this one.

    That by steps stands large changes of scale; the direct one remembers no errors of earlier frames.
    """
    costs = [difference(now, sample(earlier, grid + one)) + 0.1 for one in fields]
    powers = [cost**_CHOICE for cost in costs]
    first = (powers[1] / (powers[0] + powers[1]))[..., None]
    return np.asarray(first * fields[0] + (1 - first) * fields[1], np.float32)


def diameter(mask: BoolMask) -> float:
    """That of the circle of equal area, in pixels."""
    return 2 * float(np.sqrt(np.count_nonzero(mask) / np.pi))


def _border(mask: BoolMask) -> BoolMask:
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(mask & (inner == 0))


def _field(values: npt.NDArray[np.generic], origin: npt.NDArray[np.generic]) -> Field:
    array = np.asarray(values, np.float32)
    height, width = array.shape[:2]
    return Field(Window(int(origin[0]), int(origin[1]), width, height), array)
