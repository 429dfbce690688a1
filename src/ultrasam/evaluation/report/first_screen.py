"""The first screen: one compact table and one plot, below the conclusion that they support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.failures import FAILURE_THRESHOLDS
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.report.absent import Absence
from ultrasam.evaluation.report.clicks import clicked
from ultrasam.evaluation.report.clinical import ClinicalErrors
from ultrasam.evaluation.report.failures import share_below
from ultrasam.evaluation.report.groups import (
    DatasetGroup,
    Row,
    dataset_groups,
    main_groups,
    rows_by_group,
)
from ultrasam.evaluation.report.means import Mean, over_datasets
from ultrasam.evaluation.report.prompts import Primary, all_kinds, primary_prompts, with_clicks
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of, point
from ultrasam.reporting.document import Plot
from ultrasam.reporting.tables import NONE, Table, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHORT = {
    "head circumference": "head circ.", "abdominal circumference": "abdomen circ.",
    "head or abdominal circumference": "head or abdomen circ.",
}  # fmt: skip
_NOC = 0.85
_FEW = 10  # prompts with or without an object, below which their numbers are told
_MISSED = FAILURE_THRESHOLDS[0]
_Cell = Callable[[Results, DatasetGroup], str]


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cell: _Cell


def compact_table(
    all_results: Sequence[Results],
    absences: Sequence[Absence],
    errors: ClinicalErrors,
    groups: Sequence[DatasetGroup],
) -> Table:
    """A row per model below each group of data sets, with what exists of the measures that matter most."""
    columns = _columns(all_results, absences, errors)

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for results in all_results:
            cells = [column.cell(results, group) for column in columns]
            if any(cell != NONE for cell in cells):
                rows.append((_name(all_results, results, group), *cells))
        return rows

    head = ("model", *(column.head for column in columns))
    rows = rows_by_group(all_results, rows_of, groups)
    return Table("Summary", head, rows).without_empty_columns()


def _columns(
    all_results: Sequence[Results], absences: Sequence[Absence], errors: ClinicalErrors
) -> list[_Column]:
    kinds = all_kinds(all_results)
    primary = primary_prompts(kinds)
    columns = [_Column(prompt.title, partial(_dice, prompt.kind)) for prompt in primary]
    noc_kind = _noc_kind(kinds)
    if noc_kind is not None:
        columns.append(_Column(f"NoC@{_NOC:.2f} (failures)", partial(_noc, noc_kind)))
    # Clicks fail far more often than boxes, and people's more often than exact ones.
    risky = [p for what in ("click", "box") for p in primary[::-1] if p.what == what]
    if risky:
        columns.append(
            _Column(f"{risky[0].title}, IoU < {_MISSED:.2f}", partial(_missed, risky[0].kind))
        )
    if absences:
        auc = partial(_auc, absences, _absence_kind(all_results, absences))
        columns.append(_Column("nothing there, AUC", auc))
    headline, kind = errors.headline(), errors.headline_kind()
    if headline is not None and kind is not None:
        quantity, unit = headline
        title = f"{_SHORT.get(quantity, quantity)} error ({unit})"
        columns.append(_Column(title, partial(_clinical, errors, kind)))
    return columns


def _noc_kind(kinds: Sequence[str]) -> str | None:
    """The prompt type of the column of clicks: exact clicks without a box, the most of them."""
    several = [
        k for k in with_clicks(kinds)
        if (parsed := PromptKind.parse(k)).protocol == "exact" and "box" not in parsed.uses
    ]  # fmt: skip
    return max(several, key=lambda k: PromptKind.parse(k).clicks, default=None)


def _name(all_results: Sequence[Results], results: Results, group: DatasetGroup) -> str:
    """The model's name, with its number of objects if it segmented fewer than others did."""
    fewest, total = 0, 0
    for prompt in primary_prompts(results.kinds):
        count, largest = (
            sum(objects_per_dataset(some, prompt.kind).get(name, 0) for name in group.datasets)
            for some in ([results], all_results)
        )
        if largest - count > total - fewest:
            fewest, total = count, largest
    return f"{results.name} ({fewest:,} of {total:,} objects)" if fewest < total else results.name


def _absence_kind(all_results: Sequence[Results], absences: Sequence[Absence]) -> str:
    """The prompt type of the column: a box's figure beside a click's would compare prompts, not models."""
    kinds = [p.kind for p in primary_prompts(all_kinds(all_results)) if p.protocol == "exact"]
    return next((k for k in kinds if any(a.kind == k for a in absences)), absences[0].kind)


def _dice(kind: str, results: Results, group: DatasetGroup) -> str:
    mean = over_datasets(results, kind, group.datasets)
    return NONE if mean is None else mean.short()


def _noc(kind: str, results: Results, group: DatasetGroup) -> str:
    clicks = clicked(results, kind, group.datasets)
    if clicks is None:
        return NONE
    noc = clicks.reach(_NOC)
    return f"{noc.mean:.1f} ({noc.failures / len(clicks.ious):.0%})"


def _missed(kind: str, results: Results, group: DatasetGroup) -> str:
    if kind not in results.kinds:
        return NONE
    rate = share_below(results, kind, group.datasets, _MISSED)
    return NONE if rate is None else percent(rate.share.value)


