"""Question: what is nano worth as an initialisation, against the same network with random weights?

Classification in five folds by subject, of phantoms by what they show (lesion, cyst, vessel, nerve; one of
them alone in a picture) and of BUSI (benign, malignant), with the gain's interval by bootstrap over subjects.
BUSI names no subjects: there, images are drawn.

    python benchmarks/initialisation.py [--data ../shared/data/train/BUSI] [--modes linear,full] [--steps 120]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ultrasam.downstream.fitting import Settings, cross_validate
from ultrasam.downstream.labelled import (
    Labelled,
    LabelledSet,
    folds_of,
    keep_classes,
    open_labelled,
)
from ultrasam.downstream.scores import gain, score

from ultrasam.downstream.backbone import load_backbone
from ultrasam.phantom.acquisition import simulate

KINDS = {
    "lesion": "lesion", "cyst": "cyst", "complex cyst": "cyst", "nerve": "nerve", "vessel": "vessel",
    "vessel along its axis": "vessel",
}  # fmt: skip
FIGURES = ("accuracy", "balanced accuracy", "AUROC")
SIZE = {"linear": 256, "attention": 256, "lora": 160, "adapter": 160, "full": 160}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/train/BUSI"))
    parser.add_argument("--modes", default="linear,full")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--each", type=int, default=50, help="phantoms of a class")
    arguments = parser.parse_args()
    sets = {"phantoms": phantoms(arguments.each)}
    if arguments.data.is_dir():
        sets["BUSI"] = keep_classes(open_labelled(arguments.data), ["benign", "malignant"])
    else:
        print(f"{arguments.data} is not here: real images are left out")
    for title, found in sets.items():
        print(f"{title}: {len(found.items)} images, classes {', '.join(found.classes)}")
        for mode in arguments.modes.split(","):
            frozen = mode in ("linear", "attention")  # whose steps cost next to nothing
            settings = Settings(
                mode=mode, size=SIZE[mode], steps=arguments.steps * (10 if frozen else 1), batch=8,
                lr=1e-3 if mode != "full" else 3e-4, encoder_lr=1.0,
            )  # fmt: skip
            compare(found, settings)


def phantoms(each: int) -> LabelledSet:
    """The first ``each`` phantoms of every class that show one kind of thing alone."""
    kept: dict[str, list[Labelled]] = defaultdict(list)
    number = 3 * 10**6
    while len(kept) < len(set(KINDS.values())) or min(map(len, kept.values())) < each:
        number += 1
        phantom = simulate(number, size=(128, 144))
        kinds = {KINDS.get(name, "other") for name in phantom.names}
        if len(kinds) == 1 and kinds != {"other"}:
            label = kinds.pop()
            if len(kept[label]) < each:
                read = partial(held, phantom.pixels)
                kept[label].append(Labelled(str(number), label, str(number), read))
    return LabelledSet(tuple(item for items in kept.values() for item in items), ())


def held(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels


def compare(found: LabelledSet, settings: Settings) -> None:
    items: Sequence[Labelled] = found.items
    folds = folds_of(items, 5, seed=settings.seed)
    subjects = [item.subject for item in items]
    truth = np.array([found.classes.index(item.label) for item in items])
    said = {}
    for init in ("nano", "random:nano"):
        start = time.perf_counter()
        said[init] = cross_validate(load_backbone(init), items, found.classes, folds, settings)
        scored = score(truth, said[init], subjects)
        text = "  ".join(f"{name} {scored[name]}" for name in FIGURES)
        print(
            f"  {settings.mode:<9} {init:<13} {text}  {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    gained = gain(truth, said["nano"], said["random:nano"], subjects)
    text = "  ".join(
        f"{n} {gained[n].value:+.3f} [{gained[n].low:+.3f}, {gained[n].high:+.3f}]" for n in FIGURES
    )
    print(f"  {settings.mode:<9} {'gain':<13} {text}", flush=True)


if __name__ == "__main__":
    main()
