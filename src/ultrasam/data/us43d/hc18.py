"""HC18: the fetal head; the annotation is the outline of an ellipse; a table gives mm per pixel."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ultrasam.data.readers import RawDataset, Sample, filled_outline, sorted_files


def _samples(root: Path) -> Iterator[Sample]:
    spacing: dict[str, float] = {}
    for table in root.rglob("training_set_pixel_size_and_HC.csv"):
        with table.open(newline="") as lines:
            spacing |= {
                row["filename"]: float(row["pixel size(mm)"]) for row in csv.DictReader(lines)
            }
    for outline in sorted_files(root, "*HC_Annotation.png"):
        path = outline.with_name(outline.name.replace("_Annotation", ""))
        yield Sample(
            "HC18",
            path,
            subject=path.name[:3],
            read_instances=filled_outline("fetal head", outline),
            spacing=spacing.get(path.name),
        )


HC18 = RawDataset(
    "HC18",
    "CC BY 4.0",
    "van den Heuvel TLA, de Bruijn D, de Korte CL, van Ginneken B. Automated measurement of fetal "
    "head circumference using 2D ultrasound images. PLoS ONE 2018; 13(8): e0200412.",
    _samples,
)
