"""Export a store to the formats of other tools: COCO, YOLO, nnU-Net, Hugging Face datasets, WebDataset."""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from ultrasam.datasets.annotated_image import SPLITS
from ultrasam.errors import DataError
from ultrasam.files import is_disk_full, no_space, require_space, update_file
from ultrasam.images.masks import bounding_box, encode_rle
from ultrasam.images.writing.yolo import yolo_lines, yolo_names
from ultrasam.store.journal import write_png
from ultrasam.store.store import Store

OBJECT = "object"  # the single category of the paper
Exporter = Callable[[Store, Path, bool], dict[str, int]]
_OBJECTS_ONLY = {"yolo": "YOLO", "nnunet": "nnU-Net"}
_COPIES = ("nnunet", "webdataset")
logger = logging.getLogger(__name__)


def export_store(
    store: Store, folder: Path, format_: str, *, class_agnostic: bool = False
) -> dict[str, int]:
    """Export the training, validation and test images of a store to a new folder.

    Args:
        store: the store.
        folder: a new or empty folder.
        format_: coco, yolo, nnunet, hf or webdataset.
        class_agnostic: export all structures as one category, ``object``, as in the paper.

    Returns:
        The number of images in each split.

    Raises:
        DataError: The format is unknown, or has too few labels for the store or no use for it, or the folder
            is not empty.
        DiskFullError: The images do not fit on the disk.
    """
    if format_ not in EXPORTERS:
        raise DataError(f"Unknown format '{format_}'; use one of {', '.join(EXPORTERS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} already exists; give a new folder.")
    if not len(store.instances):
        if format_ in _OBJECTS_ONLY:
            raise DataError(
                f"{store.root} has {len(store.images):,} images and no object; {_OBJECTS_ONLY[format_]} "
                "describes objects only. For images with a class, use hf."
            )
        logger.warning("%s has no object; images are exported without.", store.root)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # An export is complete or absent: other tools would train on half of one.
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        if format_ in _COPIES or part.stat().st_dev != store.root.stat().st_dev:
            require_space(folder, sum(store.path(r).stat().st_size for r in _exported(store)))
        counts = EXPORTERS[format_](store, part, class_agnostic)
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, Exception) and is_disk_full(error):
            raise no_space(folder, error) from error
        raise
    return counts


def _exported(store: Store) -> Iterator[int]:
    return (int(row) for row in store.select(splits=SPLITS))


def structures(store: Store, *, class_agnostic: bool) -> list[str]:
    """Names of the structures in a store, in the order of their indices in the export."""
    if class_agnostic:
        return [OBJECT]
    return sorted(set(store.instances["structure"].to_pylist()))


