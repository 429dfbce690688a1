"""The journal of a build: one file per shard of cases, with everything that the tables need.

A worker reads a shard: it writes the images, then the shard's file, atomically. An interrupted build
therefore resumes, and rebuilding the same data reads no file again.
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
from ultrasam.images.masks import BoolMask, bounding_box, components, encode_rle
from ultrasam.images.pixels import Frame
from ultrasam.store.duplicates import content_hash, perceptual_hashes
from ultrasam.store.measurements import to_json
from ultrasam.store.migrations import upgrade_columns

with needs("Working with data sets", extra="data"):
    import pyarrow as pa

FORMAT = 1

# Ultrasound is noise: higher levels and other filters save little space, at two to three times the cost.
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
        ("ignored_rle", pa.binary()),
        ("measurements", pa.string()),
        ("instances", pa.list_(_INSTANCE)),
    ]
)


@dataclass(frozen=True, slots=True)
class JournalShard:
    """Cases that are read together.

    Attributes:
        dataset: id of their data set.
        cases: the cases.
        key: hash of everything that the shard's images depend on; the name of its file.
    """

    dataset: str
    cases: tuple[Case, ...]
    key: str

    def file(self, store: Path) -> Path:
        """The shard's file in the journal of a store."""
        return journal_folder(store, self.dataset) / f"{self.key}.arrow"


def journal_folder(store: Path, dataset: str) -> Path:
    """The journal folder of one data set."""
    return store / "journal" / dataset


def shards_of(cases: Sequence[Case], *, version: str) -> Iterator[JournalShard]:
    """Divide cases into shards of about 16.

    Boundaries depend on the cases' keys, so that adding cases changes few shards.

    Args:
        cases: sorted by key.
        version: data set, reader version and options; part of each shard's key.
    """
    shard: list[Case] = []
    for case in cases:
        shard.append(case)
        if hashlib.blake2b(case.key.encode(), digest_size=1).digest()[0] < 16 or len(shard) == 64:
            yield _shard(shard, version)
            shard = []
    if shard:
        yield _shard(shard, version)


def _shard(cases: list[Case], version: str) -> JournalShard:
    digest = hashlib.sha256(f"{FORMAT}|{version}".encode())
    for case in cases:
        digest.update(json.dumps(_identity(case)).encode())
    return JournalShard(cases[0].dataset, tuple(cases), digest.hexdigest()[:32])


def _identity(value: object) -> object:
    """Everything that the images of a case depend on, in JSON types.

    Files count by relative path, size and modification time, and values read from tables count too. The
    location of the raw folder and the names in the code do not, so both may change. A change in what a reader
    does must increment its `DatasetSpec.version`.
    """
    if isinstance(value, FileEntry):
        return [value.path, value.size, value.stamp]
    if isinstance(value, partial):
        return [_identity(value.args), _identity(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        return [_identity(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return [[_identity(key), _identity(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if value is None or isinstance(value, str | int | float):
        return value
    if callable(value):
        return None
    raise TypeError(f"the journal cannot hash a {type(value).__name__} in a case")


def read_shard(shard: JournalShard, store: Path) -> tuple[int, int]:
    """Read a shard's cases into the store: first the images, then the journal's file.

    Returns:
        The number of images, and the number of skips.
    """
    rows: list[dict[str, Any]] = []
    skips: list[Skip] = []
    for case in shard.cases:
        for item in images_of(case):
            if isinstance(item, Skip):
                skips.append(item)
            else:
                row = _row(item, case)
                row["file_size"] = write_png(store / row["file"], item.pixels)
                rows.append(row)
    write_shard(shard, store, rows, skips)
    return len(rows), len(skips)


def write_shard(
    shard: JournalShard, store: Path, rows: list[dict[str, Any]], skips: list[Skip]
) -> None:
    """Write the journal's file of a shard, atomically.

    Args:
        shard: the shard.
        store: folder of the store.
        rows: one row of `SCHEMA` per image.
        skips: files and images left out.
    """
    notes = json.dumps([as_json(skip) for skip in skips], ensure_ascii=False)
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({"skips": notes}))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    update_file(shard.file(store), sink.getvalue().to_pybytes())


def load_shard(file: Path) -> tuple[pa.Table, list[Skip]]:
    """Load a shard's file: a table of images with their instances (`SCHEMA`), and the skips."""
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    notes = json.loads(table.schema.metadata[b"skips"])
    table = upgrade_columns(table.replace_schema_metadata(None)).select(SCHEMA.names)
    return table, [Skip(*values) for values in notes]


def as_json(skip: Skip) -> list[Any]:
    """A skip as the journal holds it."""
    return [skip.where, skip.reason, skip.damage, skip.what]


def write_png(path: Path, pixels: Frame) -> int:
    """Write an image [H, W] or [H, W, 3] RGB uint8 as PNG, and return the file size in bytes."""
    image = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    done, data = cv2.imencode(".png", image, _PNG)
    if not done:
        raise OSError(f"Cannot encode {path} as PNG.")
    update_file(path, data.tobytes())
    return len(data)


def _row(image: AnnotatedImage, case: Case) -> dict[str, Any]:
    shape_hash, texture_hash = perceptual_hashes(image.pixels)
    height, width = image.pixels.shape[:2]
    return {
        "dataset": image.dataset,
        "name": image.name,
        "file": f"images/{image.dataset}/{file_stem(image.name)}.png",
        "source": image.source,
        "subject": image.subject,
        "subject_known": case.subject is not None,
        "study": image.study,
        "frame": image.frame,
        "source_split": image.split,
        "class_label": image.class_label,
        "height": height,
        "width": width,
        "spacing_row": image.spacing[0] if image.spacing else None,
        "spacing_column": image.spacing[1] if image.spacing else None,
        "sha256": content_hash(image.pixels),
        "shape_hash": shape_hash,
        "texture_hash": texture_hash,
        "ignored_rle": None if image.ignored is None else _runs(image.ignored),
        "measurements": to_json(image.measurements),
        "instances": [
            _instance(instance.name, part)
            for instance in image.instances
            for part in components(instance.mask)
        ],
    }


def _instance(name: str, mask: BoolMask) -> dict[str, Any]:
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    return {
        "structure": name, "x0": x0, "y0": y0, "x1": x1, "y1": y1,
        "area": int(np.count_nonzero(mask)), "rle": _runs(mask),
    }  # fmt: skip


def _runs(mask: BoolMask) -> bytes:
    """The compressed run lengths of a mask [H, W]."""
    return str(encode_rle(mask)["counts"]).encode("ascii")


def file_stem(name: str) -> str:
    """A unique file name for ``name``, of ASCII letters, digits, '.', '_' and '-'."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_.")[:80]
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
