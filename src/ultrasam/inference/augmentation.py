"""Test-time augmentation: choose the views of a prompt and average their predictions.

For a box, a zoomed view is averaged with the whole image. For a single click, a view zoomed to the first mask
replaces the whole image. Each view may also be averaged with its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import ViewTransform
from ultrasam.images.pixels import Frame, gray
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import Float32, Prompt


def first_views(
    prompt: Prompt, full: ViewTransform, tta: TestTimeAugmentation
) -> tuple[ViewTransform, ...]:
    """The views of a prompt's first pass: the whole frame, and a zoomed view around its box, if any."""
    views = with_flip(full, tta)
    if tta.zoom and prompt.box is not None:
        views += zoomed_views(prompt.box, full, tta, margin=tta.BOX_MARGIN)
    return views


def zoomed_views(
    box: npt.ArrayLike, full: ViewTransform, tta: TestTimeAugmentation, *, margin: float = 1.0
) -> tuple[ViewTransform, ...]:
    """Zoomed views around a box; none if they barely magnify it."""
    view = full.crop_around(box, margin=tta.zoom * margin)
    return with_flip(view, tta) if view.scale >= tta.MIN_GAIN * full.scale else ()


def with_flip(view: ViewTransform, tta: TestTimeAugmentation) -> tuple[ViewTransform, ...]:
    """A view, followed by its mirror image if enabled."""
    return (view, view.hflip()) if tta.flip else (view,)


def encoder_inputs(frame: Frame, preprocessor: Preprocessor, tta: TestTimeAugmentation) -> Float32:
    """What `Predictor.set_image` encodes of a frame, [V, 3, S, S] for V views: to encode several frames at
    once, whose ``embeddings`` it then takes."""
    pixels = gray(frame) if preprocessor.channels == "gray" else frame
    views = with_flip(preprocessor.view(*pixels.shape[:2]), tta)
    return np.stack([preprocessor.image(pixels, view) for view in views])


@dataclass(frozen=True, slots=True, eq=False)
class ViewPrediction:
    """The masks of one prompt in one view: logits [M, S, S] and predicted IoU [M]."""

    view: ViewTransform
    logits: Float32
    predicted_iou: Float32


@dataclass(frozen=True, slots=True, eq=False)
class MeanPrediction:
    """The M masks of one prompt, averaged over one or more views."""

    views: tuple[ViewPrediction, ...]

    @property
    def predicted_iou(self) -> Float32:
        """The mean over views, [M]."""
        return np.asarray(np.mean([v.predicted_iou for v in self.views], axis=0), dtype=np.float32)

    def top(self, count: int) -> MeanPrediction:
        """The ``count`` masks with the highest predicted IoU, best first."""
        order = np.argsort(-self.predicted_iou, kind="stable")[:count]
        return MeanPrediction(
            tuple(
                replace(v, logits=v.logits[order], predicted_iou=v.predicted_iou[order])
                for v in self.views
            )
        )

    def in_scan(self, mask: int) -> Float32:
        """Logits of one mask in the scan's pixels, [H, W]."""
        by_view = [v.view.logits_to_scan(v.logits[mask]) for v in self.views]
        if len(by_view) == 1:
            return by_view[0]
        limit = TestTimeAugmentation.MAX_LOGIT
        total = sum(np.clip(logits, -limit, limit) for logits in by_view)
        return np.asarray(total / len(by_view), dtype=np.float32)

    def low_res(self, mask: int, full: ViewTransform, in_scan: Float32) -> Float32:
        """Logits of one mask over the model's whole input, [S, S], given its logits in the scan."""
        first = self.views[0]
        if len(self.views) == 1 and first.view == full:
            return np.asarray(first.logits[mask])
        return full.logits_to_model(in_scan, size=first.logits.shape[-1])
