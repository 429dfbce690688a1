"""Results of other authors beside ours, with their sources."""

from __future__ import annotations

from collections.abc import Sequence

from ultrasam.evaluation.published import (
    PublishedResult,
    published_results,
    published_robustness,
)
from ultrasam.evaluation.report.means import estimate
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.reporting.tables import NONE, Table

_METRICS = {"Dice": "dice", "IoU": "iou"}
_NOTE = (
    "Measured by others on other images and splits, and with their own prompts: figures to compare the order "
    "of, not the digits. The columns of our models are means on the same data set with the same prompt type."
)


def published_table(all_results: Sequence[Results]) -> Table | None:
    """What others measured on the evaluated data sets with precise prompts; None if there is nothing."""
    figures = published_results(_datasets(all_results))
    return _table("Published results", all_results, figures)


def published_robustness_table(all_results: Sequence[Results]) -> Table | None:
    """What others measured on the evaluated data sets with imprecise prompts; None if there is nothing."""
    figures = published_robustness(_datasets(all_results))
    return _table("Published results with imprecise prompts", all_results, figures)


def _datasets(all_results: Sequence[Results]) -> list[str]:
    return [name for name, count in objects_per_dataset(all_results).items() if count]


def _table(
    title: str, all_results: Sequence[Results], figures: Sequence[PublishedResult]
) -> Table | None:
    if not figures:
        return None
    rows = tuple(
        (
            p.dataset, p.prompt, p.metric, p.model, f"{p.value:.3f}",
            *(_ours(results, p) for results in all_results), p.note, p.source,
        )
        for p in figures
    )  # fmt: skip
    head = ("data set", "prompt", "metric", "published model", "published",
            *(f"ours: {results.name}" for results in all_results), "note", "source")  # fmt: skip
    return Table(title, head, rows, _NOTE).without_empty_columns()


def _ours(results: Results, published: PublishedResult) -> str:
    metric = _METRICS.get(published.metric)
    if metric is None or published.prompt not in results.kinds:
        return NONE
    mean = estimate(results.rows(published.prompt, published.dataset), metric)
    return NONE if mean is None else f"{mean.mean:.3f}"
