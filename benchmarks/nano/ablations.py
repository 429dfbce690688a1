"""Question: what does each ingredient of nano's training gain?

Trains a recipe as it is, and with one ingredient less at a time, all from the same weights, with the same
seed and number of steps, and evaluates each in one view. Short runs from trained weights show what an
ingredient does soon, not what it would do in the end; the recipe with another seed shows how much is chance.

    python benchmarks/nano/ablations.py --data DIR --store STORE [--init FOLDER] [--steps 240]

Variants that exist in --out are not trained or evaluated again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.absent import absences
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.runner import results_file, run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.reporting.tables import Table, number, percent
from ultrasam.training.recipe import change, load_recipe
from ultrasam.training.train import train

RECIPE = Path(__file__).parents[2] / "src" / "ultrasam" / "recipes" / "nano.yaml"
PROMPTS = ("box", "box10", "point", "points3")
HEAD = ("variant", *PROMPTS, "IoU lost by choosing, point", "IoU below 0.10, point",
        "AUROC, box", "AUROC, point")  # fmt: skip
# What differs from the recipe; the last shows what chance does.
VARIANTS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "phantoms only": ("data.store.weight=0", "data.phantoms.weight=1"),
    "no phantoms": ("data.store.weight=1", "data.phantoms.weight=0"),
    "three sets of six": ("data.store.shares={busi: 0.33, hc18: 0.26, usgra_seg: 0.41}",),
    "nothing pasted": ("augmentation.pasted=0",),
    "no prompts where nothing is": ("prompts.absent=0",),
    "no ranking": ("losses.ranking=0",),
    "one prompt per object, no clicks with boxes": ("prompts.per_object=1", "prompts.with_click=0"),
    "three rounds": ("interaction.rounds=3", "interaction.max_rounds=3"),
    "boxes moved by 5 % only": ("prompts.jitters=[0.05]", "prompts.jitter_weights=[1.0]"),
    "another seed": ("seed=2",),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, help="folder of data sets to evaluate on")
    parser.add_argument("--store", required=True, help="store of the recipe's data sets")
    parser.add_argument("--init", default="nano")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--phantoms", type=int, default=2000)
    parser.add_argument("--only", action="append", help="a variant's name; repeatable")
    parser.add_argument("--out", type=Path, default=Path("ablations"))
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    datasets = open_evaluation_datasets([arguments.data])
    settings = EvaluationSettings(PROMPTS)
    models = {"before": arguments.init}
    for name in arguments.only or VARIANTS:
        folder = name.replace(" ", "-").replace(",", "").replace("%", "percent")
        recipe = change(
            load_recipe(RECIPE),
            [
                f"name={folder}",
                f"output={arguments.out}",
                f"init={arguments.init}",
                "data.sources=[]",
                f"data.store.path={arguments.store}",
                "data.store.weight=0.58",
                "optimizer.lr=5e-4",
                "optimizer.warmup_steps=20",
                "trainer.ema_start=20",
                f"trainer.max_steps={arguments.steps}",
                f"trainer.batch={arguments.batch}",
                f"data.phantoms.count={arguments.phantoms}",
                *VARIANTS[name],
            ],
        )
        models[name] = str(recipe.folder / "model")
        if not Path(models[name]).is_dir():
            start = time.perf_counter()
            train(recipe)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    for name, model in models.items():
        file = results_file(arguments.out / "results", name)
        spec = f"{model}+no-tta"
        run_evaluation(open_evaluation_model(spec), datasets, file, settings=settings)
        rows.append((name, *cells(read_results(file, name=name))))
        print(Table("Ablations", HEAD, tuple(rows)).markdown(), flush=True)


def cells(results: Results) -> tuple[str, ...]:
    """Means over data sets; the AUROC is that of the set with most images without objects."""
    names = sorted(set(results.table["dataset"]))
    means = [
        number(float(np.mean([results.rows(kind, d)["dice"].to_numpy().mean() for d in names])))
        for kind in PROMPTS
    ]
    clicks = [results.rows("point", d) for d in names]
    lost = np.mean([(rows["best_iou"] - rows["iou"]).to_numpy().mean() for rows in clicks])
    failed = float((results.rows("point")["iou"].to_numpy() < 0.1).mean())
    found = {(a.dataset, a.kind): a.roc.area.value for a in absences([results])}
    counts = results.absent.group_by("dataset").len().sort("len")
    largest = counts["dataset"][-1] if len(counts) else ""
    return (
        *means,
        number(float(lost)),
        percent(failed),
        *(number(found.get((largest, kind), np.nan)) for kind in ("box", "point")),
    )


if __name__ == "__main__":
    main()
