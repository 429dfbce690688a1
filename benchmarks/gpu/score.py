"""Dice of several weights on the subjects of the packed store that were held out of training.

    python benchmarks/gpu/score.py nano WEIGHTS... --store STORE --out FOLDER

A first look, not a comparison: the shipped nano was trained on most of these very images.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from results import Results

import ultrasam
from ultrasam.evaluation.protocol import evaluate_prompts
from ultrasam.store.sampling import spread
from ultrasam.store.store import Store

KINDS = ("box", "box10", "point", "points3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=10_000, help="at most")
    arguments = parser.parse_args()
    results = Results(arguments.out / "held_out.json")
    store = Store.open(arguments.store)
    rows = store.select(splits=["val"], with_instances=True)
    images = [image.loaded() for image in store.annotated_images(spread(rows, arguments.images))]
    for weights in arguments.weights:
        try:
            start = time.perf_counter()
            predictor = ultrasam.Predictor(weights, device=arguments.device, precision="float32")
            found: dict[tuple[str, str], list[float]] = defaultdict(list)
            for score in evaluate_prompts(predictor, images, KINDS):
                found[score.prompt, "all"].append(score.dice)
                found[score.prompt, score.dataset].append(score.dice)
            dice: dict[str, dict[str, float]] = defaultdict(dict)
            for (kind, dataset), values in found.items():
                dice[dataset][kind] = float(np.mean(values))
            results.add(
                "scores",
                {
                    "weights": Path(weights).name,
                    "images": len(images),
                    "objects": len(found["box", "all"]),
                    "seconds": time.perf_counter() - start,
                    "dice": dice,
                },
            )
        except Exception as error:  # the other weights still count
            results.fail(Path(weights).name, error)
    if results.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
