"""Claim: in images with objects of two classes, region classification beats any image classifier.

Fine-tunes nano on phantoms that show both vessels and nerves, and tests it on others.
Peer: the upper bound of image classification, which predicts one class for all objects in an image: the
fraction of objects in the larger class of their image. Target: 10 points above it.

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
    upper_bound = sum(max(Counter(image.labels).values()) for image in test) / objects
    print(f"{len(train)} training phantoms, {len(test)} test phantoms with {objects} objects")
    print(f"{arguments.steps} steps in {time.perf_counter() - start:.0f} s")
    print(f"  {'one class per image, at best':<28} {upper_bound:.3f}")
    for kind in ("box", "point"):
        result = accuracy(classifier, test, kind)
        gain = 100 * (result - upper_bound)
        print(f"  {kind:<28} {result:.3f}  {gain:+.1f} points (target +10)")


def phantoms(seed: int, count: int) -> list[InstanceTarget]:
    """The phantoms among ``count`` that show both classes."""
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
