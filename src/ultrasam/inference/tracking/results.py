"""What tracking says of one object in one frame: its mask, where that came from, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.rle import decode, encode
from ultrasam.inference.tracking.flow import signed_distance

Source = Literal["key", "propagated", "interpolated"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mask came from.

    Attributes:
        source: ``key``: a prompt in this frame; ``propagated``: followed from the key frames;
            ``interpolated``: between neighbors, because the frame itself cannot be read.
        keys: the key frames, one or, if both directions are blended, two.
        corrected: whether the network moved the border.
    """

    source: Source
    keys: tuple[int, ...]
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class FrameMask:
    """The mask of one object in one frame.

    Attributes:
        counts: its run-length encoding, as COCO's compressed RLE.
        confidence: 0 to 1. For a key, the predicted IoU, or 1 for a mask that was given. Else the smaller of
            the fraction of the border that the flow back finds again, and the correlation of the key's
            picture, moved as the object was, with the frame's; where two directions are blended, no more
            than the IoU of their masks, and where the network was asked, than that with its mask.
        origin: where it came from.
    """

    counts: str
    confidence: float
    origin: Origin

    @classmethod
    def of(cls, mask: BoolMask, confidence: float, origin: Origin) -> FrameMask:
        """From a mask [H, W]."""
        return cls(encode(mask), round(float(confidence), 4), origin)

    def mask(self, shape: tuple[int, int]) -> BoolMask:
        """The mask of a shape (H, W)."""
        return decode(self.counts, shape)


def between(first: BoolMask, second: BoolMask, weight: float) -> BoolMask:
    """The mask [H, W] between two others, by their signed distances (Herman et al., 1992).

    Args:
        first, second: [H, W]; not empty.
        weight: of the second, 0 to 1.
    """
    x0, y0, x1, y1 = bounding_box(first | second).astype(int)
    pad = max(4, (x1 - x0) // 4, (y1 - y0) // 4)
    rows = slice(max(0, y0 - pad), y1 + pad)
    columns = slice(max(0, x0 - pad), x1 + pad)
    distances = [signed_distance(mask[rows, columns]) for mask in (first, second)]
    out = np.zeros(first.shape, bool)
    out[rows, columns] = (1 - weight) * distances[0] + weight * distances[1] > 0
    return out


def blended(
    forward: FrameMask, backward: FrameMask, part: float, shape: tuple[int, int]
) -> FrameMask:
    """The masks that two directions carried to a frame as one, each by its confidence and nearness.

    Args:
        part: how far the frame is from the first key on the way to the second, 0 to 1.
        shape: (H, W).
    """
    masks = forward.mask(shape), backward.mask(shape)
    weights = (1 - part) * (forward.confidence + 0.01), part * (backward.confidence + 0.01)
    weight = weights[1] / sum(weights)
    union = np.count_nonzero(masks[0] | masks[1])
    agreement = np.count_nonzero(masks[0] & masks[1]) / union if union else 0.0
    mean = (1 - weight) * forward.confidence + weight * backward.confidence
    origins = forward.origin, backward.origin
    origin = Origin(
        "interpolated"
        if origins[0].source == origins[1].source == "interpolated"
        else "propagated",
        (*origins[0].keys, *origins[1].keys),
        any(one.corrected for one in origins),
    )
    mask = between(*masks, weight)
    # Masks that have nothing in common may leave nothing between them.
    kept = mask if mask.any() else masks[int(weight > 0.5)]
    return FrameMask.of(kept, min(mean, agreement), origin)
