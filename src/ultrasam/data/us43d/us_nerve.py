"""US Nerve Segmentation (Kaggle 2016): brachial plexus; the number before the underscore is the subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.data.readers import RawDataset, Sample, paired_masks, sorted_files


def _samples(root: Path) -> Iterator[Sample]:
    for mask in sorted_files(root, "*_mask.tif"):
        path = mask.with_name(mask.name.replace("_mask", ""))
        yield Sample(
            "US_nerve",
            path,
            subject=path.stem.split("_")[0],
            read_instances=paired_masks("cervical nerves", mask),
        )


US_NERVE = RawDataset("US_nerve", "competition rules", "Kaggle, 2016.", _samples)
