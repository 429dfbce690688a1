"""A store in the layouts of other tools: COCO, YOLO, nnU-Net, Hugging Face datasets, WebDataset."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from ultrasam.errors import DataError
from ultrasam.files import update_file
from ultrasam.store.journal import write_png
from ultrasam.store.store import Store

SIDES = ("train", "val", "test")
OBJECT = "object"  # the paper's one category
Exporter = Callable[[Store, Path, bool], dict[str, int]]


def export(
    store: Store, folder: Path, kind: str, *, class_agnostic: bool = False
) -> dict[str, int]:
    """Write a store in another layout into a new folder; excluded images stay behind.

    Args:
        kind: coco, yolo, nnunet, hf or webdataset.
        class_agnostic: all structures become one, ``object``, as in the paper.

    Returns:
        How many images each side has.

    Raises:
        DataError: the folder isn't empty, or the layout cannot hold what the store has.
    """
    if kind not in EXPORTERS:
        raise DataError(f"There is no format '{kind}'; there are {', '.join(EXPORTERS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already; give a new folder with -o.")
    folder.mkdir(parents=True, exist_ok=True)
    return EXPORTERS[kind](store, folder, class_agnostic)


def structures(store: Store, *, class_agnostic: bool) -> list[str]:
    """Names of structures, in the order of their numbers."""
    if class_agnostic:
        return [OBJECT]
    return sorted(set(store.instances["structure"].to_pylist()))


class _Rows:
    """Rows of one side, with what every layout writes of them."""

    def __init__(self, store: Store, side: str, *, class_agnostic: bool) -> None:
        self.store, self.rows = store, store.select(splits=[side])
        names = structures(store, class_agnostic=class_agnostic)
        self.number = {name: k for k, name in enumerate(names)}
        self.agnostic = class_agnostic
        self.images = store.images

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in self.rows:
            yield int(row), {name: self.images[name][int(row)].as_py() for name in
                             ("dataset", "name", "subject", "height", "width", "class_label",
                              "spacing_row", "spacing_column", "frame", "file")}  # fmt: skip

    def file(self, image: dict[str, Any]) -> str:
        return f"{image['dataset']}__{Path(image['file']).name}"

    def structure(self, instance: int) -> str:
        return OBJECT if self.agnostic else str(self.store.instances["structure"][instance].as_py())

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
    for side in SIDES:
        rows = _Rows(store, side, class_agnostic=class_agnostic)
        # The paper's file names, where its layout is asked for.
        file = f"{side}.agnostic.coco.json" if class_agnostic else f"{side}.json"
        with (folder / file).open("w", encoding="utf-8") as out:
            out.write('{"info": {"description": "UltraSam store"}, "licenses": [], "categories": ')
            categories = [{"id": k, "name": n, "supercategory": ""} for k, n in enumerate(names, 1)]
            json.dump(categories, out)
            out.write(', "images": [')
            _listed(out, (_coco_image(row, rows, image) for row, image in rows))
            out.write('], "annotations": [')
            _listed(out, _coco_annotations(rows))
            out.write("]}\n")
        for _, image in rows:
            _link(store.root / image["file"], folder / "images" / rows.file(image))
        counts[side] = len(rows.rows)
    return counts


def _coco_image(row: int, rows: _Rows, image: dict[str, Any]) -> dict[str, Any]:
    described = {
        "id": row + 1,
        "file_name": rows.file(image),
        "height": image["height"],
        "width": image["width"],
        "dataset": image["dataset"],
        "subject": image["subject"],
    }
    extra = ("class_label", "frame")
    return described | {k: image[k] for k in extra if image[k] is not None}


def _coco_annotations(rows: _Rows) -> Iterator[dict[str, Any]]:
    for row, image in rows:
        first = rows.store.instances_of(row).start
        for k, annotation in enumerate(rows.annotations(row, image)):
            number = rows.number[annotation.pop("category")] + 1
            yield {
                "id": first + k + 1,
                "image_id": row + 1,
                "category_id": number,
                "iscrowd": 0,
                **annotation,
            }


def _listed(out: IO[str], items: Iterator[dict[str, Any]]) -> None:
    for index, item in enumerate(items):
        out.write((",\n" if index else "\n") + json.dumps(item, ensure_ascii=False))


def _yolo(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    counts = {}
    for side in SIDES:
        rows = _Rows(store, side, class_agnostic=class_agnostic)
        for row, image in rows:
            file = rows.file(image)
            _link(store.root / image["file"], folder / "images" / side / file)
            lines = []
            for instance in store.instances_of(row):
                number = rows.number[rows.structure(instance)]
                lines += [f"{number} {points}" for points in _yolo_outlines(store, instance)]
            text = "\n".join(lines) + ("\n" if lines else "")
            update_file(folder / "labels" / side / f"{Path(file).stem}.txt", text.encode())
        counts[side] = len(rows.rows)
    names = structures(store, class_agnostic=class_agnostic)
    listed = "\n".join(f"  {k}: {json.dumps(name)}" for k, name in enumerate(names))
    sides = "\n".join(f"{side}: images/{side}" for side in SIDES)
    update_file(folder / "data.yaml", f"path: .\n{sides}\nnames:\n{listed}\n".encode())
    return counts


def _yolo_outlines(store: Store, instance: int) -> Iterator[str]:
    """Outlines of an instance, points as shares of the image; holes are filled, as the format has none."""
    mask = store.mask(instance)
    height, width = mask.shape
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    for contour in contours:
        if len(contour) >= 3:
            points = (contour[:, 0] + 0.5) / (width, height)
            yield " ".join(f"{v:.6f}" for v in points.ravel())


def _nnunet(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    names = structures(store, class_agnostic=class_agnostic)
    if len(names) > 254:
        raise DataError("nnU-Net's PNG labels hold 254 structures; export fewer data sets.")
    counts: dict[str, int] = {}
    folds: dict[str, list[str]] = {}
    for side in SIDES:
        rows = _Rows(store, side, class_agnostic=class_agnostic)
        part = "Ts" if side == "test" else "Tr"
        folds[side] = []
        for row, image in rows:
            stem = Path(rows.file(image)).stem
            folds[side].append(stem)
            # One channel for all images: a set where some were in colour would not be read.
            write_png(folder / f"images{part}" / f"{stem}_0000.png", store.pixels(row))
            labels = np.zeros((image["height"], image["width"]), np.uint8)
            # Larger ones first, so that what lies inside another stays visible.
            inside_last = sorted(
                store.instances_of(row), key=lambda i: -int(store.column("area")[i])
            )
            for instance in inside_last:
                labels[store.mask(instance)] = rows.number[rows.structure(instance)] + 1
            write_png(folder / f"labels{part}" / f"{stem}.png", labels)
        counts[side] = len(rows.rows)
    description = {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, **{name: k for k, name in enumerate(names, 1)}},
        "numTraining": counts["train"] + counts["val"],
        "file_ending": ".png",
    }
    update_file(folder / "dataset.json", json.dumps(description, indent=1).encode())
    split = [{"train": folds["train"], "val": folds["val"]}]
    update_file(folder / "splits_final.json", json.dumps(split).encode())
    return counts


def _hugging_face(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    counts = {}
    for side in SIDES:
        rows = _Rows(store, side, class_agnostic=class_agnostic)
        if not len(rows.rows):
            continue
        place = folder / ("validation" if side == "val" else side)
        place.mkdir()
        with (place / "metadata.jsonl").open("w", encoding="utf-8") as out:
            for row, image in rows:
                _link(store.root / image["file"], place / rows.file(image))
                found = list(rows.annotations(row, image))
                keys = ("category", "bbox", "area", "segmentation")
                line: dict[str, Any] = {"file_name": rows.file(image)}
                line |= {k: image[k] for k in ("dataset", "subject", "class_label")}
                line["objects"] = {k: [a[k] for a in found] for k in keys}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        counts[side] = len(rows.rows)
    return counts


def _web_dataset(store: Store, folder: Path, class_agnostic: bool) -> dict[str, int]:
    """Shards of 1,000 images, in an order that mixes data sets and is always the same."""
    counts = {}
    for side in SIDES:
        rows = _Rows(store, side, class_agnostic=class_agnostic)
        listed = list(rows)
        np.random.default_rng(0).shuffle(listed)
        for start in range(0, len(listed), 1000):
            with tarfile.open(folder / f"{side}-{start // 1000:05d}.tar", "w") as shard:
                for row, image in listed[start : start + 1000]:
                    key = Path(rows.file(image)).stem.replace(".", "_")
                    note = {k: image[k] for k in ("dataset", "name", "subject", "class_label")}
                    note["objects"] = list(rows.annotations(row, image))
                    text = json.dumps(note, ensure_ascii=False).encode()
                    for suffix, data in (("png", store.path(row).read_bytes()), ("json", text)):
                        entry = tarfile.TarInfo(f"{key}.{suffix}")
                        entry.size = len(data)
                        shard.addfile(entry, io.BytesIO(data))
        counts[side] = len(listed)
    return counts


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the disk cannot."""
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
