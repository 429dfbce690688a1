"""Let the network correct and check a carried mask.

The network is prompted with the box of the carried mask, never with what it said itself about another frame,
so that its errors do not feed on themselves. How it differs from the key's mask in the key frame, it will
differ in other frames, too: that difference is carried along and taken off. What is left moves the border
only where both nearly agree; a network that sees something else is a reason to doubt, not to follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ultrasam.errors import PromptError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.pixels import Frame
from ultrasam.inference.segmenter import Segmenter
from ultrasam.inference.tracking.carrier import Carrier, diameter
from ultrasam.inference.tracking.flow import Float32, signed_distance
from ultrasam.prompts import Prediction, Prompt

_SHARE = 0.3  # of the network in the border's place, where both nearly agree
_NEAR = 0.05  # of the object's diameter: farther apart, they do not
_AGREES = 0.8  # IoU; below, the network corrects nothing


class FrameNetwork:
    """A promptable network, which encodes a frame once, whatever it is asked about it.

    Args:
        load: opens the network, a `Predictor` or what is like it, when it is first asked.
    """

    def __init__(self, load: Callable[[], Segmenter]) -> None:
        self._load = load
        self._segmenter: Segmenter | None = None
        self._set: int | None = None

    def predict(self, index: int, pixels: Frame, prompts: Sequence[Prompt]) -> Prediction:
        """The masks of prompts in a frame, given by its index and pixels.

        Raises:
            PromptError: A prompt is invalid there.
        """
        if self._segmenter is None:
            self._segmenter = self._load()
        if self._set != index:
            self._set = None
            self._segmenter.set_image(pixels)
            self._set = index
        return self._segmenter.predict(list(prompts))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the network says of a carried mask.

    Attributes:
        predicted_iou: of its own mask.
        agreement: IoU of its mask, after the key's difference is taken off, with the carried one.
    """

    predicted_iou: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class KeyView:
    """How the network sees an object in its key frame.

    Attributes:
        predicted_iou: of its own mask there.
        difference: [H, W] float32, how much farther out the key's border is than the network's.
    """

    predicted_iou: float
    difference: Float32

    @classmethod
    def of(cls, network: FrameNetwork, index: int, pixels: Frame, mask: BoolMask) -> KeyView | None:
        """None if the network finds nothing there."""
        seen = _seen(network, index, pixels, mask)
        if seen is None:
            return None
        distance, predicted_iou = seen
        reach = _NEAR * 2 * diameter(mask)
        return cls(predicted_iou, np.clip(signed_distance(mask) - distance, -reach, reach))


def correct(
    network: FrameNetwork, pixels: Frame, carrier: Carrier, distance: Float32, key: KeyView
) -> tuple[Float32, Opinion]:
    """The corrected signed distance [H, W] of a carried mask, and the network's opinion of it.

    Args:
        pixels: of the frame.
        carrier: after its step to that frame.
        distance: [H, W], what was carried there.
        key: how the network saw the key frame.
    """
    mask = distance > 0
    seen = _seen(network, carrier.last, pixels, mask)
    if seen is None:
        return distance, Opinion(0.0, 0.0)
    own = seen[0] + carrier.to_key(key.difference)
    union = np.count_nonzero((own > 0) | mask)
    agreement = np.count_nonzero((own > 0) & mask) / union if union else 0.0
    opinion = Opinion(seen[1], float(agreement))
    if agreement < _AGREES:
        return distance, opinion
    near = np.abs(own - distance) <= _NEAR * carrier.diameter
    return np.where(near, distance + _SHARE * (own - distance), distance), opinion


def _seen(
    network: FrameNetwork, index: int, pixels: Frame, mask: BoolMask
) -> tuple[Float32, float] | None:
    """The signed distance of the network's mask, prompted with the box of another, and its predicted IoU."""
    try:
        prediction = network.predict(index, pixels, [Prompt(box=bounding_box(mask))])
    except PromptError:
        return None
    found = prediction.best[0]
    if not found.any():
        return None
    return signed_distance(found), float(prediction.predicted_iou[0].max())
