"""The rows of a shard's table: each result, and each file, frame or prompt that gave none, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.extras import needs
from ultrasam.images.masks import decode_rle
from ultrasam.images.scan import Scan
from ultrasam.inference.processing import FileResult
from ultrasam.measure.report import mask_measurements
from ultrasam.text import valid_text

if TYPE_CHECKING:
    from ultrasam.downstream.classification.predict import ClassResult
    from ultrasam.downstream.embed import EmbedResult
    from ultrasam.measure.files import FileMeasured

with needs("A sharded run", extra="data"):
    import polars as pl

Row = dict[str, Any]

_WHERE: dict[str, pl.DataType] = {"path": pl.String(), "frame": pl.Int64()}
_MADE: dict[str, pl.DataType] = {name: pl.String() for name in ("model", "weights", "ultrasam")}
_SAID: dict[str, pl.DataType] = {"note": pl.String(), "error": pl.String()}
_OF_MASKS: dict[str, pl.DataType] = {
    "object": pl.Int64(), "prompt": pl.String(), "class": pl.String(), "height": pl.Int64(),
    "width": pl.Int64(), "rle": pl.String(), "bbox": pl.List(pl.Float64), "score": pl.Float64(),
    "predicted_iou": pl.Float64(), "stability_score": pl.Float64(), "low_confidence": pl.Boolean(),
    "area": pl.Float64(), "long_axis": pl.Float64(), "short_axis": pl.Float64(),
    "unit": pl.String(), "details": pl.String(),
}  # fmt: skip
_OF_CLASSES: dict[str, pl.DataType] = {
    "class": pl.String(), "probability": pl.Float64(), "probabilities": pl.String(),
}  # fmt: skip
_OF_MEASUREMENTS: dict[str, pl.DataType] = {
    "frames": pl.List(pl.Int64), "times_ms": pl.List(pl.Float64), "object": pl.String(), "kind": pl.String(),
    "quantity": pl.String(), "value": pl.Float64(), "unit": pl.String(), "low": pl.Float64(),
    "high": pl.Float64(), "row_spacing": pl.Float64(), "column_spacing": pl.Float64(),
    "calibration": pl.String(),
}  # fmt: skip
_OF_FEATURES: dict[str, pl.DataType] = {"prompt": pl.Int64(), "features": pl.List(pl.Float32)}
MASKS = pl.Schema({**_WHERE, **_OF_MASKS, **_MADE, **_SAID})
CLASSES = pl.Schema({**_WHERE, **_OF_CLASSES, **_MADE, **_SAID})
MEASUREMENTS = pl.Schema({**_WHERE, **_OF_MEASUREMENTS, **_MADE, **_SAID})
FEATURES = pl.Schema({**_WHERE, **_OF_FEATURES, **_MADE, **_SAID})

_MEASURES = "measurements"  # key of an entry that `measured` adds
# Keys of an entry that have a column, or are the same in all rows.
_PLACED = {
    "image_id", "category_id", "segmentation", "bbox", "score", "file_name", "frame", "object", "prompt",
    "predicted_iou", "stability_score", "low_confidence", "class", "category", _MEASURES, *_MADE, "created",
}  # fmt: skip


def measured(scan: Scan, result: FileResult) -> FileResult:
    """A frame's result with area, long and short axis of each mask."""
    entries = []
    for entry in result.results:
        found = mask_measurements(decode_rle(entry["segmentation"]), scan)
        values = {one.name.replace(" ", "_"): one.value for one in found}
        unit = {"mm2": "mm", "{pixels2}": "px"}[found[0].unit] if found else None
        entries.append({**entry, _MEASURES: {**values, "unit": unit}})
    return replace(result, results=entries)


