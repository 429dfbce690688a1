"""Question: how much does image classification gain from nano's weights?

Peer: the same network with random weights. Five-fold cross-validation by subject, on phantoms that show a
single kind of object (lesion, cyst, vessel or nerve) and on BUSI (benign, malignant). Prints the gain with
its bootstrap interval over subjects; BUSI has no subject names, so there each image is a subject.

    python benchmarks/initialization.py --data DIR [--modes linear,full] [--steps 120]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.classification.scores import gain, score
from ultrasam.downstream.classification.task import cross_validate
from ultrasam.downstream.images import (
    ClassImages,
    folds_of,
    keep_classes,
    label_of,
    open_class_images,
)
from ultrasam.downstream.settings import ClassifierSettings
from ultrasam.phantom.acquisition import simulate

KINDS = {
    "lesion": "lesion", "cyst": "cyst", "complex cyst": "cyst", "nerve": "nerve", "vessel": "vessel",
    "vessel along its axis": "vessel",
}  # fmt: skip
FIGURES = ("accuracy", "balanced accuracy", "AUROC")
SIZE = {"linear": 256, "attention": 256, "lora": 160, "adapter": 160, "full": 160}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--modes", default="linear,full")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--each", type=int, default=50, help="phantoms per class")
    arguments = parser.parse_args()
    sets = {"phantoms": phantoms(arguments.each)}
    if arguments.data.is_dir():
        sets["BUSI"] = keep_classes(
            open_class_images([str(arguments.data)]), ["benign", "malignant"]
        )
    else:
        print(f"Folder {arguments.data} does not exist; skipping real images.")
    for title, found in sets.items():
        print(f"{title}: {len(found.images)} images, classes {', '.join(found.classes)}")
        for mode in arguments.modes.split(","):
            frozen = mode in ("linear", "attention")  # whose steps cost next to nothing
            steps = arguments.steps * (10 if frozen else 1)
            settings = ClassifierSettings.model_validate(
                {
                    "mode": mode,
                    "size": SIZE[mode],
                    "trainer": {"max_steps": steps, "batch": 8},
                    "optimizer": {"lr": 1e-3 if mode != "full" else 3e-4, "encoder_lr": 1.0},
                }
            )
            compare(found, settings)


def phantoms(each: int) -> ClassImages:
    """The first ``each`` phantoms per class that show a single kind of object."""
    kept: dict[str, list[AnnotatedImage]] = defaultdict(list)
    number = 3 * 10**6
    while len(kept) < len(set(KINDS.values())) or min(map(len, kept.values())) < each:
        number += 1
        phantom = simulate(number, size=(128, 144))
        kinds = {KINDS.get(name, "other") for name in phantom.names}
        if len(kinds) == 1 and kinds != {"other"}:
            label = kinds.pop()
            if len(kept[label]) < each:
                kept[label].append(
                    AnnotatedImage.in_memory(
                        phantom.pixels, name=str(number), subject=str(number), class_label=label
                    )
                )
    return ClassImages(tuple(item for items in kept.values() for item in items))


def compare(found: ClassImages, settings: ClassifierSettings) -> None:
    items = found.images
    folds = folds_of(items, 5, seed=settings.seed)
    subjects = [item.subject_key for item in items]
    truth = np.array([found.classes.index(label_of(item)) for item in items])
    predicted = {}
    for init in ("nano", "random:nano"):
        start = time.perf_counter()
        predicted[init] = cross_validate(load_backbone(init), items, found.classes, folds, settings)
        scored = score(truth, predicted[init], subjects)
        text = "  ".join(f"{name} {scored[name]}" for name in FIGURES)
        print(
            f"  {settings.mode:<9} {init:<13} {text}  {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    gained = gain(truth, predicted["nano"], predicted["random:nano"], subjects)
    text = "  ".join(
        f"{n} {gained[n].value:+.3f} [{gained[n].low:+.3f}, {gained[n].high:+.3f}]" for n in FIGURES
    )
    print(f"  {settings.mode:<9} {'gain':<13} {text}", flush=True)


if __name__ == "__main__":
    main()
