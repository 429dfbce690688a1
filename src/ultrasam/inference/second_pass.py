"""The second pass of a prompt: look again at the masks of a click, close by; or refine a mask by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import bounding_box
from ultrasam.inference.augmentation import zoomed_views
from ultrasam.inference.selection import Candidate, best_first
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.prompts import Float32, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A prompt and the views to decode it in.

    Attributes:
        multimask: return the three candidates of an ambiguous prompt instead of the single mask.
        mask_input: logits in the scan's pixels [H, W]; or over the whole frame's input [S, S], if it is the
            only view; or None.
    """

    prompt: Prompt
    views: tuple[ViewTransform, ...]
    multimask: bool
    mask_input: Float32 | None


def zoomed_candidates(
    request: Request,
    first: Sequence[Candidate],
    full: ViewTransform,
    tta: TestTimeAugmentation,
    *,
    multimask: bool,
) -> list[Candidate | Request]:
    """The candidates of a single click, best first, each to be decoded again in zoomed views of its own with
    its mask as a prompt; those that a zoom would barely magnify, or that are empty, as they are.

    The order stays that of the first pass: close by, parts look as good as wholes.

    Args:
        request: of the first pass.
        first: its candidates.
        full: the view of the whole frame.
        multimask: take all candidates, and not only the best.
    """
    found: list[Candidate | Request] = []
    for candidate, logits in best_first(first, len(first) if multimask else 1):
        views = _views_on_mask(request.prompt, logits, full, tta)
        found.append(Request(request.prompt, views, False, logits) if views else candidate)
    return found


def refinement(
    request: Request, first: Sequence[Candidate], full: ViewTransform, tta: TestTimeAugmentation
) -> list[Candidate | Request]:
    """The best mask fed back for three candidates, with its box in place of clicks, as the published model
    was trained (arXiv 2411.16222, 3.2); a single click's in zoomed views, if there are any."""
    candidate, logits = best_first(first, 1)[0]
    if not (logits > 0).any():
        return list(first)
    prompt, views, mask = request.prompt, request.views, logits
    if prompt.is_single_click:
        views = _views_on_mask(prompt, logits, full, tta) or views
    if prompt.box is None:
        prompt = Prompt(box=bounding_box(logits > 0))
    if not tta.zoom and not tta.flip:
        mask = candidate.prediction.low_res(candidate.index, full, logits)
    return [Request(prompt, views, True, mask)]


def _views_on_mask(
    prompt: Prompt, logits: Float32, full: ViewTransform, tta: TestTimeAugmentation
) -> tuple[ViewTransform, ...]:
    """Zoomed views of a click's mask and the click; none if they barely magnify, or the mask is empty."""
    if not tta.zoom or not (logits > 0).any():
        return ()
    box, point = bounding_box(logits > 0), prompt.points[0]
    corners = [np.minimum(box[:2], point), np.maximum(box[2:], point)]
    return zoomed_views(np.concatenate(corners), full, tta)
