"""When to stop following an object: each rule looks at one sign, known without the truth."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.inference.tracking.carrier import Carried
from ultrasam.inference.tracking.corrector import KeyView, Opinion

_PART_OF_DIAMETER = 0.10
_LEAST_LIMIT = 3.0  # pixels
_AREA_RATIO = 1.5
_REMEMBERED = 3  # frames whose median area a jump is measured against
_IOU_FALL = 0.15
_AGREEMENT = 0.6
_WHOLLY = 0.95
_LEFT = 0.5  # fraction of the object outside the scanned sector


@dataclass(frozen=True, slots=True)
class Stop:
    """Where an object could not be followed farther.

    Attributes:
        object: its number.
        frame: the first without a mask.
        key: the key frame that it was followed from.
        reason: in a few words.
    """

    object: int
    frame: int
    key: int
    reason: str


def error_limit(diameter: float) -> float:
    """The forward-backward error on the border from which an object counts as lost, in pixels: 10 % of its
    diameter, but at least 3."""
    return max(_LEAST_LIMIT, _PART_OF_DIAMETER * diameter)


class StopRules:
    """The rules for one object, followed from one key.

    Args:
        limit: of the forward-backward error on the border, in pixels.
        key: [H, W], the key's mask.
        sector: [H, W], where the picture shows a scan; None if everywhere. It does not count if it lacks much
            of the key's mask: black objects can be taken for the black around a scan.
    """

    def __init__(self, limit: float, key: BoolMask, sector: BoolMask | None) -> None:
        self._limit = limit
        counts = sector is not None and (key & sector).sum() >= _WHOLLY * key.sum()
        self._sector = sector if counts else None
        self.areas: deque[float] = deque([float(key.sum())], maxlen=_REMEMBERED)

    def reason(
        self, carried: Carried, mask: BoolMask, key: KeyView | None, opinion: Opinion | None
    ) -> str | None:
        """Why the object cannot be followed to this frame; None if it can.

        Args:
            carried: by the flow.
            mask: after correction.
            key, opinion: the network's, if it was asked.
        """
        area = float(np.count_nonzero(mask))
        if not area:
            return "it left the picture"
        if carried.error > self._limit:
            return (
                f"the flow does not lead back (forward-backward error {carried.error:.1f} pixels, "
                f"limit {self._limit:.1f})"
            )
        if carried.lost:
            return f"the picture changed (correlation with the key's {carried.likeness:.2f})"
        jump = area / float(np.median(list(self.areas)))
        if abs(math.log(jump)) > math.log(_AREA_RATIO):
            return f"its area changed {jump:.1f} times in one frame"
        if self._sector is not None and not _is_inside(mask, self._sector):
            return "it left the scanned sector"
        if opinion is not None and key is not None:
            if opinion.predicted_iou < key.predicted_iou - _IOU_FALL:
                return (
                    f"the network's predicted IoU fell from {key.predicted_iou:.2f} in the key frame to "
                    f"{opinion.predicted_iou:.2f}"
                )
            if opinion.agreement < _AGREEMENT:
                return f"the network sees another outline (IoU {opinion.agreement:.2f})"
        self.areas.append(area)
        return None


def _is_inside(mask: BoolMask, sector: BoolMask) -> bool:
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    part = mask[y0:y1, x0:x1]
    return bool((part & sector[y0:y1, x0:x1]).sum() >= (1 - _LEFT) * part.sum())
