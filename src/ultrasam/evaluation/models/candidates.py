"""The three masks that a model offers for one prompt, among which it chooses by its predicted IoU."""

from __future__ import annotations

from collections.abc import Sequence

from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import Prediction, Prompt


def candidates(segmenter: Segmenter, prompts: Prompt | Sequence[Prompt]) -> Prediction | None:
    """The three masks of each prompt, best first by predicted IoU, for the image that was set last.

    A plug-in offers several masks by a method ``candidates(prompts) -> Prediction``.

    Returns:
        The masks of N prompts, M = 3 each. None if the segmenter offers one mask only: baselines, and models
        trained on boxes alone (MedSAM), whose three mask tokens nobody has trained.

    Raises:
        PromptError: As from the segmenter's ``predict``.
    """
    if isinstance(segmenter, Predictor):
        if segmenter.accepts == {"box"}:
            return None
        return segmenter.predict(prompts, multimask=True)
    offered = getattr(segmenter, "candidates", None)
    if offered is None:
        return None
    found: Prediction | None = offered(prompts)
    return found
