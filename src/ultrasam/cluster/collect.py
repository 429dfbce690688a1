"""One file from the tables of all shards: COCO results, or a CSV of measurements."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.cluster.job import Job
from ultrasam.cluster.shards import TABLE, shard_folder
from ultrasam.extras import needs
from ultrasam.files import atomic_file
from ultrasam.measure.outputs import MEASUREMENT_COLUMNS, joined

if TYPE_CHECKING:
    import polars as pl

COCO, MEASUREMENTS = "predictions.json", "measurements.csv"
COLLECTED = (COCO, MEASUREMENTS)
_MADE = ("model", "weights", "ultrasam")
_KEPT = (
    "score",
    "predicted_iou",
    "stability_score",
    "low_confidence",
    "class",
    *_MADE,
)


def write_coco_results(out: Path, job: Job) -> Path:
    """Write ``predictions.json``, as `predict` writes it without shards; one shard is in memory at a time.

    ``image_id`` counts the frames from 1; ``category_id`` is the place of the object's class in the order in
    which classes first occur, from 1, or 1.

    Raises:
        DiskFullError: The disk is full.
    """
    path = out / COCO
    with atomic_file(path) as file:
        file.write(b"[\n")
        for number, entry in enumerate(_entries(out, job)):
            file.write((",\n" if number else "").encode() + json.dumps(entry).encode())
        file.write(b"\n]\n")
    return path


def write_measurements(out: Path, job: Job) -> Path:
    """Write ``measurements.csv``, as `measure` writes it without shards, but for the column of the prompts.

    One shard is in memory at a time. What failed is in the tables of the shards only.

    Raises:
        DiskFullError: The disk is full.
    """
    path = out / MEASUREMENTS
    with atomic_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*MEASUREMENT_COLUMNS, *_MADE, "created"))
        for number in range(job.num_shards):
            for row in _table(out, number).drop_nulls("value").iter_rows(named=True):
                here = {
                    **row, "image": row["path"], "frame": joined(row["frames"]),
                    "time_ms": joined(row["times_ms"]), "notes": row["note"], "created": job.created,
                }  # fmt: skip
                writer.writerow([here[key] for key in (*MEASUREMENT_COLUMNS, *_MADE, "created")])
    return path


def _table(out: Path, shard: int) -> pl.DataFrame:
    with needs("A sharded run", extra="data"):
        import polars as pl
    return pl.read_parquet(shard_folder(out, shard) / TABLE)


def _entries(out: Path, job: Job) -> Iterator[dict[str, Any]]:
    image, last = 0, None
    classes: dict[str | None, int] = {}
    for number in range(job.num_shards):
        for row in _table(out, number).iter_rows(named=True):
            where = row["path"], row["frame"]
            image, last = image + (where != last), where
            if row["rle"] is None:
                continue
            details = json.loads(row["details"] or "{}")
            folder = shard_folder(out, number).relative_to(out)
            if "mask" in details:
                details["mask"] = (folder / details["mask"]).as_posix()
            yield {
                "image_id": image,
                "category_id": classes.setdefault(row["class"], len(classes) + 1),
                "segmentation": {"size": [row["height"], row["width"]], "counts": row["rle"]},
                "bbox": row["bbox"],
                "file_name": row["path"], "frame": row["frame"], "object": row["object"],
                **({"prompt": json.loads(row["prompt"])} if row["prompt"] else {}),
                **{key: row[key] for key in _KEPT if row[key] is not None},
                **details,
                "created": job.created,
            }  # fmt: skip
