"""What a prompt makes of an object's mask: the model's answer, with the edits by hand on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultrasam.annotate.layers import Edits
from ultrasam.annotate.project.masks import Candidate, Content
from ultrasam.annotate.segmentation import Segmentation, packed, prompt_of, unpacked
from ultrasam.errors import PromptError
from ultrasam.images.masks import BoolMask
from ultrasam.images.rle import decode, encode
from ultrasam.prompts import Float32

Prompts = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Prompted:
    """The mask after a prompt, and what the model offered.

    Attributes:
        content: to be stored.
        mask: of the content, [H, W].
        candidates: as the model gave them, [M, H, W].
        edits: by hand, on top of them; None if there are none.
        predicted_iou: of each candidate, [M].
    """

    content: Content
    mask: BoolMask
    candidates: BoolMask
    edits: Edits | None
    predicted_iou: Float32

    @property
    def offered(self) -> BoolMask:
        """The candidates with the edits on top, [M, H, W]."""
        edits = self.edits
        if edits is None:
            return self.candidates
        return np.stack([edits.on(one) for one in self.candidates])


def prompted(
    segmentation: Segmentation,
    image: int,
    frame: int,
    new: Prompts,
    *,
    object: str,
    so_far: Content | None,
) -> Prompted:
    """Predict the mask of an object with further prompts.

    The model gets all prompts of the object in the frame, and the mask so far: its logits if they are the
    model's own, else the mask itself, such as a drawn or propagated one. A first click gives three
    candidates.

    Args:
        new: prompts to add.
        object: its id; a new one's, or "", is a placeholder.
        so_far: its mask in the frame, or None.

    Raises:
        PromptError: The prompts are invalid, the model does not accept them, or it finds nothing.
        DataError, ScanError, CheckpointError: As in `Segmentation.prepare`.
    """
    scan = segmentation.scans.scan(image)
    shape = (scan.height, scan.width)
    mask_input = _mask_input(segmentation, so_far, shape)
    prompts = (*(so_far.prompts if so_far is not None else ()), *new)
    prompt = prompt_of(prompts, mask=mask_input)
    prediction = segmentation.predict(image, frame, prompt, multimask=prompt.is_single_click)
    masks, ious = prediction.masks[0], prediction.predicted_iou[0]
    edits = None
    if so_far is not None and so_far.is_edited:
        clicks = [tuple(point) for one in new for point in one.get("points") or ()]
        edits = edits_of(so_far, shape).yielding(decode(so_far.rle, shape), masks[0], clicks)
    mask = masks[0] if edits is None else edits.on(masks[0])
    if not mask.any():
        raise PromptError(
            "The model found nothing there; click elsewhere, draw a box around the object, or use the brush."
        )
    info = segmentation.info
    candidates = tuple(
        Candidate(encode(one), round(float(iou), 4)) for one, iou in zip(masks, ious, strict=True)
    )
    content = Content(
        object=object,
        frame=frame,
        rle=candidates[0].rle if edits is None else encode(mask),
        source="prompt",
        state="accepted",
        confidence=round(float(ious[0]), 4),
        prompts=prompts,
        candidates=candidates,
        logits=packed(prediction.low_res_logits[0]),
        model=None if info is None else info.title,
        added=None if edits is None else layer(edits.added),
        removed=None if edits is None else layer(edits.removed),
    )
    return Prompted(content, mask, masks, edits, ious)


def edits_of(content: Content | None, shape: tuple[int, int]) -> Edits:
    """The edits by hand of a mask."""
    none = np.zeros(shape, bool)
    if content is None:
        return Edits.none(shape)
    return Edits(
        none if content.added is None else decode(content.added, shape),
        none if content.removed is None else decode(content.removed, shape),
    )


def layer(edited: BoolMask) -> str | None:
    """Added or removed pixels [H, W] as a `Content` keeps them."""
    return encode(edited) if edited.any() else None


def _mask_input(
    segmentation: Segmentation, so_far: Content | None, shape: tuple[int, int]
) -> Float32 | BoolMask | None:
    if so_far is None or not segmentation.accepts("mask"):
        return None
    if so_far.logits is not None and not so_far.is_edited:
        logits = unpacked(so_far.logits, len(so_far.candidates))
        if logits is not None and (logits[so_far.candidate] > 0).any():
            return np.asarray(logits[so_far.candidate])
    mask = decode(so_far.rle, shape)
    return mask if mask.any() else None
