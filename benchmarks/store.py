"""Claim: a store is faster to build and to open than common alternatives, and needs less memory.

Peers, on the same content in the same run: a typical research script that builds a data set (imageio,
scikit-image, JSON; one process), and `pycocotools.COCO` as the index. Also measures the training loader at
1024 px, and how much of its time is PNG decoding.

Heavy libraries are imported where they are used, because each worker process imports this file too.

    python benchmarks/store.py --data DIR [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ultrasam.benchmark.timing import added_memory
from ultrasam.datasets.discover import find_datasets
from ultrasam.images.masks import encode_rle
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.migrations import VERSION
from ultrasam.store.store import IMAGES, INSTANCES, Store, write_table

IMAGE_COUNT, MASK_COUNT, DRAWN = 280_000, 400_000, 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--index", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.index:
        measure_index(*arguments.index)
        return
    if not arguments.data.is_dir():
        raise SystemExit(f"Folder {arguments.data} does not exist; set --data.")
    with tempfile.TemporaryDirectory() as scratch:
        building(arguments.data, Path(scratch), arguments.rounds)
        index(Path(scratch), arguments.rounds)
        loading(arguments.data, Path(scratch))


def building(raw: Path, scratch: Path, rounds: int) -> None:
    """Images per second for BUSI and HC18, which both methods can read."""
    times: dict[str, list[float]] = {"ours, 2 processes": [], "ours, 1 process": [], "script": []}
    sources = find_datasets([str(raw)], only=["busi", "hc18"])
    roots = {data.info.id: root for data, root in sources}
    count = 0
    for k in range(rounds):
        for workers, name in ((2, "ours, 2 processes"), (0, "ours, 1 process")):
            out = scratch / f"ours{k}{workers}"
            start = time.perf_counter()
            built = build_store(sources, out, settings=BuildSettings(), workers=workers)
            times[name].append(time.perf_counter() - start)
            shutil.rmtree(out)
        start = time.perf_counter()
        count = naive(roots, scratch / f"naive{k}")
        times["script"].append(time.perf_counter() - start)
        assert count == built.summary.manifest["images"]
        shutil.rmtree(scratch / f"naive{k}")
    print(f"Building a store of {count} images (BUSI and HC18, median of {rounds} rounds)")
    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, seconds in middle.items():
        print(f"  {name:<18} {count / seconds:6.1f} images/s")
    ratio = middle["script"] / middle["ours, 2 processes"]
    print(f"  speedup            {ratio:6.2f} (target 3)")


def naive(roots: dict[str, Path], out: Path) -> int:
    """A typical research script: read, threshold, label, write PNG files and one JSON file."""
    import imageio.v3 as imageio
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import label, regionprops

    (out / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    busi = sorted(p for p in roots["busi"].rglob("*.png") if "_mask" not in p.name)
    heads = sorted(p for p in roots["hc18"].rglob("*HC.png"))
    for path in [*busi, *heads]:
        pixels = imageio.imread(path)
        if path in heads:
            outline = imageio.imread(path.with_name(path.stem + "_Annotation.png"))
            masks = [binary_fill_holes(outline > 127)]
        else:
            files = sorted(path.parent.glob(f"{path.stem}_mask*.png"))
            masks = [_gray(imageio.imread(f)) >= 150 for f in files]
        name = f"{len(images):05d}.png"
        imageio.imwrite(out / "images" / name, pixels)
        height, width = pixels.shape[:2]
        images.append({"id": len(images), "file_name": name, "height": height, "width": width})
        for mask in masks:
            found = label(mask)
            for region in regionprops(found):
                part = found == region.label
                rle = coco_mask.encode(np.asfortranarray(part, np.uint8))
                rle["counts"] = rle["counts"].decode()
                y0, x0, y1, x1 = region.bbox
                annotations.append(
                    {"id": len(annotations), "image_id": len(images) - 1, "category_id": 1,
                     "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(region.area),
                     "segmentation": rle, "iscrowd": 0}
                )  # fmt: skip
    (out / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return len(images)


def _gray(mask: np.ndarray) -> np.ndarray:
    return mask[..., 0] if mask.ndim == 3 else mask


def index(scratch: Path, rounds: int) -> None:
    """Open an index and draw the boxes of random images, each in a process of its own."""
    make_index(scratch)
    found: dict[str, list[dict[str, float]]] = {"store": [], "coco": []}
    for _ in range(rounds):
        for kind, path in (("store", scratch / "index"), ("coco", scratch / "coco.json")):
            command = [sys.executable, __file__, "--index", kind, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {
        kind: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for kind, runs in found.items()
    }
    assert middle["store"]["sum"] == middle["coco"]["sum"], (
        "the two indices returned different boxes"
    )
    print(f"\nOpening an index of {IMAGE_COUNT:,} images and {MASK_COUNT:,} masks")
    print(f"and reading the boxes of {DRAWN:,} images")
    for kind, name in (("store", "store"), ("coco", "pycocotools.COCO")):
        print(f"  {name:<18} {middle[kind]['seconds']:8.3f} s {middle[kind]['mib']:9.1f} MiB")
    time_ratio = middle["store"]["seconds"] / middle["coco"]["seconds"]
    memory_ratio = middle["store"]["mib"] / middle["coco"]["mib"]
    print(f"  time               1/{1 / time_ratio:.0f} (target 1/20)")
    print(f"  memory             1/{1 / memory_ratio:.0f} (target 1/10)")


def measure_index(kind: str, path: str) -> None:
    rows = np.random.default_rng(0).integers(0, IMAGE_COUNT, DRAWN)
    draw = {"store": draw_from_store, "coco": draw_from_coco}[kind]
    found: dict[str, float] = {}
    kept = []  # keep opened indices alive, as in real use

    def run() -> None:
        start = time.perf_counter()
        opened, found["sum"] = draw(path, rows)
        found["seconds"] = time.perf_counter() - start
        kept.append(opened)

    found["mib"] = added_memory(run)
    print(json.dumps(found))


def draw_from_store(path: str, rows: np.ndarray) -> tuple[Any, int]:
    store, total = Store.open(Path(path)), 0
    for row in rows:
        for instance in store.instances_of(int(row)):
            x0, y0, x1, y1 = store.box(instance)
            total += x0 + y0 + (x1 - x0) + (y1 - y0)
    return store, total


def draw_from_coco(path: str, rows: np.ndarray) -> tuple[Any, int]:
    coco, total = COCO(path), 0
    for row in rows:
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[int(row)])):
            total += sum(annotation["bbox"])
    return coco, total


def make_index(scratch: Path) -> None:
    """Write the same synthetic content as store tables and as COCO JSON."""
    rng = np.random.default_rng(1)
    more = rng.integers(0, IMAGE_COUNT, MASK_COUNT - IMAGE_COUNT)
    owner = np.sort(np.concatenate([np.arange(IMAGE_COUNT), more]))
    counts = np.bincount(owner, minlength=IMAGE_COUNT)
    y, x = np.mgrid[0:480, 0:640]
    shapes = []
    for _ in range(50):
        cx, cy, r = rng.integers(150, 490), rng.integers(150, 330), rng.integers(15, 140)
        mask = np.hypot(x - cx, y - cy) < r + 4 * np.sin(np.arctan2(y - cy, x - cx) * 9)
        box = [int(cx - r), int(cy - r), int(cx + r), int(cy + r)]
        shapes.append((str(encode_rle(mask)["counts"]), int(mask.sum()), box))
    picked = rng.integers(0, len(shapes), MASK_COUNT)
    boxes = np.array([shapes[k][2] for k in picked], np.int32)
    names = [f"images/toy/{i:06d}.png" for i in range(IMAGE_COUNT)]
    root = scratch / "index"
    root.mkdir()

    def filled(schema: pa.Schema, count: int, **columns: Any) -> pa.Table:
        arrays = []
        for field in schema:
            if field.name in columns:
                values = pa.array(columns[field.name])
                if pa.types.is_dictionary(field.type):
                    values = values.dictionary_encode()
                arrays.append(values.cast(field.type))
            else:
                arrays.append(pa.nulls(count, field.type))
        return pa.Table.from_arrays(arrays, schema=schema)

    images = filled(
        IMAGES, IMAGE_COUNT, dataset=["toy"] * IMAGE_COUNT, name=names, file=names, source=names,
        subject=names, split=["train"] * IMAGE_COUNT, height=np.full(IMAGE_COUNT, 480),
        width=np.full(IMAGE_COUNT, 640), sha256=[bytes(32)] * IMAGE_COUNT,
        shape_hash=[bytes(32)] * IMAGE_COUNT, texture_hash=[bytes(32)] * IMAGE_COUNT,
        first_instance=np.concatenate([[0], np.cumsum(counts)[:-1]]), instance_count=counts,
    )  # fmt: skip
    instances = filled(
        INSTANCES, MASK_COUNT, image=owner, dataset=["toy"] * MASK_COUNT,
        subject=[names[i] for i in owner], split=["train"] * MASK_COUNT,
        structure=["object"] * MASK_COUNT, x0=boxes[:, 0], y0=boxes[:, 1], x1=boxes[:, 2],
        y1=boxes[:, 3], area=[shapes[k][1] for k in picked],
        rle=[shapes[k][0].encode() for k in picked], source=[names[i] for i in owner],
        sha256=[bytes(32)] * MASK_COUNT,
    )  # fmt: skip
    write_table(root / "images.arrow", images, build="b")
    write_table(root / "instances.arrow", instances, build="b")
    (root / "manifest.json").write_text(json.dumps({"store_version": VERSION, "build": "b"}))
    content = {
        "images": [
            {"id": i, "file_name": name, "height": 480, "width": 640} for i, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {"id": k, "image_id": int(owner[k]), "category_id": 1, "iscrowd": 0,
             "bbox": [int(b[0]), int(b[1]), int(b[2] - b[0]), int(b[3] - b[1])],
             "area": shapes[picked[k]][1],
             "segmentation": {"size": [480, 640], "counts": shapes[picked[k]][0]}}
            for k, b in enumerate(boxes)
        ],
    }  # fmt: skip
    (scratch / "coco.json").write_text(json.dumps(content))


def loading(raw: Path, scratch: Path) -> None:
    """Samples per second at 1024 px with two workers, and the fraction of time spent on decoding."""
    from torch.utils.data import DataLoader

    from ultrasam.training.augmentation import Augmentation
    from ultrasam.training.prompt_sampling import PromptSampling
    from ultrasam.training.promptable_data import PromptableViews, collate
    from ultrasam.training.sources import store_sources

    root = scratch / "loaded"
    build_store(find_datasets([str(raw)]), root, settings=BuildSettings(), workers=2)
    sources = store_sources(Store.open(root), temperature=2.0)
    count = 240
    data = PromptableViews(
        sources, image_size=1024, mask_size=256, prompts=PromptSampling(), seed=0,
        augmentation=Augmentation(
            zoomed=0.5, rotation=15, stretch=0.15, brightness=1, degradation=0.2, scale=0.12
        ),
    )  # fmt: skip
    batches = DataLoader(
        data, batch_size=8, sampler=range(count), num_workers=2, collate_fn=collate
    )
    iterator = iter(batches)
    next(iterator)  # the workers have started
    start, prompts = time.perf_counter(), 0
    images = 0
    for batch in iterator:
        images += len(batch.pixels)
        prompts += len(batch.targets)
    seconds = time.perf_counter() - start
    decoding = 0.0
    plain = Store.pixels

    def timed(self: Store, image: int, **options: Any) -> Any:
        nonlocal decoding
        begun = time.perf_counter()
        found = plain(self, image, **options)
        decoding += time.perf_counter() - begun
        return found

    Store.pixels = timed  # type: ignore[method-assign]
    start = time.perf_counter()
    for k in range(60):
        data[k]
    alone = time.perf_counter() - start
    Store.pixels = plain  # type: ignore[method-assign]
    print("\nLoading at 1024 px with all augmentations")
    print(
        f"  2 workers          {images / seconds:6.1f} samples/s, {prompts / seconds:.0f} prompts/s"
    )
    print(
        f"  1 process          {60 / alone:6.1f} samples/s, {decoding / alone:.0%} of the time decoding PNG"
    )


if __name__ == "__main__":
    main()
