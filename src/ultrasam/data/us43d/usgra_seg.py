"""USGRA-seg: nerves and vessels in regional anaesthesia, as colours; not one of the paper's 43."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.data.readers import RawDataset, Sample, colour_coded_mask, sorted_files

_COLOURS = {(128, 0, 0): "nerve", (0, 128, 0): "vessel"}


def _samples(root: Path) -> Iterator[Sample]:
    for path in sorted_files(root, "images/*.png"):
        mask = path.parent.parent / "masks" / path.name
        yield Sample(
            "USGRA-seg", path, subject=path.stem, read_instances=colour_coded_mask(mask, _COLOURS)
        )


USGRA_SEG = RawDataset("USGRA-seg", "CC BY 4.0", "USGRA-seg, 2025.", _samples)
