"""Means over objects and data sets, with their intervals by subject and their deviation between repeats."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import (
    MIN_SUBJECTS,
    drawn_means,
    interval,
    resampled_groups,
)
from ultrasam.evaluation.report.results import Results
from ultrasam.extras import needs
from ultrasam.reporting.tables import NONE, difference, number, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl

Floats = npt.NDArray[np.float64]
OBJECT = ["dataset", "image", "object"]  # columns that tell an object


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """A mean and how sure it is.

    Attributes:
        mean: over all objects and repeats.
        resamples: bootstrap means by subject [n]; NaN for a single subject.
        repeats: mean of each repeat [n]; one for prompts that are not random.
        count: number of objects.
        subjects: their subjects.
    """

    mean: float
    resamples: Floats
    repeats: Floats
    count: int
    subjects: frozenset[str]

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval."""
        return interval(self.resamples)

    @property
    def sign(self) -> int | None:
        """Of a difference: 1 or -1 if the interval excludes 0, 0 if not; None if the subjects are too few to
        tell (`MIN_SUBJECTS`)."""
        low, high = self.bounds
        if np.isnan(low) or len(self.subjects) < MIN_SUBJECTS:
            return None
        return int(low > 0) - int(high < 0)

    @property
    def deviation(self) -> float:
        """Standard deviation of the mean between repeats; NaN if there is one."""
        return float(self.repeats.std(ddof=1)) if len(self.repeats) > 1 else float("nan")

    def text(self, digits: int = 3) -> str:
        """Mean, deviation between repeats and interval as far as known: ``0.904 ± 0.002 [0.890, 0.915]``."""
        full = with_interval(self.mean, *self.bounds, digits=digits)
        if np.isnan(self.deviation):
            return full
        mean, *rest = full.split(" ", 1)
        return " ".join([mean, "±", number(self.deviation, digits), *rest])

    def signed(self, digits: int = 3) -> str:
        """A difference and its interval."""
        return difference(self.mean, *self.bounds, digits=digits)

    def short(self, digits: int = 3) -> str:
        """Mean and deviation, without the interval."""
        mean = number(self.mean, digits)
        return mean if np.isnan(self.deviation) else f"{mean} ± {number(self.deviation, digits)}"


def text_of(estimate: Mean | None, digits: int = 3) -> str:
    """An estimate as a cell of a table; a dash for None."""
    return NONE if estimate is None else estimate.text(digits)


def seed_of(dataset: str) -> int:
    """Each data set draws its own resamples; with one seed for all, those of equal size would draw the same
    ranks, and the interval of the mean over data sets would be off."""
    return zlib.crc32(dataset.encode())


def estimate(rows: pl.DataFrame, metric: str, *, seed: int = 0) -> Mean | None:
    """The mean of one metric over the rows of one prompt type; None if no row has a value."""
    defined = rows.drop_nulls(metric)
    if not len(defined):
        return None
    index, draws = resampled_groups(defined["subject"].to_list(), seed=seed)
    return _mean(defined, metric, index, draws)


def _mean(
    defined: pl.DataFrame, metric: str, index: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]
) -> Mean:
    """The mean over rows whose subject is ``index`` [N], of which each resample draws ``draws`` [n, G]."""
    values = defined[metric].cast(pl.Float64).to_numpy()
    by_repeat = (
        defined.group_by("repeat").agg(pl.col(metric).cast(pl.Float64).mean()).sort("repeat")
    )
    return Mean(
        float(values.mean()),
        drawn_means(values, index, draws),
        by_repeat[metric].to_numpy(),
        defined.select(OBJECT).n_unique(),
        frozenset(defined["subject"].unique().to_list()),
    )


