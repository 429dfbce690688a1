"""Published results to show next to ours; a report omits values that have not been verified (None)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One number from a paper.

    Attributes:
        dataset: data set id.
        value: None until verified.
    """

    model: str
    dataset: str
    prompt: str
    metric: str
    value: float | None
    source: str


_PAPER = "arXiv 2411.16222, tables of prompt-based segmentation"

PUBLISHED = (
    PublishedResult(
        "MedSAM", "busi", "box predicted from one click", "Dice", 0.89, "arXiv 2606.04705"
    ),
    *(
        PublishedResult(model, dataset, prompt, "mAP", None, _PAPER)
        for model in ("UltraSam", "UltraSam, zero-shot", "SAM ViT-B", "MedSAM")
        for dataset in ("mmotu_2d", "bus_bra", "gist514")
        for prompt in ("point", "box")
    ),
)
