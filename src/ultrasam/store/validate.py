"""Validate a store: image files, masks, boxes, and split leakage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ultrasam.errors import DataError, UltraSamError, one_line
from ultrasam.images.masks import bounding_box, decode_rle
from ultrasam.images.raster import decode_frame
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.duplicates import content_hash
from ultrasam.store.measurements import from_json
from ultrasam.store.splits import EXCLUDED
from ultrasam.store.store import Store

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault in a store.

    Attributes:
        kind: kind of fault, such as ``missing image``.
        where: the image or instance.
        detail: what is wrong.
    """

    kind: str
    where: str
    detail: str


def validate_store(
    store: Store, *, workers: int = 2, on_progress: OnProgress = no_progress
) -> Iterator[Problem]:
    """Find all faults of a store.

    Args:
        store: the store.
        workers: number of threads.
        on_progress: called with the number of images validated and their total.

    Yields:
        Each fault as it is found.
    """
    yield from split_leaks(store)
    yield from _rows(store)
    total = len(store.images)
    rows = iter(range(total))
    done = 0
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while block := list(islice(rows, _BLOCK)):
            for problems in pool.map(lambda row: list(_image(store, row)), block):
                yield from problems
            done += len(block)
            on_progress(done, total)


def split_leaks(store: Store) -> Iterator[Problem]:
    """Find subjects, groups of similar images, and identical images in more than one split."""
    specs = store.manifest["datasets"]
    owner = {name: spec.get("shares_subjects") or name for name, spec in specs.items()}
    datasets = store.images["dataset"].to_pylist()
    splits = store.images["split"].to_pylist()
    names = store.images["name"].to_pylist()
    columns = {
        "subject": [
            f"{owner.get(dataset, dataset)}/{subject}"
            for dataset, subject in zip(datasets, store.images["subject"].to_pylist(), strict=True)
        ],
        "group of similar images": store.images["group"].to_pylist(),
        "image": store.images["sha256"].to_pylist(),
    }
    for what, keys in columns.items():
        examples: dict[object, dict[str, str]] = defaultdict(dict)
        for key, split, dataset, name in zip(keys, splits, datasets, names, strict=True):
            if split != EXCLUDED:
                examples[key].setdefault(split, f"{dataset}/{name}")
        for by_split in examples.values():
            if len(by_split) > 1:
                where = " and ".join(
                    f"{name} ({split})" for split, name in sorted(by_split.items())
                )
                yield Problem("split leak", where, f"same {what} in {len(by_split)} splits")


def unknown_subjects(store: Store) -> list[str]:
    """What a leak check cannot know, one sentence per data set.

    An image of an unknown subject counts as a subject of its own. Where every image does, images of one
    patient may be in several splits, and nothing in the store shows it.
    """
    found = []
    table = store.images_df().select("dataset", "subject", "subject_known")
    for (name,), rows in table.group_by("dataset", maintain_order=True):
        unknown, count = int((~rows["subject_known"]).sum()), len(rows)
        if count < 2:
            continue
        if unknown:
            part = f"all {count:,}" if unknown == count else f"{unknown:,} of {count:,}"
            found.append(
                f"{name}: the subjects of {part} images are unknown, so each of these counts as a subject of "
                "its own; whether one patient is in several splits cannot be known."
            )
        elif rows["subject"].n_unique() == count:
            found.append(
                f"{name}: each of the {count:,} images has a subject of its own; if a patient has several "
                "images, nothing keeps them in one split."
            )
    return found


def _rows(store: Store) -> Iterator[Problem]:
    """Find rows with a wrong instance count or damaged measurements, and files of several rows."""
    counts = np.bincount(store.column("image"), minlength=len(store.images))
    expected = np.asarray(store.images["instance_count"])
    for row in np.flatnonzero(counts != expected):
        where = store.images["file"][int(row)].as_py()
        yield Problem("table", where, f"{counts[row]} instances instead of {expected[row]}")
    cells = (store.images["file"].to_pylist(), store.images["measurements"].to_pylist())
    for file, cell in zip(*cells, strict=True):
        try:
            from_json(cell, where=store.root)
        except DataError:
            yield Problem("table", file, "the measurements are damaged")
    for file, count in Counter(store.images["file"].to_pylist()).items():
        if count > 1:
            yield Problem("table", file, f"{count} rows name this file")


def _image(store: Store, row: int) -> Iterator[Problem]:
    path, file = store.path(row), str(store.images["file"][row].as_py())
    size = (store.images["height"][row].as_py(), store.images["width"][row].as_py())
    try:
        pixels = decode_frame(path.read_bytes(), file)
    except FileNotFoundError:
        yield Problem("missing image", file, "build the store again")
        return
    except OSError as error:
        yield Problem("unreadable image", file, one_line(error))
        return
    except UltraSamError:
        detail = "it cannot be decoded; delete the file and build the store again"
        yield Problem("corrupt image", file, detail)
        return
    if pixels.shape[:2] != size:
        actual = f"{pixels.shape[1]} × {pixels.shape[0]}"
        yield Problem("image size", file, f"{actual} pixels instead of {size[1]} × {size[0]}")
    elif content_hash(pixels) != store.images["sha256"][row].as_py():
        detail = (
            "the pixels have changed since the build; delete the file and build the store again"
        )
        yield Problem("hash mismatch", file, detail)
    for instance in store.instances_of(row):
        yield from _instance(store, instance, size, file)


def _instance(store: Store, row: int, size: tuple[int, int], file: str) -> Iterator[Problem]:
    where = f"{file} instance {row}"
    x0, y0, x1, y1 = store.box(row)
    if not (0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]):
        detail = f"{(x0, y0, x1, y1)} in an image of {size[1]} × {size[0]} pixels"
        yield Problem("box out of bounds", where, detail)
        return
    try:
        counts = store.instances["rle"][row].as_py().decode("ascii")
        mask = decode_rle({"size": list(size), "counts": counts})
    except Exception as error:
        yield Problem("corrupt mask", where, one_line(error))
        return
    area = int(np.count_nonzero(mask))
    if not area:
        yield Problem("empty mask", where, "the mask has no pixels")
    elif area != int(store.column("area")[row]):
        detail = f"the area is {area} pixels instead of {store.column('area')[row]}"
        yield Problem("mask", where, detail)
    elif tuple(int(v) for v in bounding_box(mask)) != (x0, y0, x1, y1):
        yield Problem("mask", where, "the box does not fit the mask")
