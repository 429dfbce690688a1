"""Claim: nano is worth having: better than what needs no model, on images it was not trained on.

Peers: the largest ellipse in the box, GrabCut from the box, and a disc around the click, on the same
prompts of every data set in a folder. Dice and IoU per object, with intervals by bootstrap over subjects,
and the means over the data sets against the targets. Results lie in a folder and are not measured twice; it
may be the one of ``ultrasam evaluate evaluation/leaderboard``, which measures more.

    python benchmarks/quality.py --data DIR [--model nano] [--out quality]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.report.results import Results, objects_per_dataset, read_results
from ultrasam.evaluation.report.tables import dataset_table
from ultrasam.evaluation.runner import Settings, results_file, run
from ultrasam.evaluation.sources import open_evaluation_datasets

# Data sets whose source was in nano's training data (other images, other subjects where known).
KNOWN_SOURCES = ("busi", "hc18", "usgra_seg")
TARGETS = {  # mean Dice over the data sets: to reach, and the aim beyond
    "box": (0.92, 0.94),
    "box10": (0.88, 0.92),
    "point": (0.70, 0.80),
    "points3": (0.82, 0.88),
}
PEERS = {"ellipse": "ellipse", "GrabCut": "grabcut", "disc": "disc"}
TRUTH_IS_AN_ELLIPSE = "hc18"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        raise SystemExit(f"There is no folder {arguments.data}; give --data.")
    collections = open_evaluation_datasets([arguments.data])
    found = []
    for title, spec in {arguments.model: arguments.model, **PEERS}.items():
        print(f"{title} on {sum(len(c.units) for c in collections)} images …", flush=True)
        file = results_file(arguments.out, title)
        run(open_evaluation_model(spec), collections, file, settings=Settings(tuple(TARGETS)))
        found.append(read_results(file, name=title))
    for measure, title in (("dice", "Dice"), ("iou", "IoU")):
        for kind in TARGETS:
            print(f"\n{dataset_table(found, kind, measure, f'{title}, {kind}').markdown()}")
            print("\n".join(by_source(found, kind, measure)))
    print("\n" + "\n".join(verdict(found[0], found[1])))


def by_source(found: list[Results], kind: str, measure: str) -> list[str]:
    """Means of the data sets whose source was in training, and of the others."""
    datasets = objects_per_dataset(found)
    groups = {
        "in training": [d for d in datasets if d in KNOWN_SOURCES],
        "not in training": [d for d in datasets if d not in KNOWN_SOURCES],
    }
    return [
        f"  {results.name}, sources {title}: "
        f"{np.mean([mean_of(results, kind, d, measure) for d in names]):.3f}"
        for results in found
        if kind in results.kinds
        for title, names in groups.items()
        if names
    ]


def verdict(model: Results, ellipse: Results) -> list[str]:
    datasets = list(objects_per_dataset([model]))
    lines = ["Against the targets (mean Dice over the data sets)"]
    for kind, (target, aim) in TARGETS.items():
        mean = np.mean([mean_of(model, kind, d, "dice") for d in datasets])
        words = ["reached" if mean >= goal else "missed" for goal in (target, aim)]
        lines.append(
            f"  {kind:<7} {mean:.3f}  target {target:.2f} {words[0]}, aim {aim:.2f} {words[1]}"
        )
    below = [
        d
        for d in datasets
        if d != TRUTH_IS_AN_ELLIPSE
        and mean_of(model, "box", d, "dice") <= mean_of(ellipse, "box", d, "dice")
    ]
    return [
        *lines,
        f"  sets where the tight box is not above the ellipse: {', '.join(below) or 'none'}",
    ]


def mean_of(results: Results, kind: str, dataset: str, measure: str) -> float:
    return float(results.of(kind, dataset)[measure].to_numpy().mean())


if __name__ == "__main__":
    main()
