"""Data sets that the models have seen in training, and data sets that they have not: means never mix them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ultrasam.datasets.catalogue import catalogue
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.reporting.markdown import escape
from ultrasam.text import counted

Row = tuple[str, ...]
Status = Literal["unseen", "seen", "unknown"]
UNKNOWN = "unknown whether seen"  # label of data sets of which it is known for no model


@dataclass(frozen=True, slots=True)
class DatasetGroup:
    """Data sets that each model has seen all of, or none of, in training.

    Attributes:
        label: who has seen them, in a few words.
        datasets: their names, sorted.
        statuses: by model name, for models that were trained at all.
    """

    label: str
    datasets: tuple[str, ...]
    statuses: tuple[tuple[str, Status], ...] = ()

    @property
    def title(self) -> str:
        """The label with the number of data sets, or the name of the only one."""
        count = len(self.datasets)
        name = self.datasets[0] if count == 1 else counted(count, "data set")
        return f"{name}, {self.label}" if self.label else name


def training_status(results: Results, dataset: str) -> Status:
    """Whether a model was trained on images of the source of a data set.

    A data set of the user's own is in no list of what a model was trained on, though its images may come from
    a public source: unless the list names it, or its source is stated (`Results.sources`), its status is
    unknown, but for models that were never trained.
    """
    if results.trained_on is None:
        return "unknown"
    source = results.sources.get(dataset, dataset)
    if not results.trained_on.isdisjoint({dataset, source}):
        return "seen"
    return "unseen" if not results.trained_on or source in catalogue() else "unknown"


def dataset_groups(all_results: Sequence[Results]) -> tuple[DatasetGroup, ...]:
    """The data sets by who has seen them; those that nobody has seen come first."""
    trained = [r for r in all_results if r.trained_on is None or r.trained_on]
    by_status: dict[tuple[Status, ...], list[str]] = {}
    for name, count in objects_per_dataset(all_results).items():
        if count:
            key = tuple(training_status(results, name) for results in trained)
            by_status.setdefault(key, []).append(name)
    order = ("unseen", "seen", "unknown")
    names = [results.name for results in trained]
    groups = [
        DatasetGroup(_label(trained, key), tuple(datasets), tuple(zip(names, key, strict=True)))
        for key, datasets in by_status.items()
    ]
    return tuple(
        sorted(groups, key=lambda g: (*(order.index(s) for _, s in g.statuses), g.datasets))
    )


def rows_by_group(
    all_results: Sequence[Results],
    rows_of: Callable[[DatasetGroup], Sequence[Row]],
    groups: Sequence[DatasetGroup] | None = None,
) -> tuple[Row, ...]:
    """Rows of a table, below a row with the title of each group if the evaluation has several groups.

    Args:
        all_results: of all models.
        rows_of: the rows of a group; may be none.
        groups: some of the groups; None for all.
    """
    every = dataset_groups(all_results)
    rows: list[Row] = []
    for group in every if groups is None else groups:
        group_rows = rows_of(group)
        if group_rows and len(every) > 1:
            rows.append((group.title, *[""] * (len(group_rows[0]) - 1)))
        rows += group_rows
    return tuple(rows)


def main_groups(all_results: Sequence[Results]) -> tuple[DatasetGroup, ...]:
    """At most two groups for the first screen: the first, and the largest of the others."""
    groups = dataset_groups(all_results)
    if len(groups) < 3:
        return groups
    return groups[0], max(groups[1:], key=lambda group: len(group.datasets))


def _label(trained: Sequence[Results], statuses: Sequence[Status]) -> str:
    """Who has seen a group; a model of which nothing is known is unknown everywhere, which is told once."""
    if not trained:
        return ""
    named = {r.name: s for r, s in zip(trained, statuses, strict=True) if r.trained_on is not None}
    kinds = set(named.values())
    if not kinds or kinds == {"unknown"}:
        return UNKNOWN
    if kinds == {"unseen"}:
        return "unseen"
    names = [name for name, status in named.items() if status == "seen"]
    return f"seen by {', '.join(names)}"


def training_sentences(all_results: Sequence[Results]) -> list[str]:
    """What is known of each model's training, for the sentences below the first table."""
    lines = []
    for group in dataset_groups(all_results):
        names = ", ".join(map(escape, group.datasets))
        if group.label:
            lines.append(f"{group.label[0].upper()}{escape(group.label[1:])}: {names}.")
    if lines:
        lines.append("Seen: trained on images of the same source.")
    unknown = [escape(results.name) for results in all_results if results.trained_on is None]
    if unknown:
        lines.append(f"Nothing is known of the training data of {', '.join(unknown)}.")
    every = {name for group in dataset_groups(all_results) for name in group.datasets}
    sources = {name: source for r in all_results for name, source in r.sources.items()}
    stated = sorted(every & set(sources))
    if stated:
        pairs = ", ".join(f"{escape(name)} is of {escape(sources[name])}" for name in stated)
        lines.append(f"As stated in the command or suite, {pairs}.")
    custom = sorted(every - set(catalogue()) - set(sources))
    are = "is" if len(custom) == 1 else "are"
    if custom and any(results.trained_on for results in all_results):
        lines.append(
            f"{' and '.join(map(escape, custom))} {are} not in the catalog, and may come from a data set "
            f"that a model has seen. If you know the source, state it: --source {escape(custom[0])}=ID."
        )
    return lines
