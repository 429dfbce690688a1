"""Text tables, and how numbers are formatted in them."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ultrasam.reporting.markdown import escape, inline_html, table

NONE = "–"
_LONG = 40  # characters of a cell that may break into lines
_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]\d+)?( %|%)?( ± [\d.,]+)?( \[[^\]]*\])?( \([^)]*\))?")


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
        """The table in Markdown, under a heading of the given level; without one for level 0."""
        note = f"{self.note}\n\n" if self.note else ""
        heading = f"{'#' * level} {self.title}\n\n" if level else ""
        return f"{heading}{note}{table(self.head, self.rows)}\n"

    def html(self, *, level: int = 3) -> str:
        """The table in HTML, as in Markdown; columns of numbers are aligned at the right, rows whose first
        cell is emphasized stand out, and a row of nothing but a first cell is a heading of those below."""
        numeric = [
            bool(self.rows) and all(_NUMBER.fullmatch(row[i]) or row[i] in ("", NONE) for row in self.rows)
            for i in range(len(self.head))
        ]  # fmt: skip

        def line(cells: Sequence[str], tag: str) -> str:
            return "".join(
                _element(tag, _class(cell, is_number), _content(cell, is_number))
                for cell, is_number in zip(cells, numeric, strict=True)
            )

        rows = "\n".join(
            f'<tr class="group"><td colspan="{len(row)}">{inline_html(escape(row[0]))}</td></tr>'
            if len(row) > 1 and not any(row[1:])
            else _element("tr", "mean" if row[0].startswith("**") else "", line(row, "td"))
            for row in self.rows
        )
        heading = f"<h{level}>{html.escape(self.title)}</h{level}>\n" if level else ""
        note = f"<p>{inline_html(self.note)}</p>\n" if self.note else ""
        return (
            f'{heading}{note}<div class="scroll"><table><thead><tr>{line(self.head, "th")}</tr></thead>\n'
            f"<tbody>\n{rows}\n</tbody></table></div>\n"
        )


def _content(cell: str, is_number: bool) -> str:
    """A cell in HTML; the interval of a number with a deviation stands below it, for narrower columns."""
    text = str(inline_html(escape(cell)))
    return text.replace(" [", "<br>[") if is_number and "±" in text else text


def _class(cell: str, is_number: bool) -> str:
    return "n" if is_number else "long" if len(cell) > _LONG else ""


def _element(tag: str, name: str, content: str) -> str:
    attribute = f' class="{name}"' if name else ""
    return f"<{tag}{attribute}>{content}</{tag}>"


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed number of decimals; a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


def percent(value: float, digits: int = 1) -> str:
    """A share as percent; a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}%}"


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


def number_json(
    value: float, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    """A number and its interval for JSON, which has no NaN: null if it is unknown."""
    found = {"value": value, "low": low, "high": high}
    return {key: None if v is None or np.isnan(v) else float(v) for key, v in found.items()}


def bullet_list(title: str, items: Sequence[str], *, level: int = 2) -> str:
    """A Markdown heading with the number of items, and the items below it."""
    lines = "\n".join(f"- {item}" for item in items)
    return f"{'#' * level} {title}: {len(items)}\n\n{lines}\n"
