"""Claim: nano is worth having: better than what needs no model, on images it was not trained on.

Peers: the largest ellipse in the box, GrabCut from the box, and a disc around the click. Dice and IoU
per object on every data set in a folder of raw data sets, with intervals by bootstrap over subjects.
Prompts: `ultrasam.evaluation.protocol`.

    python benchmarks/quality.py [--data ../shared/data/dev] [--model nano] [--refine] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import ultrasam
from ultrasam.data.catalogue import dataset
from ultrasam.evaluation.baselines import DiscAtClick, EllipseInBox, GrabCut
from ultrasam.evaluation.protocol import Score, click_misses, evaluate, targets_of
from ultrasam.evaluation.statistics import bootstrap_interval
from ultrasam.inference.segmenter import Segmenter

# Data sets whose source was in nano's training data (other images, other subjects where known).
KNOWN_SOURCES = ("BUSI", "HC18", "USGRA-seg")
KINDS = ("box", "box10", "point", "points3")
TARGETS = {
    "box": (0.92, 0.94),
    "box10": (0.88, 0.92),
    "point": (0.70, 0.80),
    "points3": (0.82, 0.88),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--every", type=int, default=1, help="take every n-th image, for a quick look"
    )
    parser.add_argument(
        "--skip", default="", help="leave out a peer; GrabCut takes most of the time"
    )
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data}; give --data.")
    model = ultrasam.Predictor(ultrasam.load(arguments.model), refine=arguments.refine)
    columns: list[tuple[str, Segmenter, str]] = [
        *(("model", model, kind) for kind in KINDS),
        ("ellipse", EllipseInBox(), "box"),
        ("ellipse", EllipseInBox(), "box10"),
        ("GrabCut", GrabCut(), "box"),
        ("disc", DiscAtClick(), "point"),
    ]
    columns = [column for column in columns if column[0] != arguments.skip]
    scores: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    objects: dict[str, int] = {}
    start = time.perf_counter()
    for folder in sorted(p for p in arguments.data.iterdir() if p.is_dir()):
        samples = list(dataset(folder.name).samples(folder))[:: arguments.every]
        targets = [target for sample in samples for target in targets_of(sample)]
        objects[folder.name] = len(targets)
        missed = sum(map(click_misses, targets))
        print(
            f"{folder.name}: {len(samples)} images, {len(targets)} objects; the centre click misses {missed}"
        )
        for name, segmenter, kind in columns:
            scores[folder.name, name, kind] = list(evaluate(segmenter, samples, [kind]))
    print(f"({time.perf_counter() - start:.0f} s)")
    for measure in ("dice", "iou"):
        table(scores, objects, columns, measure)
    verdict(scores, objects)
    if arguments.json:
        rows = [
            {"by": name, **{f: getattr(s, f) for f in Score.__dataclass_fields__}}
            for (_, name, _), found in scores.items()
            for s in found
        ]
        arguments.json.write_text(json.dumps(rows, indent=0))


def mean_of(found: list[Score], measure: str) -> float:
    return float(np.mean([getattr(score, measure) for score in found]))


def table(
    scores: dict[tuple[str, str, str], list[Score]],
    objects: dict[str, int],
    columns: list[tuple[str, Segmenter, str]],
    measure: str,
) -> None:
    heads = [f"{name} {kind}" for name, _, kind in columns]
    print(f"\n{measure.capitalize()}, mean [95 % interval]\n")
    print("| data set | objects | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * len(heads))
    for name_of_set, count in objects.items():
        cells = []
        for name, _, kind in columns:
            found = scores[name_of_set, name, kind]
            values = [getattr(score, measure) for score in found]
            low, high = bootstrap_interval(values, [score.subject for score in found])
            cells.append(f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]")
        source = "" if name_of_set in KNOWN_SOURCES else " *"
        print(f"| {name_of_set}{source} | {count} | " + " | ".join(cells) + " |")
    groups = {
        "mean of sources in training": [d for d in objects if d in KNOWN_SOURCES],
        "mean of sources not in training (*)": [d for d in objects if d not in KNOWN_SOURCES],
        "mean of all sets": list(objects),
    }
    for title, names in groups.items():
        means = [
            np.mean([mean_of(scores[d, name, kind], measure) for d in names]) if names else np.nan
            for name, _, kind in columns
        ]
        total = sum(objects[d] for d in names)
        print(f"| {title} | {total} | " + " | ".join(f"{m:.3f}" for m in means) + " |")


def verdict(scores: dict[tuple[str, str, str], list[Score]], objects: dict[str, int]) -> None:
    print("\nAgainst the targets (mean Dice over the data sets)")
    for kind, (target, aim) in TARGETS.items():
        mean = np.mean([mean_of(scores[d, "model", kind], "dice") for d in objects])
        word = "reached" if mean >= target else "missed"
        print(f"  {kind:<7} {mean:.3f}  target {target:.2f} {word}, aim {aim:.2f}")
    below = [
        d
        for d in objects
        if d != "HC18"
        and mean_of(scores[d, "model", "box"], "dice")
        <= mean_of(scores[d, "ellipse", "box"], "dice")
    ]
    print(f"  sets where the tight box is not above the ellipse: {', '.join(below) or 'none'}")


if __name__ == "__main__":
    main()
