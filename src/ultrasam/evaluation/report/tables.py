"""The report's tables: results to rows of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import (
    bootstrap_means,
    calibration,
    clicks_to_reach,
    holm,
    interval,
    paired_difference,
)
from ultrasam.evaluation.published import PUBLISHED
from ultrasam.evaluation.report.results import DISTANCES, Results, objects_per_dataset, paired
from ultrasam.extras import needs
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.reporting.tables import NONE, Table, number, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl

REACHED = (0.85, 0.90)
_MACRO, _MICRO = "**mean of data sets**", "**mean of objects**"


def dataset_table(all_results: Sequence[Results], kind: str, measure: str, title: str) -> Table:
    """Means with 95 % intervals of one measure, data sets down, competitors across."""
    able = [r for r in all_results if kind in r.kinds]
    counts = objects_per_dataset(able)
    columns = [_column(results, kind, measure, counts) for results in able]
    total = str(sum(counts.values()))
    heads = [(d, str(n)) for d, n in counts.items()] + [(_MACRO, total), (_MICRO, total)]
    rows = [(*head, *cells) for head, cells in zip(heads, zip(*columns, strict=True), strict=True)]
    note = "In round brackets: objects, where a competitor had fewer."
    partial = any("(" in cell for column in columns for cell in column)
    head = ("data set", "objects", *(r.name for r in able))
    return Table(title, head, tuple(rows), note if partial else "")


def _column(results: Results, kind: str, measure: str, counts: dict[str, int]) -> list[str]:
    cells, draws, means = [], [], []
    for dataset, count in counts.items():
        values, subjects = _values(results.of(kind, dataset), measure)
        if not len(values):
            cells.append(NONE)
            continue
        draws.append(bootstrap_means(values, subjects))
        means.append(float(values.mean()))
        cells.append(_with_interval(means[-1], draws[-1], measure) + _fewer(len(values), count))
    if not means:
        return [*cells, NONE, NONE]
    values, subjects = _values(results.of(kind), measure)
    macro = _with_interval(float(np.mean(means)), np.mean(draws, axis=0), measure)
    micro = _with_interval(float(values.mean()), bootstrap_means(values, subjects), measure)
    fewer = _fewer(len(values), sum(counts.values()))
    return [*cells, macro + fewer, micro + fewer]


def _fewer(count: int, whole: int) -> str:
    return "" if count == whole else f" ({count})"


def _values(rows: pl.DataFrame, measure: str) -> tuple[npt.NDArray[np.float64], list[str]]:
    kept = rows.drop_nulls(measure)
    return kept[measure].to_numpy(), kept["subject"].to_list()


def _with_interval(mean: float, draws: npt.NDArray[np.float64], measure: str) -> str:
    return with_interval(mean, *interval(draws), digits=2 if measure in DISTANCES else 3)


def metric_table(all_results: Sequence[Results], kind: str) -> Table:
    """All measures of one kind of prompt, means over the data sets' means, competitors down."""
    rows = []
    for results in all_results:
        if kind not in results.kinds:
            continue
        table = results.of(kind)
        cells = [results.name]
        for measure in ("dice", "iou", "boundary_iou", "surface_dice"):
            cells.append(number(_macro(table, measure)))
        for unit in (True, False):
            chosen = table.filter(pl.col("millimeters") == unit)
            for measure in DISTANCES:
                cells.append(number(_macro(chosen, measure), digits=2))
        cells.append(str(table["hd95"].null_count()))
        found = [results.precision(kind, d) for d in sorted(table["dataset"].unique())]
        for part in ("ap", "ap50", "ap75"):
            cells.append(number(float(np.mean([getattr(p, part) for p in found]))))
        rows.append(tuple(cells))
    head = ("", "Dice", "IoU", "boundary IoU", "NSD", "HD95 mm", "ASSD mm", "HD95 px", "ASSD px",
            "no distance", "mAP", "AP50", "AP75")  # fmt: skip
    note = (
        "Means of the data sets' means. Distances are in mm for the data sets whose spacing is known, in "
        "pixels for the others; they don't exist where nothing was segmented, which *no distance* counts "
        "(such objects do count, as 0, in all other columns)."
    )
    return Table(f"All measures, {kind}", head, tuple(rows), note)


def _macro(table: pl.DataFrame, measure: str) -> float:
    means = table.group_by("dataset").agg(pl.col(measure).mean())[measure].drop_nulls()
    return float(means.to_numpy().mean()) if len(means) else float("nan")


def structure_table(all_results: Sequence[Results], kind: str) -> Table:
    """Mean Dice per structure of each data set."""
    able = [r for r in all_results if kind in r.kinds]
    found: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}
    for results in able:
        groups = results.of(kind).group_by("dataset", "structure")
        for dataset, structure, count, mean in groups.agg(
            pl.len().alias("n"), pl.col("dice").mean()
        ).iter_rows():
            found.setdefault((dataset, structure), {})[results.name] = (count, mean)
    rows = []
    for (dataset, structure), cells in sorted(found.items()):
        count = max(n for n, _ in cells.values())
        values = [f"{cells[r.name][1]:.3f}" if r.name in cells else NONE for r in able]
        rows.append((dataset, structure, str(count), *values))
    head = ("data set", "structure", "objects", *(r.name for r in able))
    return Table(f"Dice per structure, {kind}", head, tuple(rows))