def by_dataset(table: pl.DataFrame, metric: str, datasets: Sequence[str]) -> dict[str, Mean]:
    """The mean of each data set that has a value, from the rows of one prompt type.

    Data sets draw their resamples independently; those that share subjects, as they share images, draw them
    together, or the interval of a mean over them would be too narrow.
    """
    defined = table.drop_nulls(metric)
    tables = {
        name: rows for name in datasets if len(rows := defined.filter(pl.col("dataset") == name))
    }
    subjects = {name: set(rows["subject"].to_list()) for name, rows in tables.items()}
    means = {}
    for linked in _linked(subjects):
        rows = pl.concat([tables[name] for name in linked])
        index, draws = resampled_groups(rows["subject"].to_list(), seed=seed_of(linked[0]))
        members = {name: np.unique(index[(rows["dataset"] == name).to_numpy()]) for name in linked}
        # Of the rare resamples without any subject of one of the data sets, others take the place.
        whole = np.all([draws[:, columns].any(axis=1) for columns in members.values()], axis=0)
        draws = draws[whole][np.arange(len(draws)) % max(1, whole.sum())]
        for name, columns in members.items():
            inside = (rows["dataset"] == name).to_numpy()
            position = np.searchsorted(columns, index[inside])
            means[name] = _mean(rows.filter(inside), metric, position, draws[:, columns])
    return {name: means[name] for name in tables}


def _linked(subjects: Mapping[str, set[str]]) -> list[list[str]]:
    """Data sets in groups that share no subject with another group."""
    groups: list[tuple[list[str], set[str]]] = []
    for name, its in subjects.items():
        touching = [group for group in groups if not its.isdisjoint(group[1])]
        names = [n for group in touching for n in group[0]]
        everyone = its.union(*(group[1] for group in touching))
        groups = [group for group in groups if group not in touching] + [([*names, name], everyone)]
    return [names for names, _ in groups]


def mean_of(estimates: Sequence[Mean]) -> Mean:
    """The mean over data sets, each of equal weight."""
    repeats = min(len(e.repeats) for e in estimates)
    return Mean(
        float(np.mean([e.mean for e in estimates])),
        np.mean([e.resamples for e in estimates], axis=0),
        np.mean([e.repeats[:repeats] for e in estimates], axis=0),
        sum(e.count for e in estimates),
        frozenset().union(*(e.subjects for e in estimates)),
    )


def over_datasets(
    results: Results, kind: str, datasets: Sequence[str], metric: str = "dice", *,
    objects: pl.DataFrame | None = None,
) -> Mean | None:  # fmt: skip
    """The mean over data sets, each of equal weight, of those that have a value; None without any.

    Args:
        results, kind, datasets, metric: what is averaged.
        objects: data set, image and number of the objects that count; None for all.
    """
    if kind not in results.kinds:
        return None
    table = results.rows(kind)
    if objects is not None:
        table = table.join(objects, on=OBJECT, how="semi")
    means = by_dataset(table, metric, datasets)
    return mean_of(list(means.values())) if means else None


def paired(
    first: pl.DataFrame, second: pl.DataFrame, metric: str, datasets: Sequence[str]
) -> Mean | None:
    """Mean over data sets of the difference of two tables' values on the objects that both have.

    Returns:
        First minus second; None if they have no object in common.
    """
    means = paired_by_dataset(first, second, metric, datasets)
    return mean_of(list(means.values())) if means else None


def paired_by_dataset(
    first: pl.DataFrame, second: pl.DataFrame, metric: str, datasets: Sequence[str]
) -> dict[str, Mean]:
    """The same difference for each data set that has objects in common.

    Objects of several repeats count with their mean, so that a random prompt type is comparable to another.
    """
    # Not by subject: duplicates may have joined the first table's subjects, and not the second's.
    value = pl.col(metric).cast(pl.Float64).mean()
    ours = first.drop_nulls(metric).group_by(OBJECT).agg(value, pl.col("subject").first())
    theirs = second.drop_nulls(metric).group_by(OBJECT).agg(value)
    joined = ours.join(theirs, on=OBJECT, suffix="_second").sort(OBJECT)
    joined = joined.select(
        *OBJECT,
        "subject",
        pl.lit(0).alias("repeat"),
        (pl.col(metric) - pl.col(f"{metric}_second")).alias(metric),
    )
    return by_dataset(joined, metric, datasets)
