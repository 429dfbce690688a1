"""Is a store sound: every image whole and the one that was built, every mask inside it, no split leak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ultrasam.errors import UltraSamError, one_line
from ultrasam.images.masks import box_of, decode_rle
from ultrasam.images.raster import decode_frame
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.duplicates import content_hash
from ultrasam.store.splits import EXCLUDED
from ultrasam.store.store import Store

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: of which kind, where, and what exactly."""

    kind: str
    where: str
    detail: str


def check(
    store: Store, *, workers: int = 2, on_progress: OnProgress = no_progress
) -> Iterator[Problem]:
    """All faults of a store, as they are found."""
    yield from leaks(store)
    yield from _rows(store)
    total = len(store.images)
    rows = iter(range(total))
    done = 0
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while block := list(islice(rows, _BLOCK)):
            for found in pool.map(lambda row: list(_image(store, row)), block):
                yield from found
            done += len(block)
            on_progress(done, total)


def leaks(store: Store) -> Iterator[Problem]:
    """Subjects, groups of equal images and equal pixels that stand on more than one side."""
    described = store.manifest["datasets"]
    owner = {name: d.get("shares_subjects") or name for name, d in described.items()}
    datasets = store.images["dataset"].to_pylist()
    sides = store.images["split"].to_pylist()
    names = store.images["name"].to_pylist()
    columns = {
        "subject": [
            f"{owner.get(dataset, dataset)}/{subject}"
            for dataset, subject in zip(datasets, store.images["subject"].to_pylist(), strict=True)
        ],
        "group of like images": store.images["group"].to_pylist(),
        "image": store.images["sha256"].to_pylist(),
    }
    for what, keys in columns.items():
        seen: dict[object, dict[str, str]] = defaultdict(dict)
        for key, side, dataset, name in zip(keys, sides, datasets, names, strict=True):
            if side != EXCLUDED:
                seen[key].setdefault(side, f"{dataset}/{name}")
        for by_side in seen.values():
            if len(by_side) > 1:
                where = " and ".join(f"{name} ({side})" for side, name in sorted(by_side.items()))
                yield Problem("split leak", where, f"one {what} on {len(by_side)} sides")


def _rows(store: Store) -> Iterator[Problem]:
    """The two tables agree, and images are there once."""
    counts = np.bincount(store.column("image"), minlength=len(store.images))
    wanted = np.asarray(store.images["instance_count"])
    for row in np.flatnonzero(counts != wanted):
        where = store.images["file"][int(row)].as_py()
        yield Problem("table", where, f"{counts[row]} instances, its row says {wanted[row]}")
    for file, times in Counter(store.images["file"].to_pylist()).items():
        if times > 1:
            yield Problem("table", file, f"{times} rows name this file")


def _image(store: Store, row: int) -> Iterator[Problem]:
    path, file = store.path(row), str(store.images["file"][row].as_py())
    size = (store.images["height"][row].as_py(), store.images["width"][row].as_py())
    try:
        pixels = decode_frame(path.read_bytes(), file)
    except FileNotFoundError:
        yield Problem("missing image", file, "run ultrasam data build again")
        return
    except (OSError, UltraSamError) as error:
        yield Problem("corrupt image", file, str(error))
        return
    if pixels.shape[:2] != size:
        yield Problem("image size", file, f"{pixels.shape[:2]}, its row says {size}")
    elif content_hash(pixels) != store.images["sha256"][row].as_py():
        detail = "its pixels are not those that were built; delete it and build again"
        yield Problem("hash mismatch", file, detail)
    for instance in store.instances_of(row):
        yield from _instance(store, instance, size, file)


def _instance(store: Store, row: int, size: tuple[int, int], file: str) -> Iterator[Problem]:
    where = f"{file} instance {row}"
    x0, y0, x1, y1 = store.box(row)
    if not (0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]):
        yield Problem("box out of bounds", where, f"{(x0, y0, x1, y1)} in {size[1]} × {size[0]}")
        return
    try:
        counts = store.instances["rle"][row].as_py().decode("ascii")
        mask = decode_rle({"size": list(size), "counts": counts})
    except Exception as error:
        yield Problem("corrupt mask", where, one_line(error))
        return
    area = int(np.count_nonzero(mask))
    if not area:
        yield Problem("empty mask", where, "it has no pixels")
    elif area != int(store.column("area")[row]):
        yield Problem("mask", where, f"{area} pixels, its row says {store.column('area')[row]}")
    elif tuple(int(v) for v in box_of(mask)) != (x0, y0, x1, y1):
        yield Problem("mask", where, "its box is not the one in its row")
