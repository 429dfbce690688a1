"""The report's plots and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.metrics.calibration import calibration
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.evaluation.sources import EvaluationDataset
from ultrasam.images.masks import bounding_box, decode_rle
from ultrasam.images.pixels import gray
from ultrasam.reporting.plots import draw_case, figure, jpeg, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_STYLES = ("-", "--", ":", "-.")


def bar_plot(all_results: Sequence[Results], kind: str) -> str:
    """Mean Dice of each model on each data set, with 95 % intervals."""
    evaluated = [r for r in all_results if kind in r.kinds]
    names = list(objects_per_dataset(evaluated))

    def draw(axes: Axes) -> None:
        width = 0.8 / len(evaluated)
        for number, results in enumerate(evaluated):
            positions, heights, errors = [], [], []
            for place, name in enumerate(names):
                rows = results.rows(kind, name)
                if len(rows):
                    mean = float(rows["dice"].to_numpy().mean())
                    low, high = bootstrap_interval(
                        rows["dice"].to_list(), rows["subject"].to_list()
                    )
                    positions.append(place - 0.4 + (number + 0.5) * width)
                    heights.append(mean)
                    errors.append((max(0, mean - low), max(0, high - mean)))
            axes.bar(positions, heights, width, yerr=np.transpose(errors), label=results.name, capsize=1,
                     color=_color(all_results, results),
                     error_kw={"elinewidth": 0.7})  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        axes.set_ylim(0, 1)
        axes.set_ylabel("Dice")
        axes.legend(fontsize=7, loc="lower left")

    return figure(f"Dice by data set, {kind}", draw)


def size_plot(all_results: Sequence[Results], kind: str) -> str:
    """Mean Dice against object size, in eight groups of equal count."""

    def draw(axes: Axes) -> None:
        for results in (r for r in all_results if kind in r.kinds):
            rows = results.rows(kind).sort("relative_area")
            groups = [g for g in np.array_split(np.arange(len(rows)), 8) if len(g)]
            area, score = rows["relative_area"].to_numpy(), rows["dice"].to_numpy()
            axes.plot(
                [np.median(area[g]) for g in groups], [score[g].mean() for g in groups],
                marker="o", label=results.name, color=_color(all_results, results),
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("object area / image area")
        axes.set_ylabel("Dice")
        axes.set_ylim(0, 1)
        axes.legend(fontsize=7)

    return figure(f"Dice against object size, {kind}", draw)


def click_curve_plot(all_results: Sequence[Results], kind: str) -> str:
    """Mean IoU after each click; an object that needs no further clicks keeps its last IoU."""

    def draw(axes: Axes) -> None:
        for results in (r for r in all_results if kind in r.kinds):
            ious = results.rows(kind)["ious"].to_list()
            max_clicks = max(map(len, ious))
            filled = np.array(
                [values + [values[-1]] * (max_clicks - len(values)) for values in ious]
            )
            axes.plot(
                range(1, max_clicks + 1), filled.mean(axis=0), marker="o", label=results.name,
                color=_color(all_results, results),
            )  # fmt: skip
        axes.set_xlabel("clicks")
        axes.set_ylabel("mean IoU")
        axes.set_ylim(0, 1)
        axes.legend(fontsize=7)

    return figure(f"IoU after each click, {kind}", draw)


def reliability_plot(all_results: Sequence[Results], results: Results) -> str:
    """True against predicted IoU in ten bins, a line style per prompt type; marker area shows the count."""
    color = _color(all_results, results)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for number, kind in enumerate(results.kinds):
            rows = results.rows(kind)
            if len(rows):
                found = calibration(rows["predicted_iou"].to_numpy(), rows["iou"].to_numpy())
                style = _STYLES[number % len(_STYLES)]
                axes.plot(found.predicted, found.true, label=kind, color=color, linestyle=style)
                size = 200 * found.counts / found.counts.sum()
                axes.scatter(found.predicted, found.true, s=size, color=color)
        axes.set_xlabel("predicted IoU")
        axes.set_ylabel("true IoU")
        axes.legend(fontsize=7)

    return figure(f"Reliability of predicted IoU, {results.name}", draw)


def _color(all_results: Sequence[Results], results: Results) -> str:
    """A model has one color in all plots."""
    return f"C{[r.name for r in all_results].index(results.name) % 10}"


def worst_cases(
    results: Results, kind: str, datasets: Sequence[EvaluationDataset], *, count: int = 20
) -> str:
    """Images of the objects with the lowest Dice: box, ground truth, prediction, error."""
    rows = results.rows(kind).sort("dice", "dataset", "image", "object").head(count)
    selected = {(str(d), str(i)) for d, i in rows.select("dataset", "image").iter_rows()}
    records = {(record["dataset"], record["image"]): record for record in results.images}
    pixels = _read_pixels(datasets, selected)
    pictures = []
    for row in rows.iter_rows(named=True):
        key = (row["dataset"], row["image"])
        if key not in pixels:
            continue
        record = records[key]
        entry: dict[str, Any] = record["objects"][row["object"]]
        truth, predicted = (
            decode_rle({"size": record["size"], "counts": counts})
            for counts in (entry["truth"], entry["predictions"][kind][row["repeat"]]["mask"])
        )
        title = f"{key[0]}, {key[1]}: {row['structure']}, Dice {row['dice']:.2f}"
        case = draw_case(pixels[key], bounding_box(truth), truth, predicted)
        pictures.append(picture(title, jpeg(case)))
    return "".join(pictures)


def _read_pixels(
    datasets: Sequence[EvaluationDataset], selected: set[tuple[str, str]]
) -> dict[Any, Any]:
    """Read the selected images again, as grayscale."""
    pixels = {}
    keys = {(dataset, name.split("#")[0]) for dataset, name in selected} | selected
    for data in datasets:
        for item in data.items:
            if (item.dataset, item.key) in keys:
                for image in item.read():
                    if isinstance(image, AnnotatedImage) and (item.dataset, image.name) in selected:
                        pixels[item.dataset, image.name] = gray(image.pixels)
    return pixels
