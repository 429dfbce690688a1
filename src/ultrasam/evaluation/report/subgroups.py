"""Dice by size of the object, size of the image and structure; thin structures by their boundary as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.subgroups import (
    AREA_LABELS,
    IMAGE_SIZE_LABELS,
    area_terciles,
    image_size_groups,
)
from ultrasam.evaluation.report.groups import DatasetGroup, Row, dataset_groups, rows_by_group
from ultrasam.evaluation.report.means import estimate, text_of
from ultrasam.evaluation.report.prompts import all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of
from ultrasam.evaluation.report.tables import TITLES, structure_table
from ultrasam.extras import needs
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import label_ends
from ultrasam.reporting.tables import Table

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS, _FEWEST = 8, 40  # points of a size plot, and objects below which it would show chance
THIN = 5.0  # a structure is thin if its thickness is at most a fifth of its length


def size_table(all_results: Sequence[Results], kind: str) -> Table | None:
    """Mean Dice over objects by their size; None without objects."""
    keys = ["dataset", "image", "object"]
    objects = pl.concat([r.table.select(*keys, "relative_area") for r in all_results]).unique(keys)
    size = pl.Series("part", area_terciles(objects["relative_area"].to_numpy()), pl.String)
    parts = objects.select(*keys).with_columns(size)
    limits = objects.with_columns(size).group_by("part").agg(pl.col("relative_area").max())
    largest = dict(limits.iter_rows())
    table = _table(f"Object size, {kind}", "objects", all_results, kind, parts, AREA_LABELS)
    if table is None:
        return None
    ends = ", ".join(f"{name} up to {largest[name]:.2%}" for name in AREA_LABELS if name in largest)
    return replace(
        table, note=f"{table.note} Thirds of all objects by their share of the image: {ends}."
    )


def image_size_table(all_results: Sequence[Results], kind: str) -> Table | None:
    """Mean Dice over objects by the shorter side of their image; None if all fall into one class."""
    keys = ["dataset", "image", "object"]
    objects = pl.concat([r.table.select(*keys, "height", "width") for r in all_results]).unique(
        keys
    )
    size = image_size_groups(objects["height"].to_numpy(), objects["width"].to_numpy())
    if len(set(size)) < 2:
        return None
    parts = objects.select(*keys).with_columns(pl.Series("part", size, pl.String))
    return _table(
        f"Image size, {kind}", "shorter side", all_results, kind, parts, IMAGE_SIZE_LABELS
    )


def _table(
    title: str, what: str, all_results: Sequence[Results], kind: str, parts: pl.DataFrame,
    labels: Sequence[str],
) -> Table | None:  # fmt: skip
    """Mean Dice over objects: a row per part and group of data sets, a column per model.

    Args:
        title, what: of the table and of its first column.
        all_results, kind: what is evaluated.
        parts: data set, image, object and part of every object.
        labels: the parts in order.
    """
    evaluated = [r for r in all_results if kind in r.kinds]
    tables = [r.rows(kind).join(parts, on=["dataset", "image", "object"]) for r in evaluated]

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for label in labels:
            inside = (pl.col("part") == label) & pl.col("dataset").is_in(group.datasets)
            estimates = [estimate(table.filter(inside), "dice") for table in tables]
            count = max((e.count for e in estimates if e is not None), default=0)
            if count:
                rows.append((label, str(count), *map(text_of, estimates)))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = (what, "number", *(r.name for r in evaluated))
    return Table(title, head, rows, "Mean Dice over objects.")


def thin_table(all_results: Sequence[Results], kind: str) -> Table | None:
    """Dice and boundary F of thin objects: a row per data set, structure and model; None if none is.

    Where a structure is a few pixels thick, Dice punishes an outline that is off by one pixel; boundary F
    says how well the outline is met.
    """
    evaluated = [r for r in all_results if kind in r.kinds]
    is_thin = pl.col("thickness") * THIN <= pl.col("length")
    tables = {r.name: r.rows(kind).filter(is_thin) for r in evaluated}
    places = {
        place
        for table in tables.values()
        for place in table.select("dataset", "structure").unique().iter_rows()
    }
    rows = []
    for dataset, structure in sorted(places):
        inside = (pl.col("dataset") == dataset) & (pl.col("structure") == structure)
        for name, table in tables.items():
            estimates = [
                estimate(table.filter(inside), metric) for metric in ("dice", "boundary_f")
            ]
            if estimates[0] is not None:
                count = str(estimates[0].count)
                rows.append((dataset, structure, name, count, *map(text_of, estimates)))
    if not rows:
        return None
    head = ("data set", "structure", "model", "objects", TITLES["dice"], TITLES["boundary_f"])
    note = (
        f"Objects whose thickness is at most 1/{THIN:.0f} of their length. Boundary F at 2 px is the "
        "harmonic mean of the shares of both outlines that lie within 2 px of the other; Dice punishes one "
        "pixel more the thinner the object is."
    )
    return Table(f"Thin structures, {kind}", head, tuple(rows), note)


def size_plot(all_results: Sequence[Results], kind: str, group: DatasetGroup) -> Plot | None:
    """Mean Dice against object size, in eight groups of equal count; None for too few objects."""
    curves = {}
    for results in (r for r in all_results if kind in r.kinds):
        rows = (
            results.rows(kind).filter(pl.col("dataset").is_in(group.datasets)).sort("relative_area")
        )
        parts = np.array_split(np.arange(len(rows)), _PARTS)
        area, score = rows["relative_area"].to_numpy(), rows["dice"].to_numpy()
        if len(rows) >= _FEWEST:
            curves[results.name] = (
                [float(np.median(area[part])) for part in parts],
                [float(score[part].mean()) for part in parts],
            )
    if not curves:
        return None
    return Plot(
        f"Dice against object size, {kind} ({group.title})",
        partial(_draw, all_results, curves),
        size=(6.2, 3.6),
        note="Each point is the mean of an eighth of the objects.",
    )


def _draw(
    all_results: Sequence[Results],
    curves: dict[str, tuple[list[float], list[float]]],
    figure: Figure,
) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

    axes, ends = figure.subplots(), []
    for results in (r for r in all_results if r.name in curves):
        xs, ys = curves[results.name]
        color = color_of(all_results, results)
        axes.plot(xs, ys, marker=marker_of(all_results, results), color=color)
        ends.append((xs[-1], ys[-1], label_of(results), color))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("object area / image area")
    axes.set_ylabel("Dice")
    axes.set_ylim(0, 1)
    label_ends(axes, ends)


def subgroup_section(all_results: Sequence[Results]) -> Section | None:
    """Tables and plots for the prompt types of the first screen."""
    groups = dataset_groups(all_results)
    parts = []
    for prompt in primary_prompts(all_kinds(all_results)):
        kind = prompt.kind
        parts.append(
            section(
                f"{prompt.title.capitalize()}: {kind}"
                if prompt.what != kind
                else prompt.title.capitalize(),
                *(size_plot(all_results, kind, group) for group in groups),
                size_table(all_results, kind),
                image_size_table(all_results, kind),
                structure_table(all_results, kind),
                thin_table(all_results, kind),
            )
        )
    return section(
        "Subgroups", sections=parts, says="size of object and image, structure, thin structures"
    )
