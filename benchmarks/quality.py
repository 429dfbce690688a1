"""Claim: nano segments images that it was not trained on better than baselines without a model.

Peers: the largest ellipse in the box, GrabCut from the box, and a disc around the click, with the same
prompts on every data set in a folder. Prints Dice and IoU with bootstrap intervals over subjects, and
compares the means over data sets with the targets. Existing results in --out are reused. For more models and
prompts, see leaderboard.py.

    python benchmarks/quality.py --data DIR [--model nano] [--out quality]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import Results, objects_per_dataset, read_results
from ultrasam.evaluation.report.tables import dataset_table
from ultrasam.evaluation.runner import results_file, run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets

# nano was trained on other images of these data sets (and other subjects, where known).
KNOWN_SOURCES = ("busi", "bus_uclm", "ccaui", "dl_track", "hc18", "usgra_seg")
TARGETS = {  # mean Dice over data sets: the target, and a more ambitious goal
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
        raise SystemExit(f"Folder {arguments.data} does not exist; set --data.")
    datasets = open_evaluation_datasets([arguments.data])
    settings = EvaluationSettings(tuple(TARGETS))
    found = []
    for title, spec in {arguments.model: arguments.model, **PEERS}.items():
        print(f"{title} on {sum(len(data.items) for data in datasets)} images …", flush=True)
        file = results_file(arguments.out, title)
        keys = run_evaluation(open_evaluation_model(spec), datasets, file, settings=settings)
        found.append(read_results(file, name=title).of(keys))
    for metric in ("dice", "iou"):
        for kind in TARGETS:
            print(f"\n{dataset_table(found, kind, metric).markdown()}")
            print("\n".join(by_source(found, kind, metric)))
    print("\n" + "\n".join(compare_with_targets(found[0], found[1])))


def by_source(found: list[Results], kind: str, metric: str) -> list[str]:
    """Means over data sets that nano was partly trained on, and over the others."""
    datasets = objects_per_dataset(found)
    groups = {
        "partly in nano's training data": [d for d in datasets if d in KNOWN_SOURCES],
        "not in nano's training data": [d for d in datasets if d not in KNOWN_SOURCES],
    }
    return [
        f"  {results.name}, data sets {title}: "
        f"{np.mean([mean_of(results, kind, d, metric) for d in names]):.3f}"
        for results in found
        if kind in results.kinds
        for title, names in groups.items()
        if names
    ]


def compare_with_targets(model: Results, ellipse: Results) -> list[str]:
    datasets = list(objects_per_dataset([model]))
    lines = ["Mean Dice over data sets, compared with the targets"]
    for kind, (target, goal) in TARGETS.items():
        mean = np.mean([mean_of(model, kind, d, "dice") for d in datasets])
        words = ["reached" if mean >= value else "missed" for value in (target, goal)]
        lines.append(
            f"  {kind:<7} {mean:.3f}  target {target:.2f} {words[0]}, goal {goal:.2f} {words[1]}"
        )
    below = [
        d
        for d in datasets
        if d != TRUTH_IS_AN_ELLIPSE
        and mean_of(model, "box", d, "dice") <= mean_of(ellipse, "box", d, "dice")
    ]
    return [
        *lines,
        f"  data sets on which {model.name} does not beat the ellipse (tight box): "
        f"{', '.join(below) or 'none'}",
    ]


def mean_of(results: Results, kind: str, dataset: str, metric: str) -> float:
    return float(results.rows(kind, dataset)[metric].to_numpy().mean())


if __name__ == "__main__":
    main()
