"""Claim: nano is worth having: better than what needs no model, on images it was not trained on.

Peers: the largest ellipse in the box, GrabCut from the box, and a disc around the click, on the same
prompts of every data set in a folder. Dice and IoU per object, with intervals by bootstrap over subjects,
and the means over the data sets against the targets. Results lie in a folder and are not measured twice; it
may be the one of ``ultrasam evaluate recipes/evaluation/leaderboard.yaml``, which measures more.

    python benchmarks/quality.py [--data ../shared/data/dev] [--model nano] [--out quality]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ultrasam.evaluation.competitors import open_competitor
from ultrasam.evaluation.results import Results, datasets_of, read_results
from ultrasam.evaluation.runner import Settings, results_file, run
from ultrasam.evaluation.sources import open_collections
from ultrasam.evaluation.statistics import bootstrap_interval

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
    parser.add_argument("--data", default="../shared/data/dev")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        raise SystemExit(f"There is no folder {arguments.data}; give --data.")
    collections = open_collections([arguments.data])
    found = []
    for title, spec in {arguments.model: arguments.model, **PEERS}.items():
        print(f"{title} on {sum(len(c.units) for c in collections)} images …", flush=True)
        file = results_file(arguments.out, title)
        run(open_competitor(spec), collections, file, settings=Settings(tuple(TARGETS)))
        found.append(read_results(file, name=title))
    for measure in ("dice", "iou"):
        print(
            f"\n{measure.capitalize()}, mean [95 % interval]; * no image of this source was in training\n"
        )
        print("\n".join(table(found, measure)))
    print("\n" + "\n".join(verdict(found[0], found[1])))


def table(found: list[Results], measure: str) -> list[str]:
    columns = [(results, kind) for results in found for kind in results.kinds]
    heads = [f"{results.name} {kind}" for results, kind in columns]
    counts = datasets_of(found)
    rows = [["data set", "objects", *heads], ["---"] * (2 + len(heads))]
    for dataset, count in counts.items():
        cells = []
        for results, kind in columns:
            scores = results.of(kind, dataset)
            low, high = bootstrap_interval(scores[measure].to_numpy(), scores["subject"].to_list())
            cells.append(f"{mean_of(results, kind, dataset, measure):.3f} [{low:.3f}, {high:.3f}]")
        rows.append([dataset + ("" if dataset in KNOWN_SOURCES else " *"), str(count), *cells])
    groups = {
        "mean of sources in training": [d for d in counts if d in KNOWN_SOURCES],
        "mean of sources not in training (*)": [d for d in counts if d not in KNOWN_SOURCES],
        "mean of all sets": list(counts),
    }
    for title, names in groups.items():
        means = [
            np.mean([mean_of(results, kind, d, measure) for d in names]) if names else np.nan
            for results, kind in columns
        ]
        rows.append([title, str(sum(counts[d] for d in names)), *(f"{m:.3f}" for m in means)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def verdict(model: Results, ellipse: Results) -> list[str]:
    datasets = list(datasets_of([model]))
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
