"""Which of three masks: SAM's decoder offers three for one prompt and chooses by predicted IoU."""

from __future__ import annotations

from collections.abc import Sequence

from ultrasam.evaluation.metrics.mask_choice import mask_choice
from ultrasam.evaluation.report.groups import dataset_groups
from ultrasam.evaluation.report.results import Results
from ultrasam.extras import needs
from ultrasam.reporting.document import Section, section
from ultrasam.reporting.tables import Table, percent, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl


def choice_table(all_results: Sequence[Results], *, by_dataset: bool = False) -> Table | None:
    """How often the chosen mask is the best, and the IoU of both: a row per model, prompt type and group of
    data sets, or data set; None if no model offers several masks."""
    groups = dataset_groups(all_results)
    places = [(group.label, list(group.datasets)) for group in groups]
    if by_dataset:
        places = [(name, [name]) for group in groups for name in group.datasets]
    named = by_dataset or len(groups) > 1
    rows = []
    for label, datasets in places:
        for results in all_results:
            for kind in results.kinds:
                table = results.rows(kind).filter(pl.col("dataset").is_in(datasets))
                found = mask_choice(
                    table["iou"].to_list(), table["best_iou"].to_list(), table["subject"].to_list()
                )
                if found is None:
                    continue
                values = (found.chosen, found.best, found.loss)
                rows.append(
                    (
                        results.name, *([label] if named else []), kind, str(found.objects),
                        percent(found.right.value),
                        *(with_interval(v.value, v.low, v.high) for v in values),
                    )
                )  # fmt: skip
    if not rows:
        return None
    where = ("data set",) if by_dataset else ("data sets",) if named else ()
    head = ("model", *where, "prompts", "objects", "chosen is best", "IoU of the chosen",
            "IoU of the best", "lost by choosing")  # fmt: skip
    title = "Chosen and best mask, by data set" if by_dataset else "Chosen and best mask"
    return Table(title, head, tuple(rows))


def choice_section(all_results: Sequence[Results]) -> Section | None:
    """Both tables; None if no model offers several masks."""
    text = (
        "For one prompt these models offer three masks and choose the one with the highest predicted IoU. "
        "The best is the one with the highest true IoU.\n"
    )
    whole = choice_table(all_results)
    detail = choice_table(all_results, by_dataset=True)
    return section(
        "Which of three masks", text, whole, sections=[section("By data set", detail)],
        says="how often the chosen mask is the best, and what choosing loses",
    )  # fmt: skip
