"""Results of other authors beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from ultrasam.evaluation.published import PUBLISHED
from ultrasam.reporting.tables import Table


def published_table(datasets: Sequence[str]) -> Table | None:
    """Verified results of other authors on the given data sets; None if there are none."""
    rows = tuple(
        (p.model, p.dataset, p.prompt, p.metric, f"{p.value:g}", p.source)
        for p in PUBLISHED
        if p.value is not None and p.dataset in datasets
    )
    if not rows:
        return None
    head = ("model", "data set", "prompt", "metric", "value", "source")
    note = "Measured on other images, splits and prompts than above."
    return Table("Published results", head, rows, note)
