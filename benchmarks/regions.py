"""Claim: where one image shows objects of two classes, a prompt tells which one is meant.

Phantoms that show both vessels and nerves; nano trained on some by `ultrasam.downstream.regions`, tested on
others.
Peer: the best that any classifier of whole images could do, which says one class for all objects of an image:
the larger class's share, image by image. Target: 10 points above it.

    python benchmarks/regions.py [--steps 320] [--phantoms 2600]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.regions.task import accuracy, train_region_classifier
from ultrasam.downstream.settings import RegionSettings
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.phantom.acquisition import simulate

CLASSES = ("nerve", "vessel")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--phantoms", type=int, default=2600)
    arguments = parser.parse_args()
    train = phantoms(10**6, arguments.phantoms)
    test = phantoms(2 * 10**6, 700)
    start = time.perf_counter()
    settings = RegionSettings.model_validate({"trainer": {"max_steps": arguments.steps}})
    classifier = train_region_classifier(load_backbone("nano"), train, settings)
    objects = sum(len(image.labels) for image in test)
    whole = sum(max(Counter(image.labels).values()) for image in test) / objects
    print(f"{len(train)} phantoms to train on, {len(test)} with {objects} objects to test on")
    print(f"{arguments.steps} steps in {time.perf_counter() - start:.0f} s")
    print(f"  one class an image, at best  {whole:.3f}")
    for kind in ("box", "point"):
        found = accuracy(classifier, test, kind)
        print(f"  {kind:<28} {found:.3f}  {100 * (found - whole):+.1f} points (target +10)")


def phantoms(seed: int, count: int) -> list[InstanceTarget]:
    """Those of ``count`` phantoms that show both classes."""
    kept = []
    for number in range(seed, seed + count):
        phantom = simulate(number, size=(128, 144))
        rows = [i for i, name in enumerate(phantom.names) if name in CLASSES]
        labels = tuple(phantom.names[i] for i in rows)
        if set(labels) == set(CLASSES):
            kept.append(
                InstanceTarget.of(
                    phantom.pixels,
                    phantom.masks[rows],
                    labels,
                    name=str(number),
                    subject=str(number),
                )
            )
    return kept


if __name__ == "__main__":
    main()
