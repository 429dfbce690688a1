"""BUSI: breast lesions; the folder is the class; further lesions have masks of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.data.readers import RawDataset, Sample, paired_masks, sorted_files


def _samples(root: Path) -> Iterator[Sample]:
    for path in sorted_files(root, "*).png"):
        masks = sorted(path.parent.glob(f"{_literal(path.stem)}_mask*.png"))
        yield Sample(
            "BUSI",
            path,
            subject=path.stem,
            read_instances=paired_masks("breast nodule", *masks),
            class_label=path.parent.name,
        )


def _literal(stem: str) -> str:
    return stem.replace("[", "[[]")


BUSI = RawDataset(
    "BUSI",
    "CC BY 4.0",
    "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. "
    "Data in Brief 2020; 28: 104863.",
    _samples,
)
