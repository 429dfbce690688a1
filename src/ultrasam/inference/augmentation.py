"""Test-time augmentation: the views in which a prompt is decoded, and the mean of what they give.

Around a box, a zoomed view is averaged with the whole image; after a lone click, a view zoomed at what the
click found replaces it; and each view may be averaged with its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import ViewTransform
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.prompts import Float32, Prompt

_MAX_LOGIT = 10.0  # clipped before averaging, so that one over-confident view cannot dominate
_BOX_MARGIN = 1.5  # a box's view over a click's: the size is known already, surroundings tell more
_MIN_GAIN = 1.15  # a zoomed view must enlarge the object by this to be worth its cost


def first_views(
    prompt: Prompt, full: ViewTransform, tta: TestTimeAugmentation
) -> tuple[ViewTransform, ...]:
    """The views of a prompt's first pass: the whole frame, and around its box if it has one."""
    views = flips(full, tta)
    if tta.zoom and prompt.box is not None:
        views += zoomed(prompt.box, full, tta, margin=_BOX_MARGIN)
    return views


def zoomed(
    box: npt.ArrayLike, full: ViewTransform, tta: TestTimeAugmentation, *, margin: float = 1.0
) -> tuple[ViewTransform, ...]:
    """Views around a box; none where the whole frame shows it about as large."""
    view = full.crop_around(box, margin=tta.zoom * margin)
    return flips(view, tta) if view.scale >= _MIN_GAIN * full.scale else ()


def flips(view: ViewTransform, tta: TestTimeAugmentation) -> tuple[ViewTransform, ...]:
    """A view, and its mirror image where that is taken too."""
    return (view, view.hflip()) if tta.flip else (view,)


@dataclass(frozen=True, slots=True, eq=False)
class ViewPrediction:
    """Masks of one prompt in one view: logits [M, S, S] and predicted IoU [M]."""

    view: ViewTransform
    logits: Float32
    predicted_iou: Float32


@dataclass(frozen=True, slots=True, eq=False)
class MeanPrediction:
    """The masks of one prompt, as the mean of one view or more, all of the same M masks."""

    views: tuple[ViewPrediction, ...]

    @property
    def predicted_iou(self) -> Float32:
        """[M], the mean over views."""
        return np.asarray(np.mean([v.predicted_iou for v in self.views], axis=0), dtype=np.float32)

    def best(self, count: int) -> MeanPrediction:
        """The ``count`` masks of the highest predicted IoU, the best first."""
        order = np.argsort(-self.predicted_iou, kind="stable")[:count]
        return MeanPrediction(
            tuple(
                replace(v, logits=v.logits[order], predicted_iou=v.predicted_iou[order])
                for v in self.views
            )
        )

    def in_scan(self, mask: int) -> Float32:
        """Logits of one mask in the scan's pixels, [H, W]."""
        found = [v.view.logits_to_scan(v.logits[mask]) for v in self.views]
        if len(found) == 1:
            return found[0]
        total = sum(np.clip(logits, -_MAX_LOGIT, _MAX_LOGIT) for logits in found)
        return np.asarray(total / len(found), dtype=np.float32)

    def low_res(self, mask: int, full: ViewTransform, in_scan: Float32) -> Float32:
        """Logits of one mask over the model's whole input, [S, S]; ``in_scan`` is what `in_scan` gave."""
        first = self.views[0]
        if len(self.views) == 1 and first.view == full:
            return np.asarray(first.logits[mask])
        return full.logits_to_model(in_scan, size=first.logits.shape[-1])
