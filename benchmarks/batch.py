"""Claims: a sharded run is at least 0.9 times as fast as its image encoder alone, and its memory stays flat.

Peer: the encoder of the same model in a loop on images that are in memory and preprocessed, in the same run,
alternating with the shards. The sharded run also reads, preprocesses, decodes prompts, measures masks, writes
and syncs. Both have one thread for the network, as each of two workers has on two cores. Processor time is
printed beside wall time, because on a machine that others use only the former is comparable. What test-time
augmentation encodes besides the whole frame counts for the encoder, too: the views are counted.

    python benchmarks/batch.py [--models nano+no-tta random:vit-b] [--images 40] [--shards 5]
    python benchmarks/batch.py --memory 10000
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
from measure import report

from ultrasam.cluster.inputs import find_sources
from ultrasam.cluster.job import Job
from ultrasam.cluster.manifest import write_plan
from ultrasam.cluster.run import run_shards
from ultrasam.cluster.shards import ShardRunner
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.weights.hub import save_pretrained


@dataclass(frozen=True)
class Cost:
    """Of an image, in seconds."""

    wall: float
    processor: float


def timed(work: Callable[[], object], images: int) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Cost((time.perf_counter() - wall) / images, (time.process_time() - processor) / images)


def pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """PNG images of phantoms, no two alike; ``size`` is (height, width)."""
    folder.mkdir()
    phantoms = [simulate(seed, size=size).pixels.astype(np.int16) for seed in range(min(count, 8))]
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        noisy = phantoms[number % len(phantoms)] + rng.integers(-6, 7, phantoms[0].shape, np.int16)
        paths.append(folder / f"{number:06d}.png")
        cv2.imwrite(str(paths[-1]), np.clip(noisy, 0, 255).astype(np.uint8))
    return paths


def plan(out: Path, folder: Path, task: str, model: str, shard_size: int, side: int) -> Job:
    box = {"number": 0, "box": [side * 0.2, side * 0.2, side * 0.7, side * 0.6]}
    prompts = None if task == "features" else (box,)
    job = Job(
        task=task, model=model, inputs=(str(folder),), prompts=prompts, shard_size=shard_size,
        device="cpu",
    )  # type: ignore[arg-type]  # fmt: skip
    sources = find_sources(job.inputs)
    entries = [PromptEntry(0, Prompt(box=box["box"]))]
    assigned = AssignedPrompts({source.path: entries for source in sources}, {})
    return write_plan(out, job, sources, None if prompts is None else assigned)


def throughput(models: list[str], tasks: list[str], images: int, shards: int) -> None:
    size = (480, 640)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        paths = pictures(Path(place) / "images", images * shards, size)
        for model in models:
            for task in tasks:
                out = Path(place) / f"{model.replace(':', '-')}-{task}"
                plan(out, paths[0].parent, task, model, images, size[0])
                compare(
                    ShardRunner(out, threads=1), Predictor(model, device="cpu"), paths[0], shards
                )


def compare(runner: ShardRunner, predictor: Predictor, path: Path, shards: int) -> None:
    """Alternate between shards and the encoder alone."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    backend = predictor.backend
    batch = backend.preprocessor.image(pixels, backend.preprocessor.view(*pixels.shape))[None]
    images, task = runner.job.shard_size, runner.job.task
    encoder, encoded = type(backend).encode, 0

    def encode() -> None:
        for _ in range(images):
            if task == "features":
                with torch.inference_mode():
                    backend.model.image_encoder.features(torch.from_numpy(batch))  # type: ignore[attr-defined]
            else:
                encoder(backend, batch)

    def counting(self: object, images: np.ndarray) -> object:
        nonlocal encoded
        encoded += len(images)
        return encoder(self, images)  # type: ignore[arg-type]

    encode()
    runner.run(0)  # opens the model
    alone, whole = [], []
    type(backend).encode = counting  # type: ignore[method-assign,assignment]
    try:
        for shard in range(1, shards):
            alone.append(timed(encode, images))
            whole.append(timed(partial(runner.run, shard), images))
    finally:
        type(backend).encode = encoder  # type: ignore[method-assign]
    views = encoded / (images * (shards - 1)) if task == "prompts" else 1
    rows = {"views encoded for an image": f"{views:.1f}"}
    for kind in ("wall", "processor"):
        peer = views * statistics.median(getattr(cost, kind) for cost in alone)
        ours = statistics.median(getattr(cost, kind) for cost in whole)
        rows[f"{kind} time"] = (
            f"{ours * 1e3:.0f} ms an image, encoder alone {peer * 1e3:.0f} ms: "
            f"{peer / ours:.2f} times the encoder's throughput (target 0.90)"
        )
    report(
        f"{runner.job.model}, {task}, {pixels.shape[1]} × {pixels.shape[0]} px, one thread, median of "
        f"{shards - 1} shards of {images} images",
        rows,
    )


def memory(count: int) -> None:
    """Resident memory of a process that runs all shards, with a network of a few thousand weights."""
    config = replace(
        CONFIGS["nano"], name="small", image_size=64, width=48, depth=2, mlp_width=96,
        decoder_width=64, decoder_mlp_width=64, upscale_channels=(16, 8),
    )  # fmt: skip
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        model = save_pretrained(UltraSam(config).eval(), Path(place) / "small")
        pictures(Path(place) / "images", count, (48, 64))
        out = Path(place) / "out"
        plan(out, Path(place) / "images", "prompts", str(model), 200, 48)
        resident: dict[int, float] = {}

        def note(done: int, total: int, **info: object) -> None:
            resident[done] = psutil.Process().memory_info().rss / 2**20

        start = time.monotonic()
        outcome = run_shards(out, on_progress=note)
        shards = sorted(resident)[1:]
        tenths = [shards[round(len(shards) * part / 10) - 1] for part in range(1, 11)]
        rows = {
            "images, failed": f"{sum(one.files for one in outcome.done)}, "
            f"{sum(one.failed for one in outcome.done)}",
            "seconds": f"{time.monotonic() - start:.0f}",
            "MB after each tenth": ", ".join(f"{resident[n]:.0f}" for n in tenths),
            "growth from the first tenth to the last": f"{resident[tenths[-1]] - resident[tenths[0]]:.0f} MB",
        }
        report(f"Memory of a process over {count} images in {len(shards)} shards", rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=["nano+no-tta", "nano", "random:vit-b"])
    parser.add_argument("--tasks", nargs="+", default=["prompts", "features"])
    parser.add_argument("--images", type=int, default=20, help="in a shard")
    parser.add_argument("--shards", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="IMAGES")
    given = parser.parse_args()
    if given.memory:
        memory(given.memory)
    else:
        throughput(given.models, given.tasks, given.images, given.shards)


if __name__ == "__main__":
    main()
