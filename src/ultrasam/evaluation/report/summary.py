"""The conclusion at the top of the report: which model is best, by how much, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ultrasam.evaluation.metrics.statistics import paired_difference
from ultrasam.evaluation.report.results import Results, objects_per_dataset, paired_values
from ultrasam.evaluation.report.tables import mean_over_datasets
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.tables import Table, difference
from ultrasam.text import counted


def evaluated(all_results: Sequence[Results]) -> str:
    """How many objects, images and subjects the means are of."""
    counts = objects_per_dataset(all_results)
    tables = [results.table for results in all_results]
    images = max((t.select("dataset", "image").n_unique() for t in tables if len(t)), default=0)
    subjects = max((t["subject"].n_unique() for t in tables if len(t)), default=0)
    return (
        f"{counted(sum(counts.values()), 'object')} in {counted(images, 'image')} of "
        f"{counted(subjects, 'subject')} from {counted(len(counts), 'data set')}."
    )


def conclusion(all_results: Sequence[Results], kinds: Sequence[str]) -> list[str]:
    """One sentence per prompt type: the best model by Dice, and whether it is better than the next one."""
    return [text for kind in kinds if (text := _ranking(all_results, kind))]


def _ranking(all_results: Sequence[Results], kind: str) -> str:
    tables = [(r, r.rows(kind)) for r in all_results if kind in r.kinds]
    tables = [(results, table) for results, table in tables if len(table)]
    if not tables:
        return ""
    names = [set(table["dataset"].unique().to_list()) for _, table in tables]
    common = set.intersection(*names)
    if not common:
        return f"{kind}: the models have no data set in common, so none is the best."
    scored = [
        (mean_over_datasets(table.filter(table["dataset"].is_in(sorted(common))), "dice"), results)
        for results, table in tables
    ]
    scored.sort(key=lambda pair: -pair[0])
    (best, first), *others = scored
    where = "" if all(found == common for found in names) else _in_common(sorted(common))
    text = f"{kind}: **{escape(first.name)}** has the highest mean Dice{where}, {best:.3f}"
    if not others:
        text = f"{kind}: the mean Dice of **{escape(first.name)}** is {best:.3f}"
    else:
        text += f"; {', '.join(f'{escape(r.name)} has {mean:.3f}' for mean, r in others)}"
    sentences = [text, *_comparison(first, others[0][1], kind)] if others else [text]
    return f"{'. '.join([*sentences, *_weakest(first, kind)])}."


def _in_common(names: Sequence[str]) -> str:
    return f" on what all models have ({', '.join(map(escape, names))})"


def _comparison(first: Results, second: Results, kind: str) -> list[str]:
    """How sure it is that one model is better than another, on the objects that both segmented."""
    ours, theirs, subjects = paired_values(first, second, kind, "dice")
    if not len(ours):
        return []
    gap = paired_difference(ours, theirs, subjects)
    told = difference(gap.mean, gap.low, gap.high)
    name = escape(second.name)
    if np.isnan(gap.low):
        return [
            f"With one subject, nobody can tell whether the difference from {name} is by chance"
        ]
    if gap.low <= 0 <= gap.high:
        return [f"The difference from {name}, {told} over all objects, may be by chance"]
    return [f"The difference from {name} over all objects is {told}"]


def _weakest(results: Results, kind: str) -> list[str]:
    """The data set on which a model is weakest, if there are several."""
    rows = results.rows(kind)
    names = rows["dataset"].unique().to_list()
    if len(names) < 2:
        return []
    means = {name: float(results.rows(kind, name)["dice"].to_numpy().mean()) for name in names}
    name = min(sorted(means), key=lambda n: means[n])
    return [f"It is weakest on {escape(name)}, {means[name]:.3f}"]


def left_out(all_results: Sequence[Results], not_chosen: Sequence[str]) -> list[str]:
    """Sentences on all images that no mean includes."""
    lines = [escape(text) for text in not_chosen]
    for results in all_results:
        if results.errors:
            failed = counted(len(results.errors), "image")
            lines.append(f"{escape(results.name)}: {failed} could not be read or segmented.")
    empty = {(r["dataset"], r["image"]) for results in all_results for r in results.without_object}
    if empty:
        lines.append(
            f"{counted(len(empty), 'image')} without an object of at least {MIN_OBJECT_PIXELS} pixels."
        )
    records = _left_out_records(all_results)
    for what in ("image", "annotation"):
        count = sum(1 for record in records if record[1] == what)
        if count:
            lines.append(
                f"{counted(count, what)} left out by the data set's reader (reasons below)."
            )
    return lines


def left_out_table(all_results: Sequence[Results]) -> Table | None:
    """What the readers of the data sets left out, by reason; None if there is nothing."""
    records = _left_out_records(all_results)
    counts = Counter((dataset, what, reason) for dataset, what, _, reason in records)
    if not counts:
        return None
    example = {(d, what, reason): where for d, what, where, reason in sorted(records, reverse=True)}
    rows = tuple(
        (key[0], counted(count, key[1]), key[2], example[key])
        for key, count in counts.most_common()
    )
    return Table("Left out", ("data set", "left out", "reason", "for example"), rows)


def _left_out_records(all_results: Sequence[Results]) -> set[tuple[str, str, str, str]]:
    """Data set, what, where and why; models share their images."""
    return {
        (record["dataset"], record["what"], record["image"], record["left_out"])
        for results in all_results
        for record in results.left_out
    }
