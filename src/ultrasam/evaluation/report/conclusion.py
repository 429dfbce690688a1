"""The sentences at the top of the report: which model is best, by how much, and whether that is sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.evaluation.report.groups import UNKNOWN, DatasetGroup, dataset_groups
from ultrasam.evaluation.report.means import OBJECT, Mean, mean_of, over_datasets, paired_by_dataset
from ultrasam.evaluation.report.prompts import Primary, all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.extras import needs
from ultrasam.reporting.markdown import escape
from ultrasam.text import counted

with needs("Evaluation", extra="evaluate"):
    import polars as pl


# A model that has segmented less of the objects than the others, as one that is limited to a few images, is
# not ranked: on its objects alone, little could be said of the others.
_LEAST_SHARE = 0.5


def evaluated(all_results: Sequence[Results]) -> str:
    """What was evaluated, in one sentence."""
    counts = {name: n for name, n in objects_per_dataset(all_results).items() if n}
    tables = [results.table for results in all_results]
    images = max((t.select("dataset", "image").n_unique() for t in tables if len(t)), default=0)
    subjects = max((t["subject"].n_unique() for t in tables if len(t)), default=0)
    bound = "at most " if any(results.subjects_unknown for results in all_results) else ""
    return (
        f"{counted(len(all_results), 'model')} on {counted(sum(counts.values()), 'object')} in "
        f"{counted(images, 'image')} of {bound}{counted(subjects, 'subject')} from "
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
            sentences = [
                sentence
                for prompt in primary
                if prompt.protocol == protocol
                and (sentence := _ranking(all_results, prompt, group))
            ]
            if sentences:
                where = f"{_where(group)}, " if several or group.label else ""
                start = f"{where}{protocol} prompts"
                lines.append(f"**{start[0].upper()}{start[1:]}.** {' '.join(sentences)}")
    return lines


def _where(group: DatasetGroup) -> str:
    count = len(group.datasets)
    names = f" ({escape(group.datasets[0])})" if count == 1 else ""
    return f"{escape(group.label)}: {counted(count, 'data set')}{names}"


def _ranking(all_results: Sequence[Results], prompt: Primary, group: DatasetGroup) -> str:
    """The best model by the mean over the data sets that all models have, on the objects that all segmented:
    a model that failed on hard images must not be the best for that."""
    kind = prompt.kind
    names = {
        r.name: set(r.rows(kind)["dataset"].unique().to_list()) & set(group.datasets)
        for r in all_results
        if kind in r.kinds
    }
    names = {name: datasets for name, datasets in names.items() if datasets}
    if not names:
        return ""
    few = _of_few_objects([r for r in all_results if r.name in names], kind, group.datasets)
    names = {name: datasets for name, datasets in names.items() if name not in few}
    start = prompt.what.capitalize() + ("" if kind in ("box", prompt.what) else f" ({kind})")
    common = sorted(set.intersection(*names.values()))
    if not common:
        return f"{start}: the models have no data set in common, so none is the best."
    compared = [r for r in all_results if r.name in names]
    objects, total = _shared_objects(compared, kind, common)
    scored = [
        (value, r)
        for r in compared
        if (value := over_datasets(r, kind, common, objects=objects)) is not None
    ]
    if not scored:
        return f"{start}: no object was segmented by all models, so none is the best."
    scored.sort(key=lambda pair: -pair[0].mean)
    (best, first), *others = scored
    where = (
        "" if all(datasets == set(common) for datasets in names.values())
        else f" on what all models have ({', '.join(map(escape, common))})"
    )  # fmt: skip
    if len(objects) < total:
        where += f" on the {len(objects):,} of {total:,} objects that all models segmented"
    text = f"{start}: **{escape(first.name)}**, Dice{where} {best.short()}"
    if others:
        second = others[0][1]
        text += _lead(first, second, kind, common, objects)
    unknown = [
        escape(r.name) for _, r in scored[:2]
        if dict(group.statuses).get(r.name) == "unknown" and group.label != UNKNOWN
    ]  # fmt: skip
    remarks = f" Whether {' or '.join(unknown)} has seen these data is unknown." if unknown else ""
    if few:
        remarks += (
            f" Not ranked, with less than half of the objects: {', '.join(map(escape, few))}."
        )
    return f"{text}.{remarks}"


def _of_few_objects(
    all_results: Sequence[Results], kind: str, datasets: Sequence[str]
) -> list[str]:
    """The models that have segmented less than half of the objects that another has."""
    inside = pl.col("dataset").is_in(list(datasets))
    counts = {
        r.name: r.rows(kind).filter(inside).select(OBJECT).unique().height for r in all_results
    }
    return [name for name, n in counts.items() if n < _LEAST_SHARE * max(counts.values())]


def _shared_objects(
    compared: Sequence[Results], kind: str, datasets: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """The objects that all models segmented, and how many there are of any model."""
    inside = pl.col("dataset").is_in(list(datasets))
    each = [r.rows(kind).filter(inside).select(OBJECT).unique() for r in compared]
    shared = each[0]
    for objects in each[1:]:
        shared = shared.join(objects, on=OBJECT, how="semi")
    return shared, pl.concat(each).unique().height


def _lead(
    first: Results, second: Results, kind: str, datasets: Sequence[str], objects: pl.DataFrame
) -> str:
    """How sure it is that one model is better than the next."""
    ours, theirs = (r.rows(kind).join(objects, on=OBJECT, how="semi") for r in (first, second))
    gaps = paired_by_dataset(ours, theirs, "dice", datasets)
    if not gaps:
        return ""
    gap, over = mean_of(list(gaps.values())), escape(second.name)
    # A data set of one subject has no interval, and no mean with it has one.
    alone = [name for name, difference in gaps.items() if np.isnan(difference.bounds[0])]
    if not alone or len(alone) == len(gaps):
        return _with_certainty(gap, f" over {over}")
    rest = mean_of([difference for name, difference in gaps.items() if name not in alone])
    are, them = ("is", "it") if len(alone) == 1 else ("are each", "them")
    return (
        f", {gap.signed()} over {over}; {', '.join(map(escape, alone))} {are} of one subject, without {them}"
        f"{_with_certainty(rest, '').removeprefix(',').removeprefix(';')}"
    )


def _with_certainty(gap: Mean, over: str) -> str:
    """A difference with what is known of its certainty."""
    if gap.sign is None:
        count = len(gap.subjects)
        subjects = "one subject" if count == 1 else counted(count, "subject")
        if count > 1 and np.isnan(gap.bounds[0]):
            subjects = "one subject per data set"
        return f", {gap.signed()}{over}; with {subjects}, nobody can tell whether that is by chance"
    if gap.sign == 0:
        return f"; {gap.signed()}{over}, which may be by chance"
    return f", {gap.signed()}{over}"