def click_table(all_results: Sequence[Results]) -> Table | None:
    """NoC of kinds with several clicks; None where there is none."""
    rows = []
    for results in all_results:
        for kind in results.kinds:
            ious = results.of(kind)["ious"].to_list()
            most = int("".join(c for c in kind if c.isdigit()) or 0)
            if kind.startswith("box") or most < 2 or not ious:
                continue
            cells = [results.name, kind, str(len(ious))]
            for threshold in REACHED:
                noc = clicks_to_reach(ious, threshold, most)
                cells += [f"{noc.mean:.2f}", f"{noc.failures} ({noc.failures / len(ious):.0%})"]
            rows.append(tuple(cells))
    if not rows:
        return None
    head = ("", "prompts", "objects", "NoC@0.85", "never", "NoC@0.90", "never")
    note = "Clicks to reach an IoU; an object that never does counts as the most clicks that were given."
    return Table("Number of clicks", head, tuple(rows), note)


def calibration_table(all_results: Sequence[Results]) -> Table:
    """How near predicted IoU is to the true one."""
    rows = []
    for results in all_results:
        for kind in results.kinds:
            table = results.of(kind)
            if len(table):
                found = calibration(table["predicted_iou"].to_numpy(), table["iou"].to_numpy())
                rows.append((results.name, kind, f"{found.error:.3f}", f"{found.bias:+.3f}"))
    head = ("", "prompts", "expected calibration error", "predicted less true")
    return Table("Predicted IoU", head, tuple(rows), "Baselines predict an IoU of 1.")


def difference_table(all_results: Sequence[Results], measure: str = "dice") -> Table | None:
    """The first competitor against each other one, on the same objects; None where it is alone."""
    first, *others = all_results
    found = []
    for other in others:
        for kind in first.kinds:
            if kind in other.kinds:
                a, b, subjects = paired(first, other, kind, measure)
                if len(a):
                    found.append((other.name, kind, len(a), paired_difference(a, b, subjects)))
    if not found:
        return None
    adjusted = holm([difference.p for *_, difference in found])
    rows = [
        (
            f"{first.name} – {name}", kind, str(count), str(d.subjects), f"{d.mean:+.3f}",
            f"[{d.low:+.3f}, {d.high:+.3f}]", f"{p:.1e}" if p < 0.001 else f"{p:.3f}",
        )
        for (name, kind, count, d), p in zip(found, adjusted, strict=True)
    ]  # fmt: skip
    head = ("", "prompts", "objects", "subjects", f"{measure.capitalize()}, mean difference",
            "95 % interval", "p")  # fmt: skip
    note = (
        "Paired by object; intervals by bootstrap over subjects, p by Wilcoxon's signed ranks on subjects' "
        "means, two-sided, adjusted for all comparisons of this table (Holm)."
    )
    return Table("Differences", head, tuple(rows), note)


def cost_table(all_results: Sequence[Results]) -> Table:
    """Time of the models and of the evaluation around them."""
    rows = []
    for results in all_results:
        reading, model, own = results.seconds()
        images = sum(bool(line.get("objects")) for line in results.images)
        if images and model:
            each = [f"{1000 * t / images:.0f} ms" for t in (reading, model, own)]
            rows.append((results.name, str(images), *each, f"{own / model:.0%}"))
    head = ("", "images", "reading", "model", "evaluation", "added to the model's time")
    note = (
        "An image's time: reading it and its masks, the model, and drawing prompts and measuring."
    )
    return Table("Cost", head, tuple(rows), note)


def excluded_table(all_results: Sequence[Results]) -> Table | None:
    """What counts in no mean: unreadable images, failures, images without an object, by name."""
    rows = []
    for results in all_results:
        for line in results.errors:
            rows.append((results.name, line["dataset"], line["image"], line["error"]))
    empty = {(line["dataset"], line["image"]) for r in all_results for line in r.without_object}
    why = f"no object of at least {MIN_OBJECT_PIXELS} pixels"
    rows += [(NONE, dataset, name, why) for dataset, name in sorted(empty)]
    if not rows:
        return None
    return Table("Left out", ("competitor", "data set", "image", "why"), tuple(rows))


def published_table() -> Table:
    """Figures of others, as far as they could be verified."""
    rows = tuple(
        (
            p.model,
            p.dataset,
            p.prompt,
            p.measure,
            NONE if p.value is None else f"{p.value:g}",
            p.source,
        )
        for p in PUBLISHED
    )
    note = "Other images, splits and prompts than above; an empty cell is a figure that is not verified here."
    return Table(
        "Published figures",
        ("model", "data set", "prompt", "measure", "value", "source"),
        rows,
        note,
    )
