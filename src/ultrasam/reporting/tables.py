"""Tables of text, and numbers as they stand in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ultrasam.reporting.markdown import table

NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text, and what must be known to read it."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown, its title a heading of the third level."""
        note = f"{self.note}\n\n" if self.note else ""
        return f"### {self.title}\n\n{note}{table(self.head, self.rows)}\n"


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits after the point; a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number and its interval, ``0.912 [0.890, 0.931]``; a dash for NaN."""
    if np.isnan(value):
        return NONE
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
