"""Which of three masks: SAM's decoder offers three for one prompt and chooses by predicted IoU."""

from __future__ import annotations

from collections.abc import Sequence

from ultrasam.evaluation.metrics.mask_choice import MaskChoice, mask_choice
from ultrasam.evaluation.report.groups import DatasetGroup, Row, rows_by_group
from ultrasam.evaluation.report.prompts import all_kinds
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.extras import needs
from ultrasam.reporting.document import Section, section
from ultrasam.reporting.tables import Table, percent, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl


def choice_table(all_results: Sequence[Results], *, by_dataset: bool = False) -> Table | None:
    """How often the chosen mask is the best, and the IoU of both: a row per model, prompt type and group of
    data sets, or data set; None if no model offers several masks."""

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        places = [[name] for name in group.datasets] if by_dataset else [list(group.datasets)]
        for datasets in places:
            for kind in all_kinds(all_results):
                for results in (r for r in all_results if kind in r.kinds):
                    found = _choice(results, kind, datasets)
                    if found is not None:
                        where = datasets if by_dataset else []
                        rows.append((*where, kind, results.name, *_cells(found)))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = (*(["data set"] if by_dataset else []), "prompts", "model", "objects", "chosen is best",
            "IoU of the chosen", "IoU of the best", "lost by choosing")  # fmt: skip
    title = "Chosen and best mask, by data set" if by_dataset else "Chosen and best mask"
    return Table(title, head, rows)


def _choice(results: Results, kind: str, datasets: Sequence[str]) -> MaskChoice | None:
    table = results.rows(kind).filter(pl.col("dataset").is_in(list(datasets)))
    return mask_choice(
        table["iou"].to_list(), table["best_iou"].to_list(), table["subject"].to_list()
    )


def _cells(found: MaskChoice) -> Row:
    values = (found.chosen, found.best, found.loss)
    return (
        str(found.objects),
        percent(found.right.value),
        *(with_interval(v.value, v.low, v.high) for v in values),
    )


def choice_section(all_results: Sequence[Results]) -> Section | None:
    """The table, and the same by data set if there are several; None if no model offers several masks."""
    text = (
        "For one prompt these models offer three masks; the best is the one with the highest true IoU. For a "
        "single click a model chooses the one with the highest predicted IoU. For a box it has a mask of its "
        "own beside the three, which can be better than all of them: what is lost is then negative.\n"
    )
    whole = choice_table(all_results)
    several = len(objects_per_dataset(all_results)) > 1
    detail = choice_table(all_results, by_dataset=True) if several else None
    return section(
        "Which of three masks", text, whole, sections=[section("By data set", detail)],
        says="how often the chosen mask is the best, and what choosing loses",
    )  # fmt: skip