def rows_of_masks(result: FileResult, made: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a frame, or of a file that failed."""
    where = _where(result.path, None if result.files else result.frame)
    base = {**where, **made, "note": _text(result.notes), "error": result.error}
    if result.files and result.error is None and not result.notes:
        return  # of all frames together: they have their rows
    if not result.results and not result.refused:
        size = result.size or (None, None)
        yield {**base, "height": size[0], "width": size[1]}
    for sentence in result.refused:
        yield {**base, "note": None, "error": sentence}
    for index, entry in enumerate(result.results):
        height, width = entry["segmentation"]["size"]
        details = {key: value for key, value in entry.items() if key not in _PLACED}
        yield {
            **base,
            **{key: entry.get(key) for key in (*_SCORES, "bbox", "score")},
            **entry.get(_MEASURES, {}),
            "object": entry.get("object", index),
            "prompt": json.dumps(entry["prompt"]) if "prompt" in entry else None,
            "class": entry.get("class", entry.get("category")),
            "height": height,
            "width": width,
            "rle": entry["segmentation"]["counts"],
            "details": json.dumps(details) if details else None,
        }


_SCORES = ("predicted_iou", "stability_score", "low_confidence")


def rows_of_classes(result: ClassResult, made: Mapping[str, str]) -> Iterator[Row]:
    """The row of a frame, or of a file that failed."""
    found = result.probabilities
    yield {
        **_where(result.path, result.frame if found else None), **made,
        "class": result.label if found else None,
        "probability": found[result.label] if found else None,
        "probabilities": json.dumps(found) if found else None,
        "note": _text(result.notes), "error": result.error,
    }  # fmt: skip


def rows_of_features(result: EmbedResult, made: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a frame, or of a file that failed."""
    base = {**_where(result.path, result.frame), **made, "note": _text(result.notes)}
    for number, vector in result.vectors:
        yield {**base, "prompt": number, "features": vector}
    for sentence in result.errors:
        yield {**base, "error": sentence}


def rows_of_measurements(found: FileMeasured, made: Mapping[str, str]) -> Iterator[Row]:
    """The row of each number of a file, after those of what is to be known of the file and what failed."""
    from ultrasam.measure.outputs import joined

    base = {**_where(found.path, None), **made}
    if found.notes:
        yield {**base, "note": _text(list(dict.fromkeys(found.notes)))}
    for sentence in found.errors:
        yield {**base, "error": sentence}
    for result in found.results:
        spacings = {one.spacing if one.calibrated else None for one in result.calibrations}
        row, column = (spacings.pop() if len(spacings) == 1 else None) or (None, None)
        where = {
            "frame": result.frames[0], "frames": list(result.frames), "times_ms": list(result.times),
            "object": result.name, "kind": result.kind, "row_spacing": row, "column_spacing": column,
            "calibration": joined([one.note for one in result.calibrations]),
            "note": "; ".join(result.measured.notes) or None,
        }  # fmt: skip
        for measurement in result.measured.measurements:
            yield {**base, **where, **measurement.as_json()}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rows of a shard tell.

    Attributes:
        rows: their number.
        failed: files, frames and prompts that gave no result.
        noted: files of which something should be known.
        doubtful: masks that are empty or of low confidence.
    """

    rows: int
    failed: int
    noted: int
    doubtful: int


def write_rows(
    file: Path, rows: Sequence[Row], schema: pl.Schema, named: Callable[[str], str]
) -> Summary:
    """Write a table.

    Args:
        file: a Parquet file.
        rows: may leave out columns.
        schema: the columns.
        named: puts the names of files into sentences as the user knows them.
    """
    for row in rows:
        for key in _SAID:
            if row.get(key) is not None:
                row[key] = valid_text(named(row[key]))
    columns = {
        name: pl.Series(name, [row.get(name) for row in rows], dtype=kind)
        for name, kind in schema.items()
    }
    table = pl.DataFrame(columns)
    table.write_parquet(file)
    doubtful = table["low_confidence"].sum() if "low_confidence" in schema else 0
    noted = table.filter(pl.col("note").is_not_null())["path"].n_unique()
    return Summary(len(rows), int(table["error"].is_not_null().sum()), noted, int(doubtful or 0))


def _where(path: Path, frame: int | None) -> Row:
    return {"path": valid_text(path), "frame": frame}


def _text(notes: Sequence[str]) -> str | None:
    return " ".join(notes) or None
