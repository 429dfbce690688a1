"""What a build has done so far: per chunk of cases, a file with all that the tables need.

A chunk is read by one worker, which writes its images and then, at once, the chunk's file. So a build
that is killed resumes where it stopped, and a second build of the same data reads nothing again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage, Case, images_of
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.extras import needs
from ultrasam.files import update_file
from ultrasam.images.masks import box_of, components, encode_rle
from ultrasam.images.pixels import Frame
from ultrasam.store.duplicates import content_hash, perceptual_hashes

with needs("Working with data sets", extra="data"):
    import pyarrow as pa

FORMAT = 1

# Scans are noise: higher levels and other filters hardly press them further, at two or three times the cost.
_PNG = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB,
]  # fmt: skip

_INSTANCE = pa.struct(
    [("structure", pa.string()), *((n, pa.int32()) for n in ("x0", "y0", "x1", "y1", "area")),
     ("rle", pa.binary())]
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("name", pa.string()),
        ("file", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),
        ("subject_known", pa.bool_()),
        ("study", pa.string()),
        ("frame", pa.int32()),
        ("source_split", pa.string()),
        ("class_label", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("spacing_row", pa.float64()),
        ("spacing_column", pa.float64()),
        ("sha256", pa.binary(32)),
        ("shape_hash", pa.binary(32)),
        ("texture_hash", pa.binary(32)),
        ("file_size", pa.int64()),
        ("instances", pa.list_(_INSTANCE)),
    ]
)


@dataclass(frozen=True, slots=True)
class JournalShard:
    """Cases that are read together, and the mark by which the journal knows them."""

    dataset: str
    cases: tuple[Case, ...]
    mark: str

    def file(self, store: Path) -> Path:
        return journal_folder(store, self.dataset) / f"{self.mark}.arrow"


def journal_folder(store: Path, dataset: str) -> Path:
    """Where the journal of one data set lies."""
    return store / "journal" / dataset


def shards_of(cases: Sequence[Case], *, version: str) -> Iterator[JournalShard]:
    """Cases in chunks of about 16, cut by what they are called, so that additions move few borders."""
    held: list[Case] = []
    for case in cases:
        held.append(case)
        if hashlib.blake2b(case.key.encode(), digest_size=1).digest()[0] < 16 or len(held) == 64:
            yield _chunk(held, version)
            held = []
    if held:
        yield _chunk(held, version)


def _chunk(cases: list[Case], version: str) -> JournalShard:
    digest = hashlib.sha256(f"{FORMAT}|{version}".encode())
    for case in cases:
        digest.update(json.dumps(_facts(case)).encode())
    return JournalShard(cases[0].dataset, tuple(cases), digest.hexdigest()[:32])


def _facts(value: object) -> object:
    """All that a case's images depend on, in JSON's types: files by relative path, size and time of
    change, and the values that tables gave.

    Neither where the files lie on this disk nor how the code is named or laid out counts, so a raw folder
    may be moved. What the code does is the version's part: a reader raises it when it gives other images.
    """
    if isinstance(value, FileEntry):
        return [value.path, value.size, value.stamp]
    if isinstance(value, partial):
        return [_facts(value.args), _facts(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        return [_facts(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return [[_facts(key), _facts(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_facts(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if value is None or isinstance(value, str | int | float):
        return value
    if callable(value):
        return None
    raise TypeError(
        f"a case holds a {type(value).__name__}, whose value the journal cannot compare"
    )


def read_shard(chunk: JournalShard, store: Path) -> tuple[int, int]:
    """Read a chunk's cases into the store: images, then the journal's file.

    Returns:
        How many images it holds, and how many things it left out.
    """
    rows: list[dict[str, Any]] = []
    skips: list[Skip] = []
    for case in chunk.cases:
        for found in images_of(case):
            if isinstance(found, Skip):
                skips.append(found)
            else:
                row = _row(found, case)
                row["file_size"] = write_png(store / row["file"], found.pixels)
                rows.append(row)
    write_shard(chunk, store, rows, skips)
    return len(rows), len(skips)


def write_shard(chunk: JournalShard, store: Path, rows: list[dict[str, Any]], skips: list[Skip]) -> None:
    """The journal's file of a chunk that has been read."""
    notes = json.dumps([[s.where, s.reason] for s in skips], ensure_ascii=False)
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({"skips": notes}))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    update_file(chunk.file(store), sink.getvalue().to_pybytes())


def load_shard(file: Path) -> tuple[pa.Table, list[Skip]]:
    """A chunk's images, with their instances, and what it left out."""
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    notes = json.loads(table.schema.metadata[b"skips"])
    return table.replace_schema_metadata(None), [Skip(where, reason) for where, reason in notes]


def write_png(path: Path, pixels: Frame) -> int:
    """Write an image losslessly; gives the file's size in bytes."""
    image = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    done, data = cv2.imencode(".png", image, _PNG)
    if not done:
        raise OSError(f"{path} cannot be encoded")
    update_file(path, data.tobytes())
    return len(data)


def _row(sample: AnnotatedImage, case: Case) -> dict[str, Any]:
    shape_hash, texture_hash = perceptual_hashes(sample.pixels)
    height, width = sample.pixels.shape[:2]
    return {
        "dataset": sample.dataset,
        "name": sample.name,
        "file": f"images/{sample.dataset}/{file_stem(sample.name)}.png",
        "source": sample.source,
        "subject": sample.subject,
        "subject_known": case.subject is not None,
        "study": sample.study,
        "frame": sample.frame,
        "source_split": sample.split,
        "class_label": sample.class_label,
        "height": height,
        "width": width,
        "spacing_row": sample.spacing[0] if sample.spacing else None,
        "spacing_column": sample.spacing[1] if sample.spacing else None,
        "sha256": content_hash(sample.pixels),
        "shape_hash": shape_hash,
        "texture_hash": texture_hash,
        "instances": [
            _instance(instance.name, part)
            for instance in sample.instances
            for part in components(instance.mask)
        ],
    }


def _instance(name: str, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    x0, y0, x1, y1 = (int(v) for v in box_of(mask))
    rle = str(encode_rle(mask)["counts"]).encode("ascii")
    return {
        "structure": name, "x0": x0, "y0": y0, "x1": x1, "y1": y1,
        "area": int(np.count_nonzero(mask)), "rle": rle,
    }  # fmt: skip


def file_stem(name: str) -> str:
    """A file name of letters, digits, '.', '_' and '-' that is unique to ``name``."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_.")[:80]
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
