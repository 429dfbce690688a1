"""STU-Hospital: breast tumours; most masks are 128 × 128, images larger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.data.readers import RawDataset, Sample, paired_masks, sorted_files


def _samples(root: Path) -> Iterator[Sample]:
    for path in sorted_files(root, "Test_Image_*.png"):
        mask = path.with_name(path.name.replace("Test_Image", "mask"))
        yield Sample(
            "STU-Hospital",
            path,
            subject=path.stem,
            read_instances=paired_masks("breast tumour", mask),
        )


STU_HOSPITAL = RawDataset("STU-Hospital", "unknown", "STU-Hospital (xbhlk, GitHub).", _samples)
