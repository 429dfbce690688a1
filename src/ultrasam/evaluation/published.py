"""Published figures that belong beside ours; None where one could not be verified."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One figure of a paper."""

    model: str
    dataset: str
    prompt: str
    measure: str
    value: float | None
    source: str


_PAPER = "arXiv 2411.16222, tables of prompt-based segmentation"

PUBLISHED = (
    Published("MedSAM", "BUSI", "box predicted from one click", "Dice", 0.89, "arXiv 2606.04705"),
    *(
        Published(model, dataset, prompt, "mAP", None, _PAPER)
        for model in ("UltraSam", "UltraSam, zero-shot", "SAM ViT-B", "MedSAM")
        for dataset in ("MMOTU-2D", "BUS-BRA", "GIST514-DB")
        for prompt in ("point", "box")
    ),
)
