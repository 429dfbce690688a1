"""Text tables, and how numbers are formatted in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ultrasam.reporting.markdown import table

NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A text table.

    Attributes:
        note: printed between title and table.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def without_empty_columns(self) -> Table:
        """The table without the columns that have no value in any row."""
        keep = [
            index
            for index, title in enumerate(self.head)
            if not title or any(row[index] not in ("", NONE) for row in self.rows)
        ]
        head, *rows = (tuple(row[i] for i in keep) for row in (self.head, *self.rows))
        return replace(self, head=head, rows=tuple(rows))

    def markdown(self, *, level: int = 3) -> str:
        """The table in Markdown, under a heading of the given level."""
        note = f"{self.note}\n\n" if self.note else ""
        return f"{'#' * level} {self.title}\n\n{note}{table(self.head, self.rows)}\n"


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed number of decimals; a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number and its interval, ``0.912 [0.890, 0.931]``; a dash for NaN, and no interval if it is NaN."""
    if np.isnan(value) or np.isnan(low):
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def difference(value: float, low: float, high: float, digits: int = 3) -> str:
    """A signed difference and its interval, ``+0.012 [-0.003, +0.027]``; a dash for NaN, and no interval if
    it is NaN."""
    if np.isnan(value):
        return NONE
    if np.isnan(low):
        return f"{value:+.{digits}f}"
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def bullet_list(title: str, items: Sequence[str], *, level: int = 2) -> str:
    """A Markdown heading with the number of items, and the items below it."""
    lines = "\n".join(f"- {item}" for item in items)
    return f"{'#' * level} {title}: {len(items)}\n\n{lines}\n"
