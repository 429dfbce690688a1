"""One object's way through the frames of a segment, in one direction, from the key at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ultrasam.images.masks import BoolMask, components, fill_holes, largest_component
from ultrasam.images.pixels import gray
from ultrasam.inference.postprocessing import scanned_area
from ultrasam.inference.tracking.carrier import Carried, Carrier, diameter
from ultrasam.inference.tracking.corrector import FrameNetwork, KeyView, Opinion, correct
from ultrasam.inference.tracking.flow import Float32
from ultrasam.inference.tracking.keys import Segment
from ultrasam.inference.tracking.results import FrameMask, Origin, between
from ultrasam.inference.tracking.source import FrameSource, SeenFrame
from ultrasam.inference.tracking.stops import Stop, StopRules, error_limit

Correction = Literal["off", "doubtful", "all"]
"""In which frames the network corrects the carried mask."""

_DOUBTFUL = 0.6  # confidence of the carried mask
_MOST_UNREADABLE = 5  # frames in a row; an object may be anywhere after more
State = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What all passes of a run share.

    Attributes:
        source: the frames.
        network: corrects and checks.
        correction: where.
        stopping: whether the rules stop a pass; without, only an empty mask does.
    """

    source: FrameSource
    network: FrameNetwork
    correction: Correction
    stopping: bool = True


class Pass:
    """Follows an object through the frames of a segment.

    Args:
        segment: the frames.
        key: the key frame at its end.
        mask: of the key.
        frame: the key frame.
    """

    def __init__(
        self, segment: Segment, key: int, mask: FrameMask, tools: Tools, frame: SeenFrame
    ) -> None:
        self.segment = segment
        self.key = key
        self.stop: Stop | None = None
        self._tools = tools
        picture = frame.gray
        if picture is None:
            self.stop = Stop(segment.object, key, key, "the key frame cannot be read")
            return
        self._shape: tuple[int, int] = (picture.shape[0], picture.shape[1])
        self._last = key, mask
        self._unread: list[int] = []
        in_key = mask.mask(self._shape)
        if not in_key.any():
            self.stop = Stop(segment.object, key, key, "the key's mask is empty")
            return
        self._is_filled = bool(np.array_equal(fill_holes(in_key), in_key))
        self._is_whole = len(components(in_key)) == 1
        limit = error_limit(diameter(in_key))
        self._carrier = Carrier(picture, in_key, key, limit)
        sector = scanned_area(frame.pixels) if frame.pixels is not None else None
        self._rules = StopRules(limit, in_key, sector)
        self._view: KeyView | None = None
        self._viewed = False

    def step(self, seen: SeenFrame) -> list[tuple[int, FrameMask]]:
        """Follow the object to the next frame; returns the masks that are found by it.

        They are none if the frame cannot be read, and several if the ones before could not.
        """
        if self.stop is not None:
            return []
        picture = seen.gray
        if picture is None or seen.pixels is None:
            self._unread.append(seen.index)
            if len(self._unread) > _MOST_UNREADABLE:
                self._end(self._unread[0], f"{len(self._unread)} frames in a row cannot be read")
            return []
        carried = self._carrier.step(picture, seen.index)
        distance, opinion = self._corrected(seen, carried)
        mask = self._tidied(np.asarray(distance > 0))
        reason = self._rules.reason(carried, mask, self._view, opinion)
        if reason is not None and (self._tools.stopping or not mask.any()):
            self._end(self._unread[0] if self._unread else seen.index, reason)
            return []
        changed = distance is not carried.distance
        origin = Origin("propagated", (self.key,), changed)
        confidence = carried.confidence
        if opinion is not None:
            confidence = min(confidence, opinion.agreement)
        result = FrameMask.of(mask, confidence, origin)
        found = [*self._interpolated(seen.index, result), (seen.index, result)]
        self._last, self._unread = (seen.index, result), []
        return found

    def _tidied(self, mask: BoolMask) -> BoolMask:
        """Without pieces and holes that the key does not have."""
        if self._is_whole:
            mask = largest_component(mask)
        return fill_holes(mask) if self._is_filled else mask

    def _end(self, frame: int, reason: str) -> None:
        self.stop = Stop(self.segment.object, frame, self.key, reason)

    def _interpolated(self, index: int, mask: FrameMask) -> list[tuple[int, FrameMask]]:
        """The masks of the frames that could not be read since the last one that could."""
        start, first = self._last
        found = []
        for frame in self._unread:
            part = (frame - start) / (index - start)
            middle = between(first.mask(self._shape), mask.mask(self._shape), part)
            confidence = min(first.confidence, mask.confidence)
            origin = Origin("interpolated", (self.key,))
            found.append((frame, FrameMask.of(middle, confidence, origin)))
        return found

    def _corrected(self, seen: SeenFrame, carried: Carried) -> tuple[Float32, Opinion | None]:
        tools = self._tools
        wanted = tools.correction == "all" or (
            tools.correction == "doubtful" and carried.confidence < _DOUBTFUL
        )
        if not wanted or seen.pixels is None or not carried.mask.any():
            return carried.distance, None
        if not self._viewed:
            self._viewed = True
            key = tools.source.read(self.key).pixels
            if key is not None:
                self._view = KeyView.of(tools.network, self.key, key, self._carrier.key > 0)
        if self._view is None:
            return carried.distance, None
        return correct(tools.network, seen.pixels, self._carrier, carried.distance, self._view)

    def state(self) -> State:
        """What `restore` needs besides the frames, for JSON, with arrays."""
        if self.stop is not None:
            return {"stop": [self.stop.object, self.stop.frame, self.stop.key, self.stop.reason]}
        index, last = self._last
        return {
            "carrier": self._carrier.state(),
            "areas": list(self._rules.areas),
            "unread": self._unread,
            "last": [index, last.counts, last.confidence, last.origin.corrected],
        }

    def restore(self, state: State) -> None:
        """Go on from a state of the same segment and key.

        Raises:
            ScanError: A frame that could be read cannot be read any more.
        """
        if "stop" in state:
            self.stop = Stop(*state["stop"])
            return
        carrier: dict[str, Any] = state["carrier"]
        scan = self._tools.source.scan
        anchor, last = (gray(scan.frame(int(index))) for index in carrier["frames"])
        self._carrier.restore(carrier, anchor, last)
        self._rules.areas.clear()
        self._rules.areas.extend(state["areas"])
        self._unread = list(state["unread"])
        index, counts, confidence, corrected = state["last"]
        source: Literal["key", "propagated"] = "key" if index == self.key else "propagated"
        self._last = index, FrameMask(counts, confidence, Origin(source, (self.key,), corrected))
