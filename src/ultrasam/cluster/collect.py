"""One COCO results file from the tables of all shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultrasam.cluster.job import Job
from ultrasam.cluster.shards import TABLE, shard_folder
from ultrasam.extras import needs
from ultrasam.files import atomic_file

_KEPT = (
    "score",
    "predicted_iou",
    "stability_score",
    "low_confidence",
    "class",
    "model",
    "weights",
    "ultrasam",
)


def write_coco_results(out: Path, job: Job) -> Path:
    """Write ``predictions.json``, as `predict` writes it without shards; one shard is in memory at a time.

    ``image_id`` counts the frames from 1; ``category_id`` is the place of the object's class in the order in
    which classes first occur, from 1, or 1.

    Raises:
        DiskFullError: The disk is full.
    """
    path = out / "predictions.json"
    with atomic_file(path) as file:
        file.write(b"[\n")
        for number, entry in enumerate(_entries(out, job)):
            file.write((",\n" if number else "").encode() + json.dumps(entry).encode())
        file.write(b"\n]\n")
    return path


def _entries(out: Path, job: Job) -> Iterator[dict[str, Any]]:
    with needs("A sharded run", extra="data"):
        import polars as pl
    image, last = 0, None
    classes: dict[str | None, int] = {}
    for number in range(job.num_shards):
        rows = pl.read_parquet(shard_folder(out, number) / TABLE)
        for row in rows.iter_rows(named=True):
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
