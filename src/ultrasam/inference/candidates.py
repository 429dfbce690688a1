"""The three masks that a model offers for one prompt, among which it chooses by its predicted IoU.

They answer that a click may mean a part, an object or its surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ultrasam.images.pixels import Frame
from ultrasam.images.writing.overlay import draw_overlay, write_side_by_side
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import Prediction, Prompt

T = TypeVar("T", bound=np.generic)

_SIZES = ("small", "medium", "large")


def offers_candidates(segmenter: Segmenter) -> bool:
    """Whether a segmenter has several masks for one prompt.

    Baselines have one only, and so have models trained on boxes alone (MedSAM), whose three mask tokens
    nobody has trained. A plug-in offers several by a method ``candidates(prompts) -> Prediction``.
    """
    if isinstance(segmenter, Predictor):
        return segmenter.accepts != {"box"}
    return hasattr(segmenter, "candidates")


def candidates(segmenter: Segmenter, prompts: Prompt | Sequence[Prompt]) -> Prediction | None:
    """The three masks of each prompt, best first by predicted IoU, for the image that was set last.

    Returns:
        The masks of N prompts, M = 3 each; None if the segmenter offers one mask only.

    Raises:
        PromptError: As from the segmenter's ``predict``.
    """
    if not offers_candidates(segmenter):
        return None
    if isinstance(segmenter, Predictor):
        return segmenter.predict(prompts, multimask=True)
    found: Prediction | None = getattr(segmenter, "candidates")(prompts)  # noqa: B009 - no part of Segmenter
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What one click may mean.

    Attributes:
        masks: the three masks of one prompt, smallest first.
        returned: index of the one that is the click's mask.
    """

    masks: Prediction
    returned: int


def offered(
    segmenter: Segmenter, prompts: Sequence[Prompt], predicted: Prediction
) -> dict[int, Offer]:
    """What each single click among N prompts may mean, for the image that was set last, by its index.

    The best of the three is the mask that is returned; decoded in another batch, it may differ by rounding,
    so the returned one takes its place.

    Args:
        predicted: the masks that are returned for the prompts, M = 1.
    """
    clicks = [row for row, prompt in enumerate(prompts) if prompt.is_single_click]
    found = candidates(segmenter, [prompts[row] for row in clicks]) if clicks else None
    if found is None:
        return {}
    return {row: _offer(found, i, predicted, row) for i, row in enumerate(clicks)}


def _offer(found: Prediction, i: int, predicted: Prediction, row: int) -> Offer:
    def with_returned(three: npt.NDArray[T], of_prompts: npt.NDArray[T]) -> npt.NDArray[T]:
        three = three[[i]]
        three[0, 0] = of_prompts[row, 0]
        return three

    masks = Prediction(
        with_returned(found.masks, predicted.masks),
        with_returned(found.predicted_iou, predicted.predicted_iou),
        with_returned(found.stability_score, predicted.stability_score),
        with_returned(found.low_res_logits, predicted.low_res_logits),
    ).by_area()
    same = (masks.masks[0] == predicted.masks[row, 0]).all(axis=(1, 2))
    return Offer(masks, int(same.argmax()))


def write_offer(
    offer: Offer, click: Prompt, frame: Frame, *, mask_file: Path, picture: Path, number: int
) -> list[dict[str, Any]]:
    """Write three masks beside ``mask_file``, as ``<its name>_small.png`` and so on, and draw them.

    Args:
        mask_file: of the mask that is returned for the click.
        picture: the file to draw to.
        number: of the prompt, for the picture.

    Returns:
        Each mask's size, file, area in pixels, predicted IoU, and whether it is the one that is returned.
    """
    (x, y), listed, drawn = click.points[0].tolist(), [], []
    triples = zip(_SIZES, offer.masks.masks[0], offer.masks.predicted_iou[0].tolist(), strict=True)
    for index, (size, mask, iou) in enumerate(triples):
        file = mask_file.with_name(f"{mask_file.stem}_{size}.png")
        write_mask(file, mask)
        returned = index == offer.returned
        listed.append(
            {
                "size": size,
                "mask": file.name,
                "area": int(mask.sum()),
                "predicted_iou": round(iou, 4),
                "returned": returned,
            }
        )
        title = f"{number}: {size}{', returned' if returned else ''}"
        score = f"predicted IoU {iou:.2f}" if mask.any() else "empty"
        texts = [(title, 0.0, 0.0), (score, 0.0, float(frame.shape[0]))]
        drawn.append(
            draw_overlay(
                frame, [mask], colors=[index], points=[(x, y, int(click.labels[0]))], texts=texts
            )
        )
    write_side_by_side(picture, drawn)
    return listed
