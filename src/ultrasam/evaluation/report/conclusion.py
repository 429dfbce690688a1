"""The sentences at the top of the report: which model is best, by how much, and whether that is sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.evaluation.metrics.statistics import paired_difference
from ultrasam.evaluation.report.groups import DatasetGroup, dataset_groups
from ultrasam.evaluation.report.means import over_datasets, paired
from ultrasam.evaluation.report.prompts import Primary, all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results, objects_per_dataset, paired_values
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.tables import difference
from ultrasam.text import counted


def evaluated(all_results: Sequence[Results]) -> str:
    """What was evaluated, in one sentence."""
    counts = {name: n for name, n in objects_per_dataset(all_results).items() if n}
    tables = [results.table for results in all_results]
    images = max((t.select("dataset", "image").n_unique() for t in tables if len(t)), default=0)
    subjects = max((t["subject"].n_unique() for t in tables if len(t)), default=0)
    return (
        f"{counted(len(all_results), 'model')} on {counted(sum(counts.values()), 'object')} in "
        f"{counted(images, 'image')} of {counted(subjects, 'subject')} from "
        f"{counted(len(counts), 'data set')}, with {counted(len(all_kinds(all_results)), 'prompt type')}."
    )


def conclusion(
    all_results: Sequence[Results], groups: Sequence[DatasetGroup] | None = None
) -> list[str]:
    """One sentence per group of data sets and protocol: the best model with a box and with a click by mean
    Dice, and whether it is better than the next one.

    Args:
        all_results: of all models.
        groups: some of the groups; None for all.
    """
    several = len(dataset_groups(all_results)) > 1
    groups = dataset_groups(all_results) if groups is None else groups
    primary = primary_prompts(all_kinds(all_results))
    lines = []
    for group in groups:
        for protocol in ("exact", "human"):
            told = [
                sentence
                for prompt in primary
                if prompt.protocol == protocol
                and (sentence := _ranking(all_results, prompt, group))
            ]
            if told:
                where = f"{_where(group)}, " if several or group.label else ""
                start = f"{where}{protocol} prompts"
                lines.append(f"**{start[0].upper()}{start[1:]}.** {' '.join(told)}")
    return lines


def _where(group: DatasetGroup) -> str:
    count = len(group.datasets)
    names = f" ({escape(group.datasets[0])})" if count == 1 else ""
    return f"{escape(group.label)}: {counted(count, 'data set')}{names}"


def _ranking(all_results: Sequence[Results], prompt: Primary, group: DatasetGroup) -> str:
    """The best model by the mean over the data sets that all models have."""
    kind = prompt.kind
    names = {
        r.name: set(r.rows(kind)["dataset"].unique().to_list()) & set(group.datasets)
        for r in all_results
        if kind in r.kinds
    }
    names = {name: found for name, found in names.items() if found}
    if not names:
        return ""
    start = prompt.what.capitalize() + ("" if kind in ("box", prompt.what) else f" ({kind})")
    common = sorted(set.intersection(*names.values()))
    if not common:
        return f"{start}: the models have no data set in common, so none is the best."
    scored = [
        (value, r)
        for r in all_results
        if r.name in names and (value := over_datasets(r, kind, common)) is not None
    ]
    scored.sort(key=lambda pair: -pair[0].mean)
    (best, first), *others = scored
    where = (
        "" if all(found == set(common) for found in names.values())
        else f" on what all models have ({', '.join(map(escape, common))})"
    )  # fmt: skip
    text = f"{start}: **{escape(first.name)}**, Dice{where} {best.short()}"
    if others:
        text += _lead(first, others[0][1], kind, common)
    return f"{text}."


def _lead(first: Results, second: Results, kind: str, datasets: Sequence[str]) -> str:
    """How sure it is that one model is better than the next, on the objects that both segmented."""
    gap = paired(first.rows(kind), second.rows(kind), "dice", datasets)
    if gap is None:
        return ""
    mean, (low, high), how = gap.mean, gap.bounds, ""
    if (
        np.isnan(low) and len(datasets) > 1
    ):  # a data set with one subject leaves the mean's interval unknown
        pooled = paired_difference(*paired_values(first, second, kind, "dice", datasets))
        mean, low, high, how = pooled.mean, pooled.low, pooled.high, " by object"
    name = escape(second.name)
    told = f"{difference(mean, low, high)}{how}"
    if np.isnan(low):
        return f", {told} over {name}; with one subject, nobody can tell whether that is by chance"
    if low <= 0 <= high:
        return f"; {told} over {name}, which may be by chance"
    return f", {told} over {name}"
