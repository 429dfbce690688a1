"""Small jobs: images, a small model and a plan; and what a run's folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from tests.conftest import TINY, randomized
from ultrasam.cluster.inputs import find_sources
from ultrasam.cluster.job import Job, entries_as_json
from ultrasam.cluster.manifest import write_plan
from ultrasam.cluster.shards import DONE, SHARDS
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.prompts import Prompt
from ultrasam.weights.hub import save_pretrained

BOX = PromptEntry(0, Prompt(box=(6, 5, 30, 24)))


def small_model(folder: Path) -> Path:
    """A saved promptable model that segments something in a few milliseconds."""
    torch.manual_seed(0)
    return save_pretrained(randomized(TINY), folder / "model")


def images(folder: Path, count: int, *, bad: tuple[int, ...] = (), scale: int = 1) -> list[Path]:
    """Gray pictures of 48 × 36 times ``scale``, no two alike; those in ``bad`` are torn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(5), []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        pixels = rng.integers(0, 256, (36, 48)).astype(np.uint8)
        pixels[8:20, 10 : 20 + number % 9] = 220
        Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[:60])
        paths.append(path)
    return paths


def planned(out: Path, inputs: Path | str, model: Path | str, **more: Any) -> Job:
    """A planned job with one box for every image."""
    task = more.pop("task", "prompts")
    job = Job(
        task=task, model=str(model), inputs=(str(inputs),), device="cpu", tta=False,
        prompts=tuple(entries_as_json([BOX])) if task == "prompts" else None, **more,
    )  # fmt: skip
    sources = find_sources(job.inputs)
    assigned = AssignedPrompts({source.path: [BOX] for source in sources}, {})
    return write_plan(out, job, sources, assigned if task == "prompts" else None)


def results(out: Path) -> dict[str, bytes]:
    """The bytes of each result by its name; done-marks, which hold times, are left out."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / SHARDS).rglob("*"))
        if path.is_file() and path.name != DONE
    }


def differences(out: Path, other: Path) -> list[str]:
    """Results that two folders do not have alike, and the columns of tables that differ."""
    ours, theirs = results(out), results(other)
    found = sorted(set(ours) ^ set(theirs))
    for name in sorted(set(ours) & set(theirs)):
        if ours[name] != theirs[name]:
            found.append(name)
            if name.endswith(".parquet"):
                mine, its = (pl.read_parquet(folder / name) for folder in (out, other))
                found += [f"{name}: {c}" for c in mine.columns if not mine[c].equals(its[c])]
    return found


def leftovers(out: Path) -> list[Path]:
    """What a run that is over must not leave."""
    return [path for path in out.rglob("*") if path.name.startswith(".") or path.name == "running"]