class _SplitRows:
    """The images of one split, and the values that every format writes."""

    def __init__(self, store: Store, split: str, *, class_agnostic: bool) -> None:
        self.store, self.rows = store, store.select(splits=[split])
        names = structures(store, class_agnostic=class_agnostic)
        self.index = {name: k for k, name in enumerate(names)}
        self.class_agnostic = class_agnostic
        self.images = store.images

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in self.rows:
            yield int(row), {name: self.images[name][int(row)].as_py() for name in
                             ("dataset", "name", "subject", "height", "width", "class_label",
                              "spacing_row", "spacing_column", "frame", "file")}  # fmt: skip

    def file(self, image: dict[str, Any]) -> str:
        return f"{image['dataset']}__{Path(image['file']).name}"

    def structure(self, instance: int) -> str:
        if self.class_agnostic:
            return OBJECT
        return str(self.store.instances["structure"][instance].as_py())

    def ignored(self, row: int) -> dict[str, Any] | None:
        """The region to ignore as COCO's compressed RLE; None if there is none."""
        region = self.store.ignored(row)
        return None if region is None else dict(encode_rle(region))

    def annotations(self, row: int, image: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for instance in self.store.instances_of(row):
            x0, y0, x1, y1 = self.store.box(instance)
            counts = self.store.instances["rle"][instance].as_py().decode("ascii")
            yield {
                "category": self.structure(instance),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(self.store.column("area")[instance]),
                "segmentation": {"size": [image["height"], image["width"]], "counts": counts},
            }


def _coco(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    counts = {}
    names = structures(store, class_agnostic=class_agnostic)
    for split in SPLITS:
        rows = _SplitRows(store, split, class_agnostic=class_agnostic)
        # The class-agnostic export uses the paper's file names.
        file = f"{split}.agnostic.coco.json" if class_agnostic else f"{split}.json"
        with (folder / file).open("w", encoding="utf-8") as out:
            out.write('{"info": {"description": "UltraSam store"}, "licenses": [], "categories": ')
            categories = [{"id": k, "name": n, "supercategory": ""} for k, n in enumerate(names, 1)]
            json.dump(categories, out)
            out.write(', "images": [')
            _write_items(out, (_coco_image(row, rows, image) for row, image in rows))
            out.write('], "annotations": [')
            _write_items(out, chain(_coco_annotations(rows), _coco_crowds(rows)))
            out.write("]}\n")
        for _, image in rows:
            _link(store.root / image["file"], folder / "images" / rows.file(image))
        counts[split] = len(rows.rows)
    return counts


def _coco_image(row: int, rows: _SplitRows, image: dict[str, Any]) -> dict[str, Any]:
    required = {
        "id": row + 1,
        "file_name": rows.file(image),
        "height": image["height"],
        "width": image["width"],
        "dataset": image["dataset"],
        "subject": image["subject"],
    }
    optional = ("class_label", "frame")
    return required | {k: image[k] for k in optional if image[k] is not None}


def _coco_annotations(rows: _SplitRows) -> Iterator[dict[str, Any]]:
    for row, image in rows:
        first = rows.store.instances_of(row).start
        for k, annotation in enumerate(rows.annotations(row, image)):
            category_id = rows.index[annotation.pop("category")] + 1
            yield {
                "id": first + k + 1,
                "image_id": row + 1,
                "category_id": category_id,
                "iscrowd": 0,
                **annotation,
            }


def _coco_crowds(rows: _SplitRows) -> Iterator[dict[str, Any]]:
    """Regions to ignore: one crowd for each category, since which of them is in there is unknown."""
    number = len(rows.store.instances)
    for row, _ in rows:
        region = rows.store.ignored(row)
        if region is None:
            continue
        x0, y0, x1, y1 = bounding_box(region).tolist()
        for index in rows.index.values():
            number += 1
            yield {
                "id": number, "image_id": row + 1, "category_id": index + 1, "iscrowd": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(np.count_nonzero(region)),
                "segmentation": rows.ignored(row),
            }  # fmt: skip


def _write_items(out: IO[str], items: Iterator[dict[str, Any]]) -> None:
    for index, item in enumerate(items):
        out.write((",\n" if index else "\n") + json.dumps(item, ensure_ascii=False))


def _yolo(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    counts, ignored = {}, 0
    for split in SPLITS:
        rows = _SplitRows(store, split, class_agnostic=class_agnostic)
        for row, image in rows:
            ignored += store.ignored(row) is not None
            file = rows.file(image)
            _link(store.root / image["file"], folder / "images" / split / file)
            lines: list[str] = []
            for instance in store.instances_of(row):
                category = rows.index[rows.structure(instance)]
                lines += yolo_lines(category, store.mask(instance))
            text = "\n".join(lines) + ("\n" if lines else "")
            update_file(folder / "labels" / split / f"{Path(file).stem}.txt", text.encode())
        counts[split] = len(rows.rows)
    names = structures(store, class_agnostic=class_agnostic)
    # Without `path`, Ultralytics takes the folder of this file, wherever it is opened from; a relative `path`
    # would count from the current folder, and an absolute one would not survive a move.
    splits = "\n".join(f"{split}: images/{split}" for split in SPLITS if counts[split])
    update_file(folder / "data.yaml", f"{splits}\n{yolo_names(names)}".encode())
    for split in ("train", "val"):
        if not counts[split]:
            logger.warning(
                "No image is in split %s, which YOLO needs; build the store with other fractions.",
                split,
            )
    if ignored:
        logger.warning(
            "YOLO has no regions to ignore; in this many images, they are exported as background: %d.",
            ignored,
        )
    return counts


def _nnunet(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    names = structures(store, class_agnostic=class_agnostic)
    if len(names) > 254:
        raise DataError(
            f"The store has {len(names)} structures, but nnU-Net labels in PNG allow only 254; use "
            "--class-agnostic."
        )
    counts: dict[str, int] = {}
    folds: dict[str, list[str]] = {}
    ignored = False
    for split in SPLITS:
        rows = _SplitRows(store, split, class_agnostic=class_agnostic)
        suffix = "Ts" if split == "test" else "Tr"
        folds[split] = []
        for row, image in rows:
            stem = Path(rows.file(image)).stem
            folds[split].append(stem)
            # nnU-Net requires the same number of channels in all images, so all are written in gray.
            write_png(folder / f"images{suffix}" / f"{stem}_0000.png", store.pixels(row))
            labels = np.zeros((image["height"], image["width"]), np.uint8)
            # Largest first, so that structures inside others stay visible.
            largest_first = sorted(
                store.instances_of(row), key=lambda i: -int(store.column("area")[i])
            )
            region = store.ignored(row)
            if region is not None:
                labels[region], ignored = len(names) + 1, True
            for instance in largest_first:
                labels[store.mask(instance)] = rows.index[rows.structure(instance)] + 1
            write_png(folder / f"labels{suffix}" / f"{stem}.png", labels)
        counts[split] = len(rows.rows)
    labelled = {"background": 0, **{name: k for k, name in enumerate(names, 1)}}
    if ignored:
        labelled["ignore"] = len(names) + 1  # nnU-Net's own name; it must be the highest label
    description = {
        "channel_names": {"0": "ultrasound"},
        "labels": labelled,
        "numTraining": counts["train"] + counts["val"],
        "file_ending": ".png",
    }
    update_file(folder / "dataset.json", json.dumps(description, indent=1).encode())
    final = [{"train": folds["train"], "val": folds["val"]}]
    update_file(folder / "splits_final.json", json.dumps(final).encode())
    return counts


def _hugging_face(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    counts = {}
    for split in SPLITS:
        rows = _SplitRows(store, split, class_agnostic=class_agnostic)
        if not len(rows.rows):
            continue
        split_folder = folder / ("validation" if split == "val" else split)
        split_folder.mkdir()
        with (split_folder / "metadata.jsonl").open("w", encoding="utf-8") as out:
            for row, image in rows:
                _link(store.root / image["file"], split_folder / rows.file(image))
                annotations = list(rows.annotations(row, image))
                keys = ("category", "bbox", "area", "segmentation")
                line: dict[str, Any] = {"file_name": rows.file(image)}
                line |= {k: image[k] for k in ("dataset", "subject", "class_label")}
                line["objects"] = {k: [a[k] for a in annotations] for k in keys}
                line["ignored"] = rows.ignored(row)
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        counts[split] = len(rows.rows)
    return counts


def _web_dataset(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    """Write shards of 1,000 images, shuffled across data sets with a fixed seed."""
    counts = {}
    for split in SPLITS:
        rows = _SplitRows(store, split, class_agnostic=class_agnostic)
        shuffled = list(rows)
        np.random.default_rng(0).shuffle(shuffled)
        for start in range(0, len(shuffled), 1000):
            with tarfile.open(folder / f"{split}-{start // 1000:05d}.tar", "w") as shard:
                for row, image in shuffled[start : start + 1000]:
                    key = Path(rows.file(image)).stem.replace(".", "_")
                    record = {k: image[k] for k in ("dataset", "name", "subject", "class_label")}
                    record["objects"] = list(rows.annotations(row, image))
                    record["ignored"] = rows.ignored(row)
                    text = json.dumps(record, ensure_ascii=False).encode()
                    for suffix, data in (("png", store.path(row).read_bytes()), ("json", text)):
                        entry = tarfile.TarInfo(f"{key}.{suffix}")
                        entry.size = len(data)
                        shard.addfile(entry, io.BytesIO(data))
        counts[split] = len(shuffled)
    return counts


def _link(source: Path, target: Path) -> None:
    """Hard-link a file; copy it if the file system does not support links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


EXPORTERS: dict[str, Exporter] = {
    "coco": _coco,
    "yolo": _yolo,
    "nnunet": _nnunet,
    "hf": _hugging_face,
    "webdataset": _web_dataset,
}
