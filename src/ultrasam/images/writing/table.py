"""Write what masks measure as a table, CSV: a row for each object in each frame, and for the whole scan."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.files import atomic_write
from ultrasam.images.masks import bounding_box
from ultrasam.images.writing.segmentation import Segmentation

_FIRST = (
    "file",
    "frame",
    "time_s",
    "object",
    "name",
    "category",
    "area_pixels",
    "x0",
    "y0",
    "x1",
    "y1",
)


def write_table(path: Path, result: Segmentation) -> None:
    """Write a row for each object in each frame that has an entry, also where its mask is empty.

    Columns: frame (from 0), its time in s if known, object (from 0), name, category, area and box in pixels,
    one column for each measurement (its unit in brackets), the details, and the provenance. Measurements that
    belong to no frame, or to no object, stand in rows of their own, where those cells are empty.

    Raises:
        UltraSamError: The file cannot be written.
    """
    rows: dict[tuple[int | None, int | None], dict[str, Any]] = {}
    for frame in result.masks.frames:
        for number, mask in enumerate(result.masks.masks(frame)):
            box = bounding_box(mask).astype(int).tolist()
            rows[frame, number] = {
                "area_pixels": int(np.count_nonzero(mask)),
                **(dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)) if mask.any() else {}),
            }
    numbers: dict[str, None] = {}
    for one in result.measurements:
        column = f"{one.name} [{one.unit}]"
        numbers[column] = None
        rows.setdefault((one.frame, one.object), {})[column] = f"{one.value:.6g}"
    facts: dict[str, None] = {}
    for (at, of), row in rows.items():
        if at is not None and of is not None:
            for name, value in result.facts(at, of).items():
                facts[name] = None
                row[name] = value if isinstance(value, str | int | float) else json.dumps(value)
    made = result.provenance.as_dict()
    columns = [*_FIRST, *numbers, *(name for name in facts if name not in _FIRST), *made]
    out = io.StringIO()
    table = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for (at, of), row in rows.items():
        table.writerow({**row, **_place(result, at, of), **made})
    atomic_write(path, out.getvalue())


def _place(result: Segmentation, frame: int | None, number: int | None) -> dict[str, Any]:
    step = result.scan.frame_time
    known = frame is not None and step is not None
    place: dict[str, Any] = {
        "file": str(result.scan.source or ""),
        "frame": frame,
        "object": number,
    }
    place["time_s"] = f"{(frame or 0) * (step or 0) / 1000:.6g}" if known else None
    if number is not None:
        place |= {"name": result.masks.names[number], "category": result.categories[number]}
    return place
