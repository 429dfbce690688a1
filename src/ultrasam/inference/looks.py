"""What a predictor saw of one prompt, in one view of the frame or in several, and their mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import Letterbox

FloatMap = npt.NDArray[np.float32]

_SURE = 10.0  # logits beyond it say no more: one look must not outvote the others by being loud


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Masks of one prompt in one view: logits [M, S, S] and predicted IoU [M]."""

    view: Letterbox
    logits: FloatMap
    iou: FloatMap


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """The masks of one prompt, as the mean of one look or more, all of the same M masks."""

    looks: tuple[Look, ...]

    @property
    def iou(self) -> FloatMap:
        """Predicted IoU [M], the mean of the looks'."""
        return np.asarray(np.mean([look.iou for look in self.looks], axis=0), dtype=np.float32)

    def best(self, count: int) -> Candidate:
        """The ``count`` masks of the highest predicted IoU, the best first."""
        order = np.argsort(-self.iou, kind="stable")[:count]
        return Candidate(
            tuple(
                replace(look, logits=look.logits[order], iou=look.iou[order]) for look in self.looks
            )
        )

    def in_scan(self, mask: int) -> FloatMap:
        """Logits of one mask in the scan's pixels, [H, W]."""
        found = [look.view.logits_to_scan(look.logits[mask]) for look in self.looks]
        if len(found) == 1:
            return found[0]
        total = sum(np.clip(logits, -_SURE, _SURE) for logits in found)
        return np.asarray(total / len(found), dtype=np.float32)

    def low_res(self, mask: int, whole: Letterbox, full: FloatMap) -> FloatMap:
        """Logits of one mask on the canvas of the whole frame, [S, S]; ``full`` is what `in_scan` gave."""
        first = self.looks[0]
        if len(self.looks) == 1 and first.view == whole:
            return np.asarray(first.logits[mask])
        return whole.logits_to_model(full, size=first.logits.shape[-1])