def _auc(absences: Sequence[Absence], kind: str, results: Results, group: DatasetGroup) -> str:
    curves = [
        a.roc for a in absences
        if (a.results.name, a.kind) == (results.name, kind) and a.dataset in group.datasets
    ]  # fmt: skip
    # One empty image says little, and would weigh as much as all those of another data set.
    enough = [curve for curve in curves if min(curve.present, curve.absent) >= _FEW]
    curves = enough or curves
    if not curves:
        return NONE
    area = np.mean([curve.area.value for curve in curves])
    present, absent = sum(c.present for c in curves), sum(c.absent for c in curves)
    few = f" ({present} / {absent})" if min(present, absent) < _FEW else ""
    return f"{area:.2f}{few}"


def _clinical(errors: ClinicalErrors, kind: str, results: Results, group: DatasetGroup) -> str:
    error, undefined = errors.mean_error(results.name, kind, group.datasets)
    if error is None and not undefined:
        return NONE
    value = "none" if error is None else f"{error:.1f}"
    return f"{value} ({undefined} not measurable)" if undefined else value


def compact_note(
    all_results: Sequence[Results], absences: Sequence[Absence], errors: ClinicalErrors
) -> str:
    """What the columns are, in Markdown."""
    primary = primary_prompts(all_kinds(all_results))
    names = ", ".join(f"{p.title}: `{p.kind}`" for p in primary)
    several = any(len(group.datasets) > 1 for group in dataset_groups(all_results))
    noc = _noc_kind(all_kinds(all_results))
    parts = [
        f"Dice: mean{' over data sets' if several else ''} ({names}).",
        "±: deviation between repeats."
        if any(PromptKind.parse(p.kind).is_random for p in primary)
        else "",
        "" if noc is None else f"NoC: clicks to IoU {_NOC:.2f} (`{noc}`).",
        _pooled_note(all_results) if several else "",
        f"AUC (`{_absence_kind(all_results, absences)}`): does predicted IoU tell that nothing is there "
        f"(0.5: no), over data sets with {_FEW} prompts of either kind; if there is none, their numbers are "
        "in parentheses."
        if absences
        else "",
        f"Clinical error (`{errors.headline_kind()}`): mean absolute{_floor(errors)}."
        if errors.headline_kind()
        else "",
    ]
    return " ".join(part for part in parts if part)


def _floor(errors: ClinicalErrors) -> str:
    floor = errors.floor()
    return "" if floor is None else f", of a perfect mask {floor:.1f}"


def _pooled_note(all_results: Sequence[Results]) -> str:
    what = "IoU" if _noc_kind(all_kinds(all_results)) is None else "NoC and IoU"
    return f"{what} < {_MISSED:.2f}: over all objects, whatever their data set."


def dice_plot(all_results: Sequence[Results]) -> Plot | None:
    """Mean Dice by protocol and prompt, a row per model; None if nothing was evaluated."""
    groups = main_groups(all_results)
    primary = primary_prompts(all_kinds(all_results))
    means = {
        (prompt.kind, results.name, number): mean
        for prompt in primary
        for results in all_results
        for number, group in enumerate(groups)
        if (mean := over_datasets(results, prompt.kind, group.datasets)) is not None
    }
    prompts = [p for p in primary if any(kind == p.kind for kind, *_ in means)]
    if not prompts:
        return None
    note = "95 % intervals by subject."
    if len(groups) > 1:
        note += f" Filled: {groups[0].label}; hollow: {groups[1].label}."
    return Plot(
        "Mean Dice by protocol and prompt",
        partial(_draw, all_results, groups, prompts, means),
        size=(1.05 + 0.9 * len(prompts), 0.7 + 0.34 * len(all_results)),
        note=note,
    )


def _draw(
    all_results: Sequence[Results], groups: Sequence[DatasetGroup], prompts: Sequence[Primary],
    means: dict[tuple[str, str, int], Mean], figure: Figure,
) -> None:  # fmt: skip
    every: Sequence[Axes] = figure.subplots(
        1, len(prompts), sharey=True, sharex=True, squeeze=False
    )[0]
    low = min(min(mean.mean, np.nan_to_num(mean.bounds[0], nan=1.0)) for mean in means.values())
    for axes, prompt in zip(every, prompts, strict=True):
        for row, results in enumerate(all_results):
            for number in range(len(groups)):
                mean = means.get((prompt.kind, results.name, number))
                if mean is not None:
                    shift = 0.16 * (2 * number - 1) if len(groups) > 1 else 0.0
                    point(
                        axes, mean.mean, row + shift, mean.bounds, color=color_of(all_results, results),
                        marker=marker_of(all_results, results), hollow=number == 1,
                    )  # fmt: skip
        axes.set_title(prompt.title, fontsize=8, fontweight="normal")
        axes.tick_params(axis="y", length=0)
    every[0].set_yticks(range(len(all_results)), [label_of(r) for r in all_results])
    every[0].set_ylim(len(all_results) - 0.5, -0.5)
    every[0].set_xlim(max(0.0, np.floor(10 * low - 0.2) / 10), 1.0)
    figure.supxlabel("Dice", fontsize=8)
