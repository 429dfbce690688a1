"""Trains nano until a given time, through `ultrasam.training.train.train`.

    python benchmarks/gpu/train.py NAME --until SECONDS --store STORE --out FOLDER --work FOLDER [--init nano]

A probe of a few hundred steps measures this machine's rate; the run's length follows from it, so that the
learning rate reaches zero shortly before the time is up. If time runs out all the same, the weights of the
last checkpoint are saved instead, and the exit status is 3.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import torch
from results import Results

import ultrasam
from ultrasam.training.engine import LAST
from ultrasam.training.recipe import Recipe, load_recipe
from ultrasam.training.shipped import recipe_path
from ultrasam.training.train import prepare_model, train
from ultrasam.weights.files import write_checkpoint

RECIPE = recipe_path("nano-gpu")
SAVING = 12.0  # seconds for the end: the last checkpoint, the report, the weights
START = 15.0  # and for the start: opening the data, workers
CAUTION = 0.92  # of the measured rate
PROBE, PROBE_ON_CPU = 240, 8  # steps
_BATCH = 16 * 2**20  # bytes of a batch of 64 views and their targets, generously
_SHARED = 2**30  # bytes of shared memory, where its size is unknown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the run and its weights")
    parser.add_argument("--until", type=float, required=True, help="when to be done; Unix time")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="for the weights and the figures")
    parser.add_argument("--work", type=Path, required=True, help="for checkpoints and the log")
    parser.add_argument("--init", help="continue from these weights, at a lower learning rate")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe; repeat"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.out / "training.json")
    try:
        run(arguments, results)
    except Exception as error:
        results.fail(arguments.name, error)
        raise SystemExit(1) from error


def run(arguments: argparse.Namespace, results: Results) -> None:
    name, weights = arguments.name, arguments.out / f"{arguments.name}.safetensors"
    on_gpu = arguments.device.startswith("cuda")
    changes = [
        f"data.store.path={arguments.store}",
        f"output={arguments.work}",
        f"trainer.accelerator={'gpu' if on_gpu else 'cpu'}",
        f"trainer.workers={workers()}",
    ]
    if arguments.init:
        changes += [f"init={arguments.init}", "optimizer.lr=4.0e-4", "optimizer.decay_fraction=0.9"]
    changes += arguments.set
    # The loader's workers need the cores more than this process does.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    rate = measured_rate(changes, PROBE if on_gpu else PROBE_ON_CPU)
    left = arguments.until - time.time() - START - SAVING
    recipe = load_recipe(
        RECIPE, [*changes, f"name={name}", *length(max(20, int(left * rate * CAUTION)))]
    )
    steps, batch = recipe.trainer.max_steps, recipe.trainer.batch
    print(f"{rate:.2f} steps/s: {steps} steps in {left:.0f} s", flush=True)
    shutil.rmtree(recipe.folder, ignore_errors=True)
    guard = threading.Timer(
        max(1.0, arguments.until - SAVING / 2 - time.time()), rescue, (recipe, weights, results)
    )
    guard.daemon = True
    guard.start()
    begun = time.time()
    folder = train(recipe)
    guard.cancel()
    model = ultrasam.load_model(folder, device="cpu", precision="float32")
    write_checkpoint(model, weights, dtype=torch.float16)
    seconds = time.time() - begun
    results.add(
        "runs",
        {
            "name": name,
            "weights": weights.name,
            "steps": steps,
            "batch": batch,
            "minutes": seconds / 60,
            "steps_per_second_probed": rate,
            "views_per_second": steps * batch / seconds,
            "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None,
            **last_scores(recipe.folder / "log" / "metrics.csv"),
        },
    )


def length(steps: int) -> list[str]:
    """Keys of a recipe that depend on its number of steps."""
    return [
        f"trainer.max_steps={steps}",
        # At least ten checkpoints, one of which is saved when time runs out.
        f"trainer.checkpoint_every={max(2, min(500, steps // 10))}",
        f"optimizer.warmup_steps={min(300, steps // 10)}",
        f"trainer.ema_start={min(600, steps // 5)}",
    ]


def workers() -> int:
    """As many as there are cores, less two, and as fit into shared memory: each holds two batches."""
    room = _SHARED
    if Path("/dev/shm").is_dir():
        room = shutil.disk_usage("/dev/shm").free
    return max(1, min((os.cpu_count() or 2) - 2, room // (3 * _BATCH)))


def measured_rate(changes: list[str], steps: int) -> float:
    """Steps a second of a short run, without its first third, whose batches were ready before it began."""
    recipe = load_recipe(RECIPE, [*changes, "name=probe", *length(steps)])
    shutil.rmtree(recipe.folder, ignore_errors=True)
    times: list[float] = []
    train(recipe, on_progress=lambda _done, _total, **_scores: times.append(time.monotonic()))
    times = times[len(times) // 3 :]
    return (len(times) - 1) / (times[-1] - times[0])


def rescue(recipe: Recipe, weights: Path, results: Results) -> None:
    """Time is up: save the weights of the last checkpoint, and end the process."""
    try:
        if not (recipe.folder / LAST).exists():
            raise TimeoutError("cut off before the first checkpoint")
        state = torch.load(recipe.folder / LAST, map_location="cpu", weights_only=False)
        model = prepare_model(recipe)
        model.load_state_dict({k.removeprefix("model."): v for k, v in state["state_dict"].items()})
        write_checkpoint(model, weights, dtype=torch.float16)
        raise TimeoutError(
            f"cut off after {state['global_step']} of {recipe.trainer.max_steps} steps"
        )
    except Exception as error:
        results.fail(recipe.name, error)
    finally:
        os._exit(3)


def last_scores(log: Path) -> dict[str, float]:
    """Means over the last rows of a run's log."""
    with log.open(newline="") as lines:
        rows = list(csv.DictReader(lines))[-10:]
    found = {}
    for key in ("loss", "box_iou", "click_iou", "click_iou_last"):
        values = [float(row[key]) for row in rows if row.get(key)]
        if values:
            found[key] = sum(values) / len(values)
    return found


if __name__ == "__main__":
    main()
