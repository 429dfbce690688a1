"""The report's plots and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.metrics.statistics import bootstrap_interval, calibration
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.evaluation.sources import Collection
from ultrasam.images.masks import bounding_box, decode_rle
from ultrasam.images.pixels import gray
from ultrasam.reporting.plots import draw_case, figure, jpeg, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bars(all_results: Sequence[Results], kind: str) -> str:
    """Mean Dice of every data set and competitor, with 95 % intervals."""
    able = [r for r in all_results if kind in r.kinds]
    names = list(objects_per_dataset(able))

    def draw(axes: Axes) -> None:
        width = 0.8 / len(able)
        for number, results in enumerate(able):
            at, heights, reach = [], [], []
            for place, name in enumerate(names):
                rows = results.of(kind, name)
                if len(rows):
                    mean = float(rows["dice"].to_numpy().mean())
                    low, high = bootstrap_interval(
                        rows["dice"].to_list(), rows["subject"].to_list()
                    )
                    at.append(place - 0.4 + (number + 0.5) * width)
                    heights.append(mean)
                    reach.append((max(0, mean - low), max(0, high - mean)))
            axes.bar(at, heights, width, yerr=np.transpose(reach), label=results.name, capsize=1,
                     error_kw={"elinewidth": 0.7})  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        axes.set_ylim(0, 1)
        axes.set_ylabel("Dice")
        axes.legend(fontsize=7, loc="lower left")

    return figure(f"Dice by data set, {kind}", draw)


def size_plot(all_results: Sequence[Results], kind: str) -> str:
    """Mean Dice of eight equal groups of objects by their share of the image."""

    def draw(axes: Axes) -> None:
        for results in (r for r in all_results if kind in r.kinds):
            rows = results.of(kind).sort("share")
            groups = [g for g in np.array_split(np.arange(len(rows)), 8) if len(g)]
            share, score = rows["share"].to_numpy(), rows["dice"].to_numpy()
            axes.plot(
                [np.median(share[g]) for g in groups], [score[g].mean() for g in groups],
                marker="o", label=results.name,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("object's share of the image")
        axes.set_ylabel("Dice")
        axes.set_ylim(0, 1)
        axes.legend(fontsize=7)

    return figure(f"Dice against object size, {kind}", draw)


def click_curve_plot(all_results: Sequence[Results], kind: str) -> str:
    """Mean IoU after each click; an object that needs no more keeps its last."""

    def draw(axes: Axes) -> None:
        for results in (r for r in all_results if kind in r.kinds):
            ious = results.of(kind)["ious"].to_list()
            most = max(map(len, ious))
            filled = np.array([values + [values[-1]] * (most - len(values)) for values in ious])
            axes.plot(range(1, most + 1), filled.mean(axis=0), marker="o", label=results.name)
        axes.set_xlabel("clicks")
        axes.set_ylabel("mean IoU")
        axes.set_ylim(0, 1)
        axes.legend(fontsize=7)

    return figure(f"IoU after each click, {kind}", draw)


def reliability(results: Results) -> str:
    """True against predicted IoU, in ten bins; a point's area is the bin's count."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for kind in results.kinds:
            rows = results.of(kind)
            if len(rows):
                found = calibration(rows["predicted_iou"].to_numpy(), rows["iou"].to_numpy())
                (line,) = axes.plot(found.predicted, found.true, label=kind)
                size = 200 * found.counts / found.counts.sum()
                axes.scatter(found.predicted, found.true, s=size, color=line.get_color())
        axes.set_xlabel("predicted IoU")
        axes.set_ylabel("true IoU")
        axes.legend(fontsize=7)

    return figure(f"Reliability of predicted IoU, {results.name}", draw)


def worst(
    results: Results, kind: str, collections: Sequence[Collection], *, count: int = 20
) -> str:
    """The objects with the lowest Dice, drawn: prompt's box, truth, prediction, error."""
    rows = results.of(kind).sort("dice", "dataset", "image", "object").head(count)
    wanted = {(str(d), str(i)) for d, i in rows.select("dataset", "image").iter_rows()}
    lines = {(line["dataset"], line["image"]): line for line in results.images}
    pixels = _pixels(collections, wanted)
    drawn = []
    for row in rows.iter_rows(named=True):
        key = (row["dataset"], row["image"])
        if key not in pixels:
            continue
        line = lines[key]
        entry: dict[str, Any] = line["objects"][row["object"]]
        truth, found = (
            decode_rle({"size": line["size"], "counts": counts})
            for counts in (entry["truth"], entry["tries"][kind]["mask"])
        )
        title = f"{key[0]}, {key[1]}: {row['structure']}, Dice {row['dice']:.2f}"
        drawn.append(
            picture(title, jpeg(draw_case(pixels[key], bounding_box(truth), truth, found)))
        )
    return "".join(drawn)


def _pixels(collections: Sequence[Collection], wanted: set[tuple[str, str]]) -> dict[Any, Any]:
    """The gray images that are wanted, read again."""
    found = {}
    keys = {(dataset, name.split("#")[0]) for dataset, name in wanted} | wanted
    for collection in collections:
        for unit in collection.units:
            if (unit.dataset, unit.key) in keys:
                for sample in unit.read():
                    if isinstance(sample, AnnotatedImage) and (unit.dataset, sample.name) in wanted:
                        found[unit.dataset, sample.name] = gray(sample.pixels)
    return found
